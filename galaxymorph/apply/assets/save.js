// Files of the selection: its ids as CSV, its pictures as a contact sheet.

import { element } from "./lists.js";
import { textOf } from "./rows.js";

const RISKY = /^'*[=+\-@\t\r\n＝＋－＠]/; // a spreadsheet runs a cell that begins like this: `escape.cell`

export function cellOf(text) {
  const safe = RISKY.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csvOf(store, order, names) {
  const columns = names.map((name) => store.columns.get(name)), lines = [["id", ...names].map(cellOf).join(",")];
  const value = (column, row) => {
    const text = textOf(column, row);
    if (column.kind === "class" || column.kind === "text") return cellOf(text);
    return Number.isNaN(column.values[row]) ? "" : String(+column.values[row].toPrecision(6));
  };
  for (const row of order) lines.push([cellOf(store.ids[row]), ...columns.map((column) => value(column, row))].join(","));
  return `${lines.join("\n")}\n`;
}

export function saveFile(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A canvas with up to `most` galaxies in rows, each with its id and what is predicted.
export function sheetOf(store, order, most = 120) {
  const rows = Array.from(order.slice(0, most)), across = Math.min(10, Math.max(1, rows.length)), cell = 112, line = cell + 34;
  const canvas = element("canvas", { width: across * (cell + 8) + 8, height: Math.ceil(rows.length / across) * line + 40 });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.font = "14px sans-serif";
  context.fillStyle = "#1c2330";
  const count = `${order.length.toLocaleString("en")} galaxies`;
  context.fillText(rows.length < order.length ? `${rows.length} of ${count}` : count, 8, 22);
  context.font = "12px sans-serif";
  rows.forEach((row, i) => {
    const x = 8 + (i % across) * (cell + 8), y = 34 + Math.floor(i / across) * line;
    context.fillStyle = "#000";
    context.fillRect(x, y, cell, cell);
    store.picture(context, row, x, y, cell);
    context.fillStyle = "#1c2330";
    context.fillText(shortened(context, store.ids[row], cell), x, y + cell + 13);
    context.fillStyle = "#566073";
    context.fillText(shortened(context, store.short(row), cell), x, y + cell + 27);
  });
  return canvas;
}

function shortened(context, text, width) {
  while (text.length > 1 && context.measureText(text).width > width) text = `${text.slice(0, -2)}…`;
  return text;
}
