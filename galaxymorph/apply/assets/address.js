// The state of the page as the part of its address after `#`, so that a link shows the same.

const parts = (list) => list.map(encodeURIComponent).join("|");
const whole = (text) => text.split("|").map(decodeURIComponent);
const numbers = (text) => text.split("_").map(Number);
const bound = (value) => (Number.isFinite(value) ? String(+value.toPrecision(6)) : "");

export const EMPTY = { projection: "", colour: "", sort: "", down: false, show: "table", galaxy: "", filters: [], area: null,
  mix: {}, at: null, columns: null };

export function addressOf(state) {
  const found = [];
  const add = (key, text) => found.push(`${key}=${text}`);
  for (const key of ["projection", "colour", "galaxy"]) if (state[key]) add(key, encodeURIComponent(state[key]));
  if (state.sort) add("sort", (state.down ? "-" : "") + encodeURIComponent(state.sort).replace(/^-/, "%2D"));
  if (state.show !== "table") add("show", state.show);
  for (const filter of state.filters) {
    if (filter.differ) add("differ", parts(filter.differ));
    else if (filter.values) add(`is.${encodeURIComponent(filter.column)}`, parts(filter.values));
    else if (filter.has !== undefined) add(`has.${encodeURIComponent(filter.column)}`, encodeURIComponent(filter.has));
    else add(`in.${encodeURIComponent(filter.column)}`, `${bound(filter.low)}_${bound(filter.high)}`);
  }
  for (const [name, weight] of Object.entries(state.mix)) add(`mix.${encodeURIComponent(name)}`, weight);
  if (state.area) add("area", state.area.flat().map(Math.round).join("_"));
  if (state.at) add("at", state.at.map((value) => +value.toPrecision(5)).join("_"));
  if (state.columns) add("columns", parts(state.columns));
  return found.join("&");
}

// Keys that are unknown are ignored; `known(kind, name)` says which columns, maps and concepts exist.
export function stateOf(text, known = () => true) {
  const state = { ...EMPTY, filters: [], mix: {} };
  for (const pair of text.replace(/^#/, "").split("&")) {
    const at = pair.indexOf("=");
    if (at < 0) continue;
    try {
      place(state, pair.slice(0, at), pair.slice(at + 1), known);
    } catch {
      continue; // not a valid part of an address
    }
  }
  return state;
}

function place(state, key, text, known) {
  const dot = key.indexOf("."), kind = dot < 0 ? key : key.slice(0, dot), name = decodeURIComponent(key.slice(dot + 1));
  const number = (part) => (part === "" ? undefined : Number(part));
  if (["projection", "colour", "galaxy"].includes(key)) {
    if (known(key, decodeURIComponent(text))) state[key] = decodeURIComponent(text);
  } else if (key === "sort") {
    state.down = text.startsWith("-");
    const sort = decodeURIComponent(text.slice(state.down ? 1 : 0));
    if (known("sort", sort)) state.sort = sort;
  } else if (key === "show" && ["table", "gallery", "histograms"].includes(text)) state.show = text;
  else if (key === "differ") {
    const two = whole(text);
    if (two.length === 2 && two.every((each) => known("names", each))) state.filters.push({ differ: two });
  } else if (kind === "is" && known("names", name)) state.filters.push({ column: name, values: whole(text) });
  else if (kind === "has" && known("column", name)) state.filters.push({ column: name, has: decodeURIComponent(text) });
  else if (kind === "in" && known("numbers", name)) {
    const [low, high] = text.split("_").map(number);
    if (![low, high].some(Number.isNaN)) state.filters.push({ column: name, low, high });
  } else if (kind === "mix" && known("concept", name) && Number.isFinite(Number(text))) state.mix[name] = Number(text);
  else if (key === "area") {
    const flat = numbers(text);
    if (flat.length >= 6 && flat.length % 2 === 0 && flat.every(Number.isFinite)) {
      state.area = Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
    }
  } else if (key === "at") {
    const flat = numbers(text);
    if (flat.length === 3 && flat.every(Number.isFinite) && flat[2] > 0) state.at = flat;
  } else if (key === "columns") state.columns = whole(text).filter((each) => known("column", each));
}
