"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.querySelector("main > canvas"), pen = canvas.getContext("2d");
const card = document.getElementById("card"), sprite = document.getElementById("sprite");
const shapes = data.looks.map((look) => new Path2D(look.shape)), visible = data.looks.map(() => true);
const still = matchMedia("(prefers-reduced-motion: reduce)"), dark = matchMedia("(prefers-color-scheme: dark)");
const EYE = 3.4; // distance of the eye from the centre; the points fill a ball of radius 1
let yaw = 0.6, pitch = 0.35, zoom = 1, touched = false, picked = -1, drawn = [], asked = false, before = 0;

function seen([x, y, z]) { // position of a point on the screen, its depth, and the scale there
  const [c, s, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const side = c * x + s * z, back = c * z - s * x;
  const up = cp * y - sp * back, near = sp * y + cp * back;
  const size = Math.min(canvas.clientWidth, canvas.clientHeight) * 0.42 * zoom * EYE / (EYE - near);
  return { x: canvas.clientWidth / 2 + side * size, y: canvas.clientHeight / 2 - up * size, near, size };
}

function draw(now) {
  asked = false;
  if (!touched && !still.matches && picked < 0) yaw += Math.min(now - before, 50) * 1.2e-4;
  before = now;
  const sharp = devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
  const own = { ink: style.getPropertyValue("--ink"), faint: style.getPropertyValue("--faint") };
  if (canvas.width !== Math.round(canvas.clientWidth * sharp) || canvas.height !== Math.round(canvas.clientHeight * sharp)) {
    canvas.width = Math.round(canvas.clientWidth * sharp);
    canvas.height = Math.round(canvas.clientHeight * sharp);
  }
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  axes(style);
  drawn = data.points.map((point, i) => ({ i, kind: data.kinds[i], ...seen(point) }));
  drawn = drawn.filter((dot) => visible[dot.kind] && dot.near < EYE - 0.3).sort((a, b) => a.near - b.near);
  for (const dot of drawn) {
    const look = data.looks[dot.kind], radius = sharp * (1.6 + dot.size / 90) * look.size * (dot.i === picked ? 2 : 1);
    pen.setTransform(radius, 0, 0, radius, dot.x * sharp, dot.y * sharp);
    pen.globalAlpha = dot.i === picked ? 1 : Math.min(1, Math.max(0.3, 0.7 + 0.35 * dot.near)); // fade with distance
    pen.fillStyle = own[look.colour] || look.colour;
    pen.fill(shapes[dot.kind]);
  }
  if (!touched && !still.matches) redraw();
}

function axes(style) { // through the centre, labelled at their ends
  pen.globalAlpha = 1;
  pen.strokeStyle = style.getPropertyValue("--line");
  pen.fillStyle = style.getPropertyValue("--faint");
  pen.font = "12px system-ui, sans-serif";
  data.axes.forEach((name, i) => {
    const [from, to] = [-1, 1].map((end) => seen([0, 1, 2].map((k) => (k === i ? end : 0))));
    pen.beginPath(); pen.moveTo(from.x, from.y); pen.lineTo(to.x, to.y); pen.stroke();
    const half = pen.measureText(name).width / 2;
    pen.fillText(name, Math.max(0, Math.min(canvas.clientWidth - 2 * half, to.x - half)), to.y - 6);
  });
}

function redraw() { if (!asked) { asked = true; requestAnimationFrame(draw); } }

function pick(event, reach) { // the galaxy under the pointer; if tied, the one in front
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = reach;
  for (const dot of drawn) {
    const away = Math.hypot(dot.x - x, dot.y - y);
    if (away <= least) { best = dot; least = away; }
  }
  picked = best ? best.i : -1;
  if (!(card.hidden = !best)) show(best);
  redraw();
}

function show(dot) {
  const [thumb, size] = [card.querySelector("canvas"), data.tile];
  thumb.width = thumb.height = size;
  const [column, row] = [dot.i % data.columns, Math.floor(dot.i / data.columns)];
  if (sprite.complete) thumb.getContext("2d").drawImage(sprite, column * size, row * size, size, size, 0, 0, size, size);
  card.querySelector("b").textContent = data.looks[dot.kind].name;
  card.querySelector("span").textContent = data.ids[dot.i];
  const place = (at, own, all) => Math.max(0, at + 14 + own <= all ? at + 14 : Math.min(at - 14 - own, all - own));
  card.style.left = place(dot.x, card.offsetWidth, canvas.clientWidth) + "px";
  card.style.top = place(dot.y, card.offsetHeight, canvas.clientHeight) + "px";
}

function turn(right, down) { yaw += right; pitch = Math.max(-1.57, Math.min(1.57, pitch + down)); moved(); }
function magnify(factor) { zoom = Math.max(0.4, Math.min(8, zoom * factor)); moved(); }
function moved() { touched = true; picked = -1; card.hidden = true; redraw(); }

const fingers = new Map();
let way = 0; // distance moved since the pointer went down: tells a tap from a drag
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
  if (fingers.size === 1) way = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const last = fingers.get(event.pointerId);
  if (!last) { if (event.pointerType === "mouse") pick(event, 10); return; }
  const [x, y] = [event.clientX - last.clientX, event.clientY - last.clientY];
  way += Math.hypot(x, y);
  const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
  const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
  if (other) magnify(apart(event) / Math.max(apart(last), 1));
  else if (way > 6) turn(x / 150, y / 150);
  fingers.set(event.pointerId, event);
});
canvas.addEventListener("pointerup", (event) => {
  if (fingers.delete(event.pointerId) && way <= 6) { touched = true; pick(event, event.pointerType === "mouse" ? 10 : 22); }
});
canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
canvas.addEventListener("pointerleave", (event) => {
  if (event.pointerType === "mouse" && !fingers.size) { picked = -1; card.hidden = true; redraw(); }
});
canvas.addEventListener("wheel", (event) => {
  if (!document.hasFocus()) return; // if embedded, let the wheel scroll the page until this view is clicked
  event.preventDefault();
  magnify(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
  const factor = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
  if (turns) { event.preventDefault(); turn(...turns); }
  if (factor && !event.ctrlKey && !event.metaKey) magnify(factor);
});
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => {
    const kind = Number(button.dataset.kind);
    visible[kind] = !visible[kind];
    button.setAttribute("aria-pressed", visible[kind]);
    picked = -1; card.hidden = true; redraw();
  });
}
const focus = () => document.body.classList.toggle("here", document.hasFocus());
addEventListener("focus", focus); addEventListener("blur", focus); focus();
addEventListener("resize", redraw);
dark.addEventListener("change", redraw);
redraw();
