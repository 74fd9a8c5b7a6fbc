// The page: reads its data, keeps one state, and shows it in all parts.

import { Blobs, columnOf, fractionsOf } from "./unpack.js";
import { chosen, extent, isMissing, missingIn, mixture, narrowToArea, nearest, ordered, passing, quantiles, simplified, textOf, turnedTo } from "./rows.js";
import { EMPTY, addressOf, stateOf } from "./address.js";
import { GalaxyMap, pixelOf } from "./map.js";
import { Gallery, Table, element } from "./lists.js";
import { Filters, NONE, PALETTE, choice, colourOf, drawHistogram, drawLegend, drawQuestions, drawSliders } from "./panels.js";
import { drawGalaxy } from "./detail.js";
import { csvOf, saveFile, sheetOf } from "./save.js";

const part = (id) => document.getElementById(id);
const data = JSON.parse(part("data").textContent), blobs = new Blobs(document), { n } = data;
const store = { state: { ...EMPTY }, columns: new Map(), methods: new Map(), ids: [], classes: data.classes, concepts: data.concepts,
  tree: data.tree, votes: data.votes, pictured: Boolean(data.pictures) };
const orders = new Map(), times = { selection: [] };
let mask = new Uint8Array(n).fill(1), order = new Uint32Array(), current = -1, ready = false;

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const theme = () => (isDark() ? "dark" : "light");

// ---- reading

async function readColumn(described) {
  const column = columnOf(described, await blobs.bytes(described.at));
  store.columns.set(column.name, column);
}

async function readPoints(name) {
  store.places ??= new Map();
  if (!store.places.has(name)) store.places.set(name, await blobs.array(data.projections[name], Uint16Array));
  return store.places.get(name);
}

async function readRest() {
  store.ids = await blobs.texts(data.ids);
  store.rowOf = new Map(store.ids.map((id, row) => [id, row]));
  const first = data.columns.filter((each) => !store.columns.has(each.name)); // in the order of the data
  await Promise.all(first.map(readColumn));
  store.columns = new Map(data.columns.map(({ name }) => [name, store.columns.get(name)]));
  for (const [name, { at, scale }] of Object.entries(data.methods)) store.methods.set(name, fractionsOf(await blobs.bytes(at), scale));
}

async function readSlow() { // what one galaxy needs
  if (data.maps) {
    const rows = await blobs.array(data.maps.rows, Uint32Array), of = new Map();
    for (const [name, at] of Object.entries(data.maps.heat)) of.set(name, await blobs.bytes(at));
    store.heat = { side: data.maps.side, places: new Map(Array.from(rows, (row, place) => [row, place])), of };
  }
  if (data.features) {
    const { dimensions, scale, at, axes } = data.features;
    const whole = await blobs.array(at, scale === 127 ? Int8Array : Int16Array);
    Object.assign(store, { dimensions, vectors: Float32Array.from(whole, (value) => value / scale), axes: await blobs.array(axes, Float32Array) });
  }
}

async function readPictures() {
  if (!data.pictures) return;
  const { tile, across, sheets, rows } = data.pictures;
  store.placeOf = new Map(Array.from(await blobs.array(rows, Uint32Array), (row, place) => [row, place]));
  Object.assign(store, { tile, across, sheets: [] });
  for (const at of sheets) {
    const blob = new Blob([await blobs.bytes(at, false)], { type: "image/jpeg" }), image = new Image();
    image.src = URL.createObjectURL(blob);
    await image.decode();
    store.sheets.push(image);
  }
}

// Place of a galaxy's picture: sheet, x, y in px of the sheet; null if it has none.
function pictureAt(row) {
  const place = store.placeOf?.get(row);
  if (place === undefined) return null;
  const { tile, across } = store, sheet = store.sheets[Math.floor(place / across ** 2)], i = place % across ** 2;
  return sheet ? { sheet, x: (i % across) * tile, y: Math.floor(i / across) * tile } : null;
}

store.picture = (context, row, x, y, size) => {
  const found = pictureAt(row);
  if (found) context.drawImage(found.sheet, found.x, found.y, store.tile, store.tile, x, y, size, size);
  return Boolean(found);
};

store.thumb = (row, size, named = false) => {
  const found = pictureAt(row), scale = size / store.tile, label = named ? { role: "img", "aria-label": `Galaxy ${store.ids[row]}` } : { "aria-hidden": "true" };
  if (!found) return element("span", { className: "thumb", ...label, style: { width: `${size}px`, height: `${size}px` } });
  const { sheet, x, y } = found;
  return element("span", { className: "thumb", ...label, style: { width: `${size}px`, height: `${size}px`, backgroundImage: `url("${sheet.src}")`,
    backgroundSize: `${sheet.naturalWidth * scale}px auto`, backgroundPosition: `${-x * scale}px ${-y * scale}px` } });
};

store.truth = (row) => (store.columns.has("class") ? textOf(store.columns.get("class"), row) : "");
store.short = (row) => ["predicted", "class"].filter((name) => store.columns.has(name)).slice(0, 1)
  .map((name) => textOf(store.columns.get(name), row)).join("") || "";
store.classColour = (code) => PALETTE[theme()][code % 8];
store.step = (step) => {
  if (!order.length) return;
  const place = order.indexOf(current);
  open(order[place < 0 ? 0 : (place + step + order.length) % order.length]);
};

// ---- showing

function scaleOf(column) {
  if (column.kind !== "class") {
    const [low, high] = column.kind === "fraction" ? extent(quantiles(column.values, [0, 1])) : quantiles(column.values, [0.01, 0.99]);
    return { low, high };
  }
  const palette = PALETTE[theme()], none = NONE[theme()], known = store.classes;
  const yes = { yes: palette[0], no: palette[5] };
  return { colours: column.names.map((name, code) => (name === "" ? none : column.name === "right" ? yes[name] ?? none
    : palette[(known.includes(name) ? known.indexOf(name) : code) % 8])) };
}

function paint() {
  const name = store.state.colour || usualColour(), column = name === "mixture" ? mixed() : store.columns.get(name);
  const colours = new Uint32Array(n), none = pixelOf(NONE[theme()]);
  if (!column || column.kind === "text") colours.fill(pixelOf(PALETTE[theme()][0]));
  else if (column.kind === "class") {
    const scale = scaleOf(column), own = scale.colours.map(pixelOf);
    for (let i = 0; i < n; i++) colours[i] = own[column.values[i]];
    drawLegend(part("legend"), scale, column, addFilter);
  } else {
    const scale = scaleOf(column), ramp = Array.from({ length: 256 }, (_, k) => pixelOf(colourOf(k / 255))), span = scale.high - scale.low || 1;
    for (let i = 0; i < n; i++) {
      const share = (column.values[i] - scale.low) / span;
      colours[i] = Number.isNaN(share) ? none : ramp[Math.round(255 * Math.min(1, Math.max(0, share)))];
    }
    drawLegend(part("legend"), scale, column, addFilter);
  }
  const look = getComputedStyle(document.documentElement);
  const paper = look.getPropertyValue("--paper").trim(), full = paper.length === 4 ? `#${[...paper.slice(1)].map((c) => c + c).join("")}` : paper;
  map.load({ colours, paper: pixelOf(full), ink: look.getPropertyValue("--ink"), back: paper });
}

const usualColour = () => ["class", "predicted"].find((name) => store.columns.get(name)?.names?.some(Boolean)) ?? data.columns[0]?.name ?? "";
const sortable = () => ["id", ...(Object.keys(store.state.mix).length ? ["mixture"] : []), ...store.columns.keys()];

function mixed() {
  const weights = Object.fromEntries(Object.entries(store.state.mix).map(([name, weight]) => [data.concepts[name], weight]));
  return mixture(store.columns, weights);
}

function orderOf(name) { // cached, except for mixtures
  if (!name || name === "id") return orders.get("id") ?? orders.set("id", { rows: Uint32Array.from({ length: n }, (_, i) => i), missing: 0 }).get("id");
  if (name === "mixture") return { rows: ordered(mixed()), missing: 0 };
  if (!orders.has(name)) {
    const column = store.columns.get(name);
    orders.set(name, { rows: ordered(column), missing: missingIn(column) });
  }
  return orders.get(name);
}

function select() {
  const before = performance.now(), { state } = store;
  mask = passing(state.filters, store.columns, n);
  if (state.area) {
    const points = store.places.get(projection());
    narrowToArea(mask, xs(points), ys(points), state.area);
  }
  reorder();
  times.selection.push(performance.now() - before);
  map.load({ shown: mask });
  Object.assign(map, { area: state.area });
  part("count").textContent = order.length === n ? `${n.toLocaleString("en")} galaxies` : `${order.length.toLocaleString("en")} of ${n.toLocaleString("en")} galaxies selected`;
}

function halves(points) { // x and y of a map, kept
  if (points !== halves.of) {
    halves.of = points;
    halves.x = Float32Array.from({ length: n }, (_, i) => points[2 * i]);
    halves.y = Float32Array.from({ length: n }, (_, i) => points[2 * i + 1]);
  }
  return halves;
}
const xs = (points) => halves(points).x, ys = (points) => halves(points).y;

function reorder() {
  const { rows, missing } = orderOf(store.state.sort);
  order = chosen(rows, mask, store.state.down, missing);
  (store.state.show === "gallery" ? gallery : table).show(order);
}

const projection = () => (data.projections[store.state.projection] === undefined ? Object.keys(data.projections)[0] : store.state.projection);
const shownColumns = () => store.state.columns ?? ["class", "predicted", "right", "confidence", "split", "unusual"].filter((name) => store.columns.has(name)
  && (store.columns.get(name).kind !== "class" || store.columns.get(name).names.some(Boolean)));

// Changes the state and shows what depends on it.
async function change(changes) {
  Object.assign(store.state, changes);
  const { state } = store, does = (...keys) => keys.some((key) => key in changes);
  if (does("mix")) {
    const any = Object.keys(state.mix).length > 0;
    if (any) Object.assign(state, { sort: "mixture", down: true });
    else if (state.sort === "mixture") Object.assign(state, { sort: "", down: false });
    if (!any && state.colour === "mixture") state.colour = "";
  }
  if (does("projection")) {
    map.load({ points: await readPoints(projection()) });
    if (!state.at) map.whole(false);
    if (changes.projection && state.area && !does("area")) state.area = null;
  }
  if (does("filters", "area", "projection")) select();
  else if (does("sort", "down", "mix")) reorder();
  if (does("show")) showTab();
  if (does("sort", "down", "mix", "columns", "show")) heads();
  if (does("colour") || (does("mix") && state.colour === "mixture")) paint();
  if (does("filters", "area")) filters.draw(state);
  if (does("galaxy")) {
    current = store.rowOf?.get(state.galaxy) ?? -1;
    map.marked = drawGalaxy(part("galaxy"), store, current, open);
    map.current = current;
    map.draw();
    table.mark(current);
    gallery.mark(current);
  }
  part("projection").value = projection();
  if (does("colour", "mix")) choice(part("colour"), [...(Object.keys(state.mix).length ? ["mixture"] : []), ...[...store.columns].filter(([, each]) => each.kind !== "text").map(([name]) => name)], state.colour || usualColour());
  later();
}

function heads() {
  const { state } = store;
  choice(part("sort"), sortable(), state.sort || "id");
  part("reverse").textContent = state.down ? "↓" : "↑";
  table.choose(shownColumns(), state.sort || "id", state.down);
}

// What may wait: the address and the histograms.
function later() {
  clearTimeout(later.due);
  later.due = setTimeout(() => {
    try {
      history.replaceState(null, "", `#${addressOf(store.state)}`);
    } catch { /* a page within another one */ }
    if (store.state.show === "histograms") histograms();
  }, 120);
}

function histograms() {
  const seen = [...store.columns.values()].filter((column) => column.kind !== "text");
  part("histograms").replaceChildren(...seen.map((column) => drawHistogram(column, mask, (filter, name) => (filter ? addFilter(filter) : filters.add(name)))));
}

function addFilter(filter) {
  change({ filters: [...store.state.filters.filter((each) => each.column !== filter.column), filter] });
}

function showTab() {
  for (const name of ["table", "gallery", "histograms"]) {
    const is = name === store.state.show;
    part(name).hidden = !is;
    part(`tab-${name}`).setAttribute("aria-selected", is);
    part(`tab-${name}`).tabIndex = is ? 0 : -1;
  }
  if (store.state.show === "histograms") histograms();
  else reorder();
}

function open(row) {
  if (row !== undefined) change({ galaxy: store.ids[row] });
}

function ask({ filters: own, sort, down, colour }) {
  change({ filters: own, area: null, sort, down, mix: {}, ...(colour ? { colour } : {}) }).then(() => {
    Object.assign(store.state, { sort, down });
    reorder();
    heads();
    if (order.length && (sort || own.length)) open(order[0]);
  });
  drawSliders(part("sliders"), store, change);
}

const map = new GalaxyMap(part("map"), { open, moved: (at) => {
  store.state.at = at;
  later();
}, lasso: (polygon) => {
  toggleLasso(false);
  change({ area: simplified(polygon, 80) });
}, label: (row) => [store.thumb(row, 96), element("div", {}, element("b", {}, store.ids[row] ?? ""), ...["class", "predicted", "confidence"].filter((name) => store.columns.has(name) && !isMissing(store.columns.get(name), row))
  .map((name) => element("div", {}, `${name}: ${textOf(store.columns.get(name), row)}`)))], picture: store.picture, draw: new URLSearchParams(location.search).get("draw") });
const table = new Table(part("table"), { store, open, thumb: store.thumb, sort: (name) => change(name === (store.state.sort || "id") ? { down: !store.state.down } : { sort: name, down: false }) });
const gallery = new Gallery(part("gallery"), { store, open, thumb: store.thumb });
const filters = new Filters(part("filters"), store, change);

function toggleLasso(on = !map.drawing) {
  map.drawing = on;
  part("lasso").setAttribute("aria-pressed", on);
  part("map").classList.toggle("drawing", on);
}

const known = (kind, name) => {
  const column = store.columns.get(name);
  return { projection: name in data.projections, galaxy: store.rowOf.has(name), concept: name in data.concepts, names: column?.kind === "class",
    numbers: column?.kind === "fraction" || column?.kind === "number" }[kind] ?? (["sort", "colour"].includes(kind) && name === "mixture" ? /mix\./.test(location.hash) : Boolean(column) || (kind === "sort" && name === "id"));
};

function fromAddress(address = location.hash) {
  clearTimeout(later.due);
  const state = stateOf(address, known), { sort, down, galaxy } = state;
  if (state.at) map.show(...state.at);
  return change({ ...state, mix: state.mix }).then(() => {
    if (!Object.keys(state.mix).length || sort) Object.assign(store.state, { sort, down });
    reorder();
    heads();
    drawSliders(part("sliders"), store, change);
    if (galaxy) open(store.rowOf.get(galaxy));
  });
}

// ---- controls

function listen() {
  part("projection").onchange = (event) => change({ projection: event.target.value, at: null });
  part("colour").onchange = (event) => change({ colour: event.target.value });
  part("sort").onchange = (event) => change({ sort: event.target.value });
  part("reverse").onclick = () => change({ down: !store.state.down });
  part("lasso").onclick = () => toggleLasso();
  part("view").onclick = () => change({ area: map.viewed() });
  part("whole").onclick = () => map.whole();
  part("theme").onclick = turn;
  part("help").onclick = () => part("about").showModal();
  part("csv").onclick = () => saveFile("galaxies.csv", new Blob([csvOf(store, order, shownColumns())], { type: "text/csv" }));
  part("sheet").onclick = () => sheetOf(store, order).toBlob((blob) => saveFile("galaxies.png", blob), "image/png");
  for (const name of ["table", "gallery", "histograms"]) part(`tab-${name}`).onclick = () => change({ show: name });
  part("lists").querySelector("[role=tablist]").onkeydown = (event) => {
    const names = ["table", "gallery", "histograms"], step = { ArrowLeft: 2, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = names[(names.indexOf(store.state.show) + step) % 3];
    change({ show: next }).then(() => part(`tab-${next}`).focus());
  };
  part("columns-button").onclick = () => {
    const hidden = (part("columns").hidden = !part("columns").hidden);
    part("columns-button").setAttribute("aria-expanded", !hidden);
    if (!hidden) drawColumns();
  };
  part("find").oninput = (event) => find(event.target.value.trim());
  part("find").onkeydown = (event) => {
    if (event.key === "Enter") find(event.target.value.trim(), true);
  };
  addEventListener("hashchange", (event) => fromAddress(new URL(event.newURL).hash));
  addEventListener("keydown", key);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

function find(text, take = false) {
  const like = text ? store.ids.filter((id) => id.includes(text)).slice(0, 12) : [];
  part("found").replaceChildren(...like.map((id) => new Option(id)));
  const row = store.rowOf.get(text) ?? (take && like.length ? store.rowOf.get(like[0]) : undefined);
  if (row !== undefined) {
    open(row);
    map.centre(row);
  }
}

function turn() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  paint();
  open(current < 0 ? undefined : current);
}

function drawColumns() {
  const boxes = [...store.columns.keys()].map((name) => element("label", {}, element("input", { type: "checkbox", checked: shownColumns().includes(name), onchange: (event) => {
    const own = shownColumns().filter((each) => each !== name);
    change({ columns: event.target.checked ? [...own, name] : own });
  } }), name));
  part("columns").replaceChildren(element("div", { className: "boxes" }, ...boxes));
}

const KEYS = { "/": ["find a galaxy", () => part("find").focus()], j: ["next galaxy of the selection", () => store.step(1)], k: ["previous galaxy", () => store.step(-1)],
  m: ["to the map", () => part("map").focus()], l: ["draw around galaxies", () => toggleLasso()], s: ["select what is in view", () => part("view").click()], 0: ["the whole map", () => map.whole()],
  t: ["table", () => change({ show: "table" })], g: ["gallery", () => change({ show: "gallery" })], h: ["histograms", () => change({ show: "histograms" })],
  d: ["dark or light", turn], c: ["centre the map on the galaxy", () => current >= 0 && map.centre(current)], "?": ["this help", () => part("about").showModal()] };

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || part("about").open) return;
  if (event.key === "Escape") {
    if (map.drawing) toggleLasso(false);
    else if (event.target.matches?.("input, select")) event.target.blur();
    else if (store.state.area) change({ area: null });
    return;
  }
  if (event.target.matches?.("input:not([type=checkbox], [type=range]), select, textarea") || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key][1]();
}

function drawHelp() {
  const rows = Object.entries(KEYS).map(([name, [text]]) => element("tr", {}, element("th", { scope: "row" }, element("kbd", {}, name)), element("td", {}, text)));
  rows.push(element("tr", {}, element("th", { scope: "row" }, element("kbd", {}, "Esc")), element("td", {}, "take the area off the map")));
  part("about").append(element("div", { className: "row spread" }, element("h2", {}, "About this page"), element("form", { method: "dialog" }, element("button", {}, "Close"))),
    ...data.notes.map((note) => element("p", {}, note)), element("p", {}, "Drag to move the map, turn the wheel to zoom, hold Shift and drag to draw around galaxies. "
      + "On the map, arrows move, + and − zoom, Enter opens the galaxy in the centre. All filters combine, and the address keeps them: send it with this file, and others see the same. Nothing is sent anywhere."), element("table", {}, element("tbody", {}, ...rows)));
}

// ---- an image of one's own: `window.galaxymorph.classify` (classify.js) says what it shows

async function dropped(file) {
  const title = element("h2", {}, file.name ?? "The image");
  let found;
  try {
    found = await window.galaxymorph.classify(file);
  } catch (error) {
    part("galaxy").replaceChildren(title, element("p", { className: "warning", role: "alert" }, `Not classified: ${error.message}.`));
    return;
  }
  const near = store.vectors ? nearest(store.vectors, store.dimensions, turnedTo(store.axes, store.dimensions, found.features), 12) : [];
  const points = store.places.get(projection()), weight = near.slice(0, 5).reduce((sum, each) => sum + Math.max(each.cosine, 1e-6), 0);
  map.dropped = near.length ? [0, 1].map((k) => near.slice(0, 5).reduce((sum, { row, cosine }) => sum + points[2 * row + k] * Math.max(cosine, 1e-6), 0) / weight) : null;
  map.marked = near.map((each) => each.row);
  map.draw();
  const shares = [...found.probabilities].map((p, c) => [found.classes[c], p]).sort((a, b) => b[1] - a[1]);
  const sure = found.set?.length > 1 ? `It may be ${found.set.join(" or ")}.` : "";
  part("galaxy").replaceChildren(title, element("div", { className: "large" }, pictureOf(found.cutout)),
    ...(found.unlike > 1 ? [element("p", { className: "warning" }, `Unlike the galaxies of the model's training (${found.unlike.toFixed(1)}; they are below 1): its answer means little.`)] : []),
    ...[...found.remarks, sure].filter(Boolean).map((text) => element("p", { className: "faint" }, text)),
    element("dl", {}, ...shares.map(([name, p]) => element("div", {}, element("dt", {}, name), element("dd", {}, p.toFixed(3))))), element("h3", {}, "Nearest galaxies"),
    element("div", { className: "near" }, ...near.map((each) => element("button", { type: "button", className: "quiet", "aria-label": store.ids[each.row], onclick: () => open(each.row) }, store.thumb(each.row, 64), element("small", {}, each.cosine.toFixed(3))))));
}

function pictureOf({ width, height, data: bytes }) { // what the network saw, of three bands
  const canvas = element("canvas", { width, height, role: "img", "aria-label": "The image, as the network sees it" });
  const pixels = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) pixels.data.set([bytes[3 * at], bytes[3 * at + 1], bytes[3 * at + 2], 255], 4 * at);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.style.width = "256px";
  return canvas;
}

function listenToDrops() {
  const take = (files) => window.galaxymorph.classify && files?.length && dropped(files[0]);
  part("own").hidden = !window.galaxymorph.classify;
  part("own").onclick = () => part("file").click();
  part("file").onchange = ({ target }) => {
    take(target.files);
    target.value = ""; // the same file may be chosen again
  };
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer?.files);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files));
}

// ---- start

async function start() {
  choice(part("projection"), Object.keys(data.projections), projection());
  const wanted = data.columns.find(({ name }) => name === "class") ?? data.columns.find(({ kind }) => kind === "class");
  const [points] = await Promise.all([readPoints(projection()), wanted && readColumn(wanted)]);
  map.load({ points, shown: mask });
  paint();
  requestAnimationFrame(() => requestAnimationFrame(() => (times.paint = performance.now())));
  await readRest();
  const pictures = readPictures().then(() => {
    map.draw();
    table.fill(true);
    gallery.fill(true);
  });
  drawQuestions(part("questions"), store, ask);
  part("sliders-part").hidden = !Object.keys(data.concepts).length;
  drawHelp();
  listen();
  if (data.classifier) window.galaxymorph.classify = network.classifier(data.classifier); // `network`: of classify.js
  listenToDrops();
  await fromAddress();
  await Promise.all([pictures, readSlow()]);
  open(current < 0 ? order[0] : current);
  ready = true;
  times.ready = performance.now();
  document.documentElement.dataset.ready = "yes";
}

window.galaxymorph = { classify: null, dropped, store, map, times, change, get order() {
  return order;
}, get ready() {
  return ready;
} };
start().catch((error) => {
  part("count").textContent = `This page cannot be shown: ${error.message}`;
  throw error;
});
