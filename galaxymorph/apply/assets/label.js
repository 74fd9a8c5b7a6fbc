// The labelling page: shows the galaxy and the question that `labelling.js` says, and keeps events.
import { ARTIFACT, UNSURE, fromCSV, isTree, merged, nextQuestion, pace, replay, textOf, toCSV } from "./labelling.js";

const data = JSON.parse(document.getElementById("data").textContent);
const set = { questions: data.questions, end: data.end, ids: data.galaxies.map(([id]) => id) };
const pictures = new Map(data.galaxies), at = (id) => document.getElementById(id);
const AHEAD = 4; // pictures decoded before they are needed
const DIGITS = "1234567890", NAME = `galaxymorph label ${data.key}`;
const decoded = new Map();
const storage = (() => { // null where a page opened from a file may keep nothing
  try {
    localStorage.setItem(NAME, localStorage.getItem(NAME) ?? "");
    return localStorage;
  } catch { return null; }
})();
let annotator = "", events = [], unsaved = false, state = null, shown = "";

// ---- what is kept

const place = () => `${NAME} ${annotator}`;

function keep() {
  try {
    storage?.setItem(place(), JSON.stringify({ events, unsaved }));
  } catch { warn("This browser cannot keep more. Save the labels as CSV before you close the page."); }
}

function recall() {
  let kept = {};
  try {
    kept = JSON.parse(storage?.getItem(place()) || "{}");
  } catch { warn("What this browser has kept is damaged. Load the file that you saved last."); }
  events = kept.events || [];
  unsaved = kept.unsaved || false;
}

function begin(name) {
  annotator = name;
  try { storage?.setItem(NAME, name); } catch { /* asked again next time */ }
  recall();
  at("who").hidden = true;
  at("files").hidden = at("person").hidden = false;
  at("person").textContent = name;
  at("person").disabled = Boolean(data.annotator);
  at("person").classList.toggle("quiet", Boolean(data.annotator));
  if (!storage) warn("This browser keeps nothing for pages opened from a disk. Save the labels as CSV before you close the page.");
  clock.take();
  show();
}

function ask() { // for the name
  at("who").hidden = false;
  at("work").hidden = at("done").hidden = at("files").hidden = at("person").hidden = true;
  at("name").value = annotator;
  annotator = "";
  at("name").focus();
}

const clock = { // seconds since the last event, while the page is visible
  from: performance.now(), before: 0,
  read() { return this.before + (document.hidden ? 0 : performance.now() - this.from) / 1000; },
  take(carried = 0) {
    const seconds = this.read();
    this.before = carried;
    this.from = performance.now();
    return seconds;
  },
};
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clock.before += (performance.now() - clock.from) / 1000;
  clock.from = performance.now();
});

// ---- what a person does

function act(what) {
  const id = state.left[0];
  if (!id) return;
  events.push({ id, ...what, seconds: Math.round(clock.take() * 10) / 10, time: new Date().toISOString() });
  changed(`${id}: ${what.skip ? "skipped, it comes back at the end" : what.verdict || what.answer}`);
}

function undo() {
  const event = events.pop();
  if (!event) { say("Nothing to undo"); return; }
  clock.take(clock.read() + event.seconds);
  changed(`Taken back: ${event.id}`);
}

function changed(text) {
  unsaved = true;
  keep();
  say(text);
  show();
}

function save() {
  const text = toCSV(set, events, annotator), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `labels_${annotator.replace(/[^\p{L}\p{N}_-]+/gu, "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = false;
  keep();
  show();
  say(`Saved ${link.download} with ${state.labels.size} labels, where your browser puts downloads`);
}

async function load(file) {
  try {
    const before = state.labels.size, loaded = fromCSV(set, await file.text(), annotator);
    events = merged(set, events, loaded);
    changed(`Read ${loaded.length} labels from ${file.name}`);
    say(`Read ${loaded.length} labels from ${file.name}, ${state.labels.size - before} of them new`);
    at("alert").hidden = true;
  } catch (error) { warn(`${file.name}: ${error.message}. Nothing was changed.`); }
}

// ---- what is shown

function say(text) { at("last").textContent = text; }
function warn(text) { at("alert").textContent = text; at("alert").hidden = false; }

function element(kind, text, ...inside) {
  const made = document.createElement(kind);
  made.append(text, ...inside);
  return made;
}

function picture(id) {
  if (!decoded.has(id)) {
    const image = new Image();
    image.alt = "The galaxy to be labelled";
    image.src = `data:image/webp;base64,${pictures.get(id)}`;
    image.decode().catch(() => {}); // a picture that fails shows its text
    decoded.set(id, image);
  }
  return decoded.get(id);
}

function show() {
  state = replay(set, events);
  const { labels, left, given } = state, total = set.ids.length, speed = pace(labels, left.length);
  at("bar").max = total;
  at("bar").value = labels.size;
  const rest = speed && left.length ? ` · ${speed.median.toFixed(1)} s each · ${Math.ceil(speed.minutes)} min left` : "";
  at("count").textContent = `${labels.size} of ${total}${rest}`;
  at("save").classList.toggle("unsaved", unsaved);
  at("work").hidden = !left.length;
  at("done").hidden = left.length > 0;
  for (const button of document.querySelectorAll(".undo")) button.disabled = !events.length;
  if (!left.length) { summary(labels); return; }
  const id = left[0], wanted = left.slice(0, 1 + AHEAD);
  for (const old of decoded.keys()) if (!wanted.includes(old)) decoded.delete(old);
  wanted.forEach(picture);
  if (shown !== id || !at("galaxy").firstChild) at("galaxy").replaceChildren(picture(id));
  shown = id;
  at("id").textContent = id;
  question(nextQuestion(set, given), given);
}

function question(asked, given) {
  const inside = [...at("answers").children].indexOf(document.activeElement);
  at("path").textContent = Object.entries(given).map(([name, answer]) => `${name.replace("_", " ")}: ${answer}`).join(" › ");
  at("question").textContent = asked.prompt;
  at("answers").replaceChildren(...asked.answers.map((answer, i) => {
    const button = element("button", answer);
    if (i < DIGITS.length) button.prepend(element("kbd", DIGITS[i]));
    button.type = "button";
    button.onclick = () => act({ answer });
    return button;
  }));
  if (inside >= 0) at("answers").children[Math.min(inside, asked.answers.length - 1)].focus();
}

function summary(labels) {
  const counts = new Map();
  for (const { given } of labels.values()) {
    const name = isTree(set) && !given.verdict ? `${set.end[0]}: ${given[set.end[0]]}` : textOf(set, given);
    counts.set(name, (counts.get(name) || 0) + 1);
  }
  const rows = [...counts].sort((a, b) => b[1] - a[1]);
  at("summary").replaceChildren(...rows.map(([name, n]) => element("tr", element("th", name), element("td", String(n)))));
}

function toggle(id) {
  const on = at(id).ariaPressed !== "true";
  at(id).ariaPressed = String(on);
  at("galaxy").classList.toggle(id, on);
}

// ---- keys and buttons

const KEYS = {
  a: () => act({ verdict: ARTIFACT }), c: () => act({ verdict: UNSURE }), s: () => act({ skip: true }),
  u: undo, Backspace: undo, i: () => toggle("invert"), b: () => toggle("brighter"),
};

document.addEventListener("keydown", (event) => {
  if (!annotator || event.target === at("name")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && key === "s") { event.preventDefault(); save(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const digit = DIGITS.indexOf(key);
  if (digit >= 0) at("work").hidden || at("answers").children[digit]?.click();
  else if (Object.hasOwn(KEYS, key)) { event.preventDefault(); KEYS[key](); }
});
for (const [id, key] of [["artifact", "a"], ["unsure", "c"], ["skip", "s"], ["invert", "i"], ["brighter", "b"]]) at(id).onclick = KEYS[key];
for (const button of document.querySelectorAll(".undo")) button.onclick = undo;
at("theme").onclick = () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
};
at("save").onclick = save;
at("load").onclick = () => at("file").click();
at("file").onchange = () => { if (at("file").files[0]) load(at("file").files[0]).then(() => { at("file").value = ""; }); };
at("person").onclick = ask;
at("who").onsubmit = (event) => {
  event.preventDefault();
  if (!at("name").value.trim()) return;
  at("name").blur(); // or the next key would still be its own
  begin(at("name").value.trim());
};
addEventListener("storage", (event) => { // the same page in another window
  if (annotator && event.key === place()) { recall(); show(); }
});
addEventListener("beforeunload", (event) => { if (unsaved && !storage) event.preventDefault(); });

at("work").classList.toggle("tree", isTree(set));
const known = data.annotator || storage?.getItem(NAME);
if (known) begin(known);
else ask();
