"""Features in three dimensions as one HTML page: to turn with mouse, finger or keys, each point a
galaxy with its picture.

The page loads nothing, and is told to load nothing (its content security policy): it works from a
file, in a mail, embedded in a report. No library: the drawing is the script below."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from string import Template

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from galaxymorph.plots.style import COLOURS, to_pixels

# what the markers of `plots.MARKERS` look like, as SVG paths of radius about 1
SHAPES = (
    "M1,0A1,1 0 1 1 -1,0A1,1 0 1 1 1,0Z",
    "M-.85,-.85H.85V.85H-.85Z",
    "M0,-1.1L1.05,.8H-1.05Z",
    "M0,-1.2L1.1,0L0,1.2L-1.1,0Z",
    "M0,1.1L1.05,-.8H-1.05Z",
    "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "M-1.1,-.7L-.7,-1.1L0,-.4L.7,-1.1L1.1,-.7L.4,0L1.1,.7L.7,1.1L0,.4L-.7,1.1L-1.1,.7L-.4,0Z",
    "M0,-1.3L.35,-.45L1.25,-.4L.55,.15L.8,1.05L0,.55L-.8,1.05L-.55,.15L-1.25,-.4L-.35,-.45Z",
)


def page(
    points: pd.DataFrame,
    labels: Int[ndarray | Tensor, " galaxy"],
    classes: Sequence[str],
    *,
    images: UInt8[ndarray | Tensor, "galaxy 3 size size"],
    ids: Sequence[str] | ndarray,
    title: str,
    most: int = 2000,
    tile: int = 48,
    seed: int = 0,
) -> str:
    """The text of the page. `points`: a row per galaxy, three columns named as axes, such as
    `features.project` gives.

    Each class has a colour and a marker of its own and can be switched off; galaxies without a
    class (-1) are small and grey. Of more than `most` galaxies, that many are drawn from `seed`.
    The pictures are `tile` pixels wide: about 1 kB each.

    Raises `ValueError` where points, labels, images and ids do not fit together.
    """
    lengths = {"points": len(points), "labels": len(labels), "images": len(images), "ids": len(ids)}
    if len(set(lengths.values())) > 1 or points.shape[1] != 3:
        counted = ", ".join(f"{n} {name}" for name, n in lengths.items())
        raise ValueError(
            f"{counted} in {points.shape[1]} dimensions: expected as many of each, in 3 dimensions"
        )
    labels = np.asarray(labels)
    chosen = np.arange(len(points))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(points), most, replace=False))
    labels, shown = labels[chosen], to_pixels(images)[chosen]
    columns = max(1, int(np.ceil(np.sqrt(len(chosen)))))
    kinds = dict(enumerate(classes)) | ({-1: "no class"} if (labels < 0).any() else {})
    looks = [
        {
            "name": name,
            "n": int((labels == k).sum()),
            "colour": COLOURS[k % 8].replace("#000000", "ink") if k >= 0 else "faint",
            "shape": SHAPES[k % 8] if k >= 0 else SHAPES[0],
            "size": 1.0 if k >= 0 else 0.7,
        }
        for k, name in kinds.items()
    ]
    data = {
        "axes": [
            str(name).replace(" of the variance", "") for name in points.columns
        ],  # short, on a phone
        "points": np.round(_in_ball(points.to_numpy(float))[chosen], 3).tolist(),
        "kinds": [list(kinds).index(k) for k in labels.tolist()],
        "ids": np.asarray(ids)[chosen].astype(str).tolist(),
        "looks": looks,
        "columns": columns,
        "tile": tile,
    }
    number = (
        f"{len(chosen):,} galaxies"
        if len(chosen) == len(points)
        else f"{len(chosen):,} of {len(points):,} galaxies"
    )
    fills = {
        "TITLE": escape(title),
        "NUMBER": number,
        "STYLE": STYLE,
        "LEGEND": "".join(_switch(i, look) for i, look in enumerate(looks)),
        "SPRITE": base64.b64encode(_sprite(shown, columns=columns, tile=tile)).decode(),
        "DATA": json.dumps(data, separators=(",", ":")).replace(
            "<", "\\u003c"
        ),  # no text can end the script
        "SCRIPT": SCRIPT,
    }
    return PAGE.substitute(fills)


def _in_ball(points: ndarray) -> ndarray:
    """Moved and scaled, by the same factor along each axis, so that 98 % of the points are less
    than 1 from the middle."""
    if not len(points):
        return points
    points = points - np.median(points, axis=0)
    radius = np.percentile(np.linalg.norm(points, axis=1), 98)
    return points / radius if radius > 0 else points


def _sprite(pixels: UInt8[ndarray, "galaxy size size 3"], *, columns: int, tile: int) -> bytes:
    """All pictures in one JPEG, in rows of `columns`."""
    sheet = Image.new("RGB", (columns * tile, max(1, -(-len(pixels) // columns)) * tile))
    for i, image in enumerate(pixels):
        small = Image.fromarray(image).resize((tile, tile), Image.Resampling.LANCZOS)
        sheet.paste(small, (i % columns * tile, i // columns * tile))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=72)
    return file.getvalue()


def _switch(i: int, look: dict) -> str:
    colour = {"ink": "var(--ink)", "faint": "var(--faint)"}.get(look["colour"], look["colour"])
    mark = f'<svg viewBox="-1.4 -1.4 2.8 2.8" aria-hidden="true"><path d="{look["shape"]}" fill="{colour}"/></svg>'
    return f'<button aria-pressed="true" data-kind="{i}">{mark}{escape(look["name"])} <small>{look["n"]:,}</small></button>'


PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$TITLE</title>
<style>$STYLE</style></head>
<body>
<header><h1>$TITLE</h1>
<p>$NUMBER. Drag to turn, wheel (once clicked) or pinch to zoom, point at or tap a galaxy to see it.</p></header>
<noscript>This view turns by JavaScript, which is off. The pictures in two dimensions show the same features.</noscript>
<main><canvas tabindex="0" role="img" aria-label="$TITLE. Arrow keys turn, plus and minus zoom."></canvas>
<div id="card" role="status" hidden><canvas></canvas><p><b></b><span></span></p></div></main>
<nav aria-label="classes">$LEGEND</nav>
<img id="sprite" alt="" hidden src="data:image/jpeg;base64,$SPRITE">
<script type="application/json" id="data">$DATA</script>
<script>$SCRIPT</script>
</body></html>
""")

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --faint: #8a8f98; --line: #d5dae3; }
@media (prefers-color-scheme: dark) { :root { --paper: #12151b; --ink: #e8ebf0; --faint: #868c97; --line: #343a46; } }
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; padding: .6rem .8rem; background: var(--paper); color: var(--ink);
  font: 15px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow: hidden; }
h1 { font-size: 1.05rem; margin: 0; }
header p { margin: .1rem 0 .3rem; font-size: .85rem; opacity: .75; }
main { position: relative; flex: 1; min-height: 0; }
main > canvas { position: absolute; inset: 0; width: 100%; height: 100%; cursor: grab; touch-action: pan-y; }
.here main > canvas { touch-action: none; }
main > canvas:active { cursor: grabbing; }
canvas:focus-visible, button:focus-visible { outline: 2px solid #0072B2; outline-offset: 2px; }
#card { position: absolute; display: flex; gap: .6rem; align-items: center; max-width: min(19rem, 100%); padding: .4rem;
  pointer-events: none; background: var(--paper); border: 1px solid var(--line); border-radius: 6px;
  box-shadow: 0 2px 8px #0004; font-size: .85rem; overflow-wrap: anywhere; }
#card[hidden] { display: none; }
#card canvas { width: 96px; height: 96px; flex: none; border-radius: 3px; }
#card p { margin: 0; }
#card b, #card span { display: block; }
nav { display: flex; flex-wrap: wrap; gap: .3rem; padding-top: .4rem; }
button { display: inline-flex; align-items: center; gap: .35rem; padding: .25rem .6rem; min-height: 2rem; cursor: pointer;
  font: inherit; font-size: .85rem; color: inherit; background: none; border: 1px solid var(--line); border-radius: 1rem; }
button[aria-pressed="false"] { opacity: .5; text-decoration: line-through; }
button svg { width: .9rem; height: .9rem; }
small { opacity: .75; }
@media print { header p, #card { display: none; } }
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.querySelector("main > canvas"), pen = canvas.getContext("2d");
const card = document.getElementById("card"), sprite = document.getElementById("sprite");
const shapes = data.looks.map((look) => new Path2D(look.shape)), visible = data.looks.map(() => true);
const still = matchMedia("(prefers-reduced-motion: reduce)"), dark = matchMedia("(prefers-color-scheme: dark)");
const EYE = 3.4; // distance of the eye from the middle; the points fill a ball of radius 1
let yaw = 0.6, pitch = 0.35, zoom = 1, touched = false, picked = -1, drawn = [], asked = false, before = 0;

function seen([x, y, z]) { // where a point is on the screen, how near, and how large things are there
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
    pen.globalAlpha = dot.i === picked ? 1 : Math.min(1, Math.max(0.3, 0.7 + 0.35 * dot.near)); // far ones are pale
    pen.fillStyle = own[look.colour] || look.colour;
    pen.fill(shapes[dot.kind]);
  }
  if (!touched && !still.matches) redraw();
}

function axes(style) { // through the middle, named at their ends
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

function pick(event, reach) { // the galaxy under the pointer, the nearest to the eye of those that are equally close
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
let way = 0; // that the pointer has gone since it went down: a tap or a drag
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
  if (!document.hasFocus()) return; // embedded in a page, its wheel scrolls that page until this view is clicked
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
"""
