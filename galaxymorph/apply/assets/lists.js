// The selected galaxies as a table and as a gallery; only the rows in view are in the page.

import { textOf } from "./rows.js";

export function element(kind, given = {}, ...inside) {
  const { dataset, style, ...rest } = given, made = document.createElement(kind);
  for (const [name, value] of Object.entries(rest)) {
    if (name in made && !name.startsWith("aria-")) made[name] = value;
    else made.setAttribute(name, value);
  }
  Object.assign(made.dataset, dataset);
  Object.assign(made.style, style);
  made.append(...inside);
  return made;
}

const LINE = 40; // px, height of a row

// Keeps the focus where it was when rows are made again.
class Rows {
  constructor(root, { open, thumb }) {
    Object.assign(this, { root, open, thumb, order: new Uint32Array(), active: 0, current: -1 });
    root.addEventListener("scroll", () => this.due ||= requestAnimationFrame(() => {
      this.due = 0;
      this.fill();
    }), { passive: true });
    root.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.fill(true)).observe(root);
  }

  show(order) {
    const stays = this.order[this.active];
    this.order = order;
    this.active = Math.max(0, order.indexOf(stays));
    this.root.scrollTop = 0;
    if (!this.root.hidden) this.fill(true);
  }

  mark(row) {
    this.current = row;
    const place = this.order.indexOf(row);
    if (place >= 0) this.active = place;
    if (!this.root.hidden) this.fill(true);
  }

  go(place) {
    if (!this.order.length) return;
    this.active = Math.min(Math.max(place, 0), this.order.length - 1);
    const top = Math.floor(this.active / this.across) * this.line, { scrollTop, clientHeight } = this.root, head = this.head;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top + this.line > scrollTop + clientHeight - head) this.root.scrollTop = top + this.line - clientHeight + head;
    this.fill(true);
    this.root.querySelector("[tabindex='0'][data-place]")?.focus({ preventScroll: true });
  }

  key(event) {
    if (!event.target.dataset?.place || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.root.clientHeight / this.line) - 1) * this.across;
    const steps = { ArrowDown: this.across, ArrowUp: -this.across, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (this.across > 1) Object.assign(steps, { ArrowLeft: -1, ArrowRight: 1 });
    if (event.key in steps) this.go(this.active + steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.open(this.order[event.target.dataset.place]);
    else return;
    event.preventDefault();
  }
}

export class Table extends Rows {
  constructor(root, given) {
    super(root, given);
    Object.assign(this, { store: given.store, sort: given.sort, line: LINE, across: 1, head: 34, columns: [] });
    this.headings = element("tr", { role: "row" });
    this.body = element("tbody");
    this.table = element("table", { role: "grid", "aria-label": "Selected galaxies" }, element("thead", {}, this.headings), this.body);
    root.append(this.table);
  }

  choose(columns, sorted, down) { // names of columns, in order
    this.columns = columns;
    const heading = (name, text) => {
      const is = name === sorted, arrow = is ? (down ? " ↓" : " ↑") : "";
      const button = element("button", { type: "button", className: "quiet", onclick: () => this.sort(name) }, text + arrow);
      const { kind } = this.store.columns.get(name) ?? {}, className = kind === "number" || kind === "fraction" ? "number" : "";
      return element("th", { scope: "col", role: "columnheader", className, "aria-sort": is ? (down ? "descending" : "ascending") : "none" }, button);
    };
    const picture = element("th", { scope: "col", role: "columnheader" }, element("span", { className: "unseen" }, "picture"));
    this.headings.replaceChildren(...(this.store.pictured ? [picture] : []), heading("id", "id"),
      ...columns.map((name) => heading(name, name)));
    this.fill(true);
  }

  fill(anew = false) {
    const { root, order, body } = this, first = Math.max(0, Math.floor(root.scrollTop / LINE) - 4);
    const last = Math.min(order.length, first + Math.ceil((root.clientHeight || 300) / LINE) + 9);
    if (!anew && first === this.first && last === this.last) return;
    Object.assign(this, { first, last });
    const focused = body.contains(document.activeElement);
    const gap = (n) => element("tr", { "aria-hidden": "true", style: { height: `${n * LINE}px` } });
    this.table.setAttribute("aria-rowcount", order.length + 1);
    const rows = [];
    for (let place = first; place < last; place++) rows.push(this.row(place));
    body.replaceChildren(...(first ? [gap(first)] : []), ...rows, ...(last < order.length ? [gap(order.length - last)] : []));
    if (!order.length) {
      body.append(element("tr", {}, element("td", { colSpan: this.headings.children.length, className: "faint" }, "No galaxy passes all filters.")));
    }
    if (focused) body.querySelector("[tabindex='0']")?.focus({ preventScroll: true });
  }

  row(place) {
    const row = this.order[place], { store } = this, cells = [];
    if (store.pictured) cells.push(element("td", { role: "gridcell" }, this.thumb(row, 34)));
    cells.push(element("td", { role: "gridcell", className: "id" }, store.ids[row]));
    for (const name of this.columns) {
      const column = store.columns.get(name), number = column.kind === "number" || column.kind === "fraction";
      cells.push(element("td", { role: "gridcell", className: number ? "number" : "" }, textOf(column, row)));
    }
    return element("tr", { role: "row", dataset: { place }, tabIndex: place === this.active ? 0 : -1, "aria-rowindex": place + 2,
      "aria-selected": String(row === this.current), onclick: () => {
        this.active = place;
        this.open(row);
      } }, ...cells);
  }
}

export class Gallery extends Rows {
  constructor(root, given) {
    super(root, given);
    Object.assign(this, { store: given.store, head: 0, across: 1, line: 1 });
    this.inner = element("div", { role: "listbox", "aria-label": "Selected galaxies" });
    root.append(this.inner);
  }

  fill(anew = false) {
    const { root, order, inner } = this, width = root.clientWidth;
    if (!width) return;
    this.across = Math.max(2, Math.floor((width - 4) / 100));
    const side = Math.floor((width - 4) / this.across) - 8;
    this.line = side + 30;
    const lines = Math.ceil(order.length / this.across), from = Math.max(0, Math.floor(root.scrollTop / this.line) - 1);
    const first = from * this.across;
    const last = Math.min(order.length, first + (Math.ceil(root.clientHeight / this.line) + 3) * this.across);
    if (!anew && first === this.first && last === this.last) return;
    Object.assign(this, { first, last });
    const focused = inner.contains(document.activeElement), tiles = [];
    for (let place = first; place < last; place++) tiles.push(this.tile(place, side));
    const height = Math.max(1, lines) * this.line, top = from * this.line;
    Object.assign(inner.style, { height: `${height - top}px`, marginTop: `${top}px`, gridTemplateColumns: `repeat(${this.across}, 1fr)`,
      gridAutoRows: `${this.line}px` });
    inner.replaceChildren(...tiles);
    if (focused) inner.querySelector("[tabindex='0']")?.focus({ preventScroll: true });
  }

  tile(place, side) {
    const row = this.order[place], note = this.store.short(row);
    return element("div", { role: "option", className: "tile", dataset: { place }, tabIndex: place === this.active ? 0 : -1,
      "aria-selected": String(row === this.current), "aria-label": `${this.store.ids[row]} ${note}`, title: `${this.store.ids[row]} ${note}`, onclick: () => {
        this.active = place;
        this.open(row);
      } }, this.thumb(row, side), element("small", {}, note || this.store.ids[row]));
  }
}
