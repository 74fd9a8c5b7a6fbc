// Questions, filters, sliders, legend and histograms: what narrows the selection.

import { element } from "./lists.js";
import { counts, extent, histogram, numberText } from "./rows.js";

// Okabe & Ito (2008), as in plots/style.py; black is the ink of the theme.
export const PALETTE = { light: ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#767676"],
  dark: ["#4fa3d8", "#e69f00", "#1fb58a", "#d98fb8", "#9ad4f5", "#e8743b", "#f2f2f2", "#8d939c"] };
// cividis (Nunez et al. 2018), from low to high
export const RAMP = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"];
export const NONE = { light: "#b3b9c4", dark: "#4a515d" };

export function colourOf(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), i = Math.min(RAMP.length - 2, Math.floor(at));
  const [a, b] = [RAMP[i], RAMP[i + 1]].map((text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16)));
  return `#${a.map((value, k) => Math.round(value + (b[k] - value) * (at - i)).toString(16).padStart(2, "0")).join("")}`;
}

export const choice = (select, names, chosen) => {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
};

// ---- questions: each sets filters and an order

export function questionsOf(store) {
  const has = (...names) => names.every((name) => store.columns.has(name)), found = [];
  const only = (column, ...values) => ({ column, values });
  if (has("right", "confidence")) {
    found.push({ name: "The surest mistakes", filters: [only("right", "no")], sort: "confidence", down: true, colour: "predicted" });
  }
  if (has("suspected class", "suspected by")) {
    found.push({ name: "Suspected labels", filters: [{ column: "suspected by", low: 1e-6 }], sort: "suspected by", down: true, colour: "class" });
  }
  if (has("unusual")) found.push({ name: "The most unusual", filters: [], sort: "unusual", down: true, colour: "unusual" });
  if (has("margin")) found.push({ name: "Between two classes", filters: [{ column: "margin", high: 0.2 }], sort: "margin", down: false, colour: "predicted" });
  return found;
}

export function drawQuestions(root, store, ask) {
  const buttons = questionsOf(store).map((question) => element("button", { type: "button", onclick: () => ask(question) }, question.name));
  const parts = [element("div", { className: "row" }, ...buttons,
    element("button", { type: "button", className: "quiet", onclick: () => ask({ filters: [], sort: "", down: false }) }, "All galaxies"))];
  const methods = [...store.methods.keys()].filter((name) => store.columns.has(name));
  if (methods.length > 1) {
    const [a, b] = [0, 1].map((k) => element("select", { "aria-label": `Method ${"AB"[k]}` }));
    choice(a, methods, methods[0]);
    choice(b, methods, methods[1]);
    const differ = () => ask({ filters: [{ differ: [a.value, b.value] }], sort: "margin", down: false, colour: a.value });
    parts.push(element("div", { className: "differ" }, a, element("span", { className: "faint" }, "and"), b,
      element("button", { type: "button", onclick: differ }, "differ")));
  }
  root.replaceChildren(...parts);
}

// ---- filters

export class Filters {
  constructor(root, store, changed) {
    Object.assign(this, { root, store, changed });
  }

  draw(state) {
    const { store, root } = this, names = [...store.columns.keys()];
    const focus = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const used = state.filters.filter((filter) => filter.column).map((filter) => filter.column);
    const add = element("select", { "aria-label": "Add a filter", onchange: () => this.add(add.value) }, new Option("Add a filter …", ""));
    const groups = Map.groupBy ? Map.groupBy(names, (name) => store.columns.get(name).group) : grouped(names, store);
    for (const [group, own] of groups) {
      add.append(element("optgroup", { label: group }, ...own.filter((name) => !used.includes(name)).map((name) => new Option(name, name))));
    }
    const parts = state.filters.map((filter, place) => this.filter(filter, place));
    if (state.area) parts.unshift(this.part("on the map", () => this.changed({ area: null }), "inside the area drawn"));
    root.replaceChildren(...parts, add);
    if (focus) root.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
  }

  part(name, remove, ...inside) {
    return element("div", { className: "filter", role: "group", "aria-label": name }, element("div", { className: "row spread" }, element("b", {}, name),
      element("button", { type: "button", className: "quiet", "aria-label": `Remove the filter ${name}`, onclick: remove }, "✕")), ...inside);
  }

  set(place, filter) {
    const filters = [...this.filters];
    filters.splice(place, 1, ...(filter ? [filter] : []));
    this.changed({ filters });
  }

  add(name) {
    if (!name) return;
    const column = this.store.columns.get(name);
    const filter = column.kind === "class" ? { column: name, values: [...column.names] } : column.kind === "text" ? { column: name, has: "" } : { column: name };
    this.changed({ filters: [...this.filters, filter] });
  }

  filter(filter, place) {
    const remove = () => this.set(place, null);
    if (filter.differ) return this.part(`${filter.differ.join(" and ")} differ`, remove);
    const column = this.store.columns.get(filter.column), key = (more) => ({ key: `${place} ${more}` });
    if (filter.values) {
      const boxes = column.names.map((name) => element("label", {}, element("input", { type: "checkbox", checked: filter.values.includes(name), dataset: key(name),
        onchange: (event) => this.set(place, { ...filter, values: event.target.checked ? [...filter.values, name] : filter.values.filter((each) => each !== name) }) }), name || "none"));
      return this.part(filter.column, remove, element("div", { className: "boxes" }, ...boxes));
    }
    if (filter.has !== undefined) {
      return this.part(filter.column, remove, element("input", { type: "search", value: filter.has, "aria-label": `${filter.column} contains`, dataset: key("has"),
        oninput: (event) => this.set(place, { ...filter, has: event.target.value }) }));
    }
    const [low, high] = extent(column.values);
    const bound = (which, usual) => element("input", { type: "number", step: "any", value: filter[which] === undefined ? "" : +filter[which].toPrecision(6),
      placeholder: numberText(usual, column.kind), "aria-label": `${filter.column}, ${which === "low" ? "at least" : "at most"}`, dataset: key(which),
      onchange: (event) => this.set(place, { ...filter, [which]: event.target.value === "" ? undefined : Number(event.target.value) }) });
    return this.part(filter.column, remove, element("div", { className: "row range" }, bound("low", low), "to", bound("high", high)));
  }

  get filters() {
    return this.store.state.filters;
  }
}

export function grouped(names, store) {
  const found = new Map();
  for (const name of names) {
    const { group } = store.columns.get(name);
    found.set(group, [...(found.get(group) ?? []), name]);
  }
  return found;
}

// ---- sliders

export function drawSliders(root, store, changed) {
  const sliders = Object.keys(store.concepts).map((name) => {
    const out = element("output", {}, "0");
    const input = element("input", { type: "range", min: -1, max: 1, step: 0.1, value: store.state.mix[name] ?? 0, oninput: () => {
      out.textContent = input.value;
      const mix = { ...store.state.mix, [name]: Number(input.value) };
      if (!Number(input.value)) delete mix[name];
      changed({ mix });
    } });
    out.textContent = input.value;
    return element("label", { className: "slider" }, element("span", {}, name), input, out);
  });
  const clear = element("button", { type: "button", className: "quiet", onclick: () => {
    changed({ mix: {} });
    drawSliders(root, store, changed);
  } }, "Set all to 0");
  root.replaceChildren(...sliders, clear);
}

// ---- legend and histograms

export function drawLegend(root, scale, column, filter) {
  if (column.kind !== "class") {
    const bar = element("span", { className: "ramp", style: { background: `linear-gradient(to right, ${RAMP.join(", ")})` } });
    return root.replaceChildren(element("span", {}, numberText(scale.low, column.kind)), bar, element("span", {}, numberText(scale.high, column.kind)),
      element("span", { className: "faint" }, column.name));
  }
  const keys = column.names.slice(0, 16).map((name, code) => element("button", { type: "button", className: "quiet", title: "Select only these",
    onclick: () => filter({ column: column.name, values: [name] }) }, element("span", { className: "dot", style: { background: scale.colours[code] } }), name || "none"));
  const rest = column.names.length - keys.length;
  root.replaceChildren(...keys, ...(rest > 0 ? [element("span", { className: "faint" }, `and ${rest} more`)] : []));
}

// Bars of all galaxies in grey, of the selected ones in colour; a click selects a bar's galaxies.
export function drawHistogram(column, mask, filter) {
  const names = column.kind === "class" ? column.names : null, [low, high] = names ? [0, 0] : extent(column.values);
  const whole = new Uint8Array(mask.length).fill(1);
  const found = names ? { all: counts(column, whole), selected: counts(column, mask) } : histogram(column.values, mask, low, high);
  const most = Math.max(...found.all, 1), n = found.all.length, bars = [];
  const upper = Math.max(...found.selected, 1) / most < 0.02 ? Math.max(...found.selected, 1) : most; // a small selection has a scale of its own
  found.all.forEach((count, bin) => {
    const edge = (k) => low + ((high - low) * k) / n, text = names ? names[bin] || "none" : `${numberText(edge(bin), column.kind)} to ${numberText(edge(bin + 1), column.kind)}`;
    const chosenFilter = names ? { column: column.name, values: [names[bin]] } : { column: column.name, low: edge(bin), high: edge(bin + 1) };
    bars.push(element("div", { className: "bar", title: `${text}: ${found.selected[bin]} of ${count}`, onclick: () => filter(chosenFilter) },
      element("i", { style: { height: `${(100 * count) / most}%` } }), element("b", { style: { height: `${(100 * found.selected[bin]) / upper}%` } })));
  });
  const ends = names ? (names.join("").length < 20 ? names.map((name) => name || "none") : [`${n} names`]) : [numberText(low, column.kind), numberText(high, column.kind)];
  return element("figure", { className: "histogram" }, element("figcaption", { className: "row spread" }, element("b", {}, column.name),
    element("button", { type: "button", className: "quiet", "aria-label": `Filter by ${column.name}`, onclick: () => filter(null, column.name) }, "Filter")),
    element("div", { className: "bars", "aria-hidden": "true" }, ...bars), element("div", { className: "row spread faint ends" }, ...ends.map((end) => element("small", {}, end))));
}
