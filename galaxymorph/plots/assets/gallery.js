"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [filters, sort, backwards, find, copy, count, galaxies, end] =
  ["filters", "sort", "reversed", "find", "copy", "count", "galaxies", "end"].map((id) => document.getElementById(id));
const STEP = 120; // galaxies added at a time while scrolling
const chosen = Object.fromEntries(Object.keys(data.texts).map((name) => [name, null]));
const words = (name) => name.replaceAll("_", " ");
let order = [], drawn = 0;

function element(kind, text, ...inside) {
  const made = document.createElement(kind);
  made.append(text, ...inside);
  return made;
}

for (const [name, values] of Object.entries(data.texts)) { // a row of filter buttons per text column
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  if (counts.size > 40) continue; // too many values to filter by, such as remarks
  const row = element("div", element("span", words(name)));
  row.className = "filter";
  for (const [value, n] of [[null, values.length], ...[...counts].sort((a, b) => b[1] - a[1])]) {
    const label = value === null ? "all" : value || "none";
    const button = element("button", `${label} `, element("small", n.toLocaleString("en")));
    button.type = "button";
    button.ariaPressed = String(value === null);
    button.onclick = () => {
      chosen[name] = value;
      for (const other of row.querySelectorAll("button")) other.ariaPressed = String(other === button);
      show();
    };
    row.append(button);
  }
  filters.append(row);
}
for (const name of ["as listed", "id", ...Object.keys(data.numbers)]) sort.append(new Option(words(name), name));

function compared(a, b) {
  if (sort.value === "as listed") return a - b;
  if (sort.value === "id") return data.ids[a].localeCompare(data.ids[b], "en", { numeric: true });
  const values = data.numbers[sort.value], sign = backwards.checked ? -1 : 1;
  if (values[a] === null || values[b] === null) return sign * ((values[a] === null) - (values[b] === null)); // last
  return values[a] - values[b] || a - b;
}

function show() {
  const wanted = find.value.trim().toLowerCase();
  order = data.ids.map((_, i) => i).filter((i) =>
    Object.entries(chosen).every(([name, value]) => value === null || data.texts[name][i] === value) &&
    data.ids[i].toLowerCase().includes(wanted));
  order.sort((a, b) => (backwards.checked ? -1 : 1) * compared(a, b));
  count.textContent = `${order.length.toLocaleString("en")} shown`;
  galaxies.replaceChildren();
  drawn = 0;
  fill();
}

function fill() { // fill the window and a little beyond
  while (drawn < order.length && end.getBoundingClientRect().top < innerHeight + 600) more();
}

function more() {
  for (const i of order.slice(drawn, drawn + STEP)) {
    const figure = document.createElement("figure"), image = new Image(), id = element("button", data.ids[i]);
    image.src = `data:image/webp;base64,${data.pictures[i]}`;
    image.alt = `Galaxy ${data.ids[i]}`;
    id.type = "button";
    id.title = "Copy this id";
    id.onclick = () => copied([data.ids[i]]);
    figure.append(image, id);
    for (const [name, values] of Object.entries(data.texts)) {
      if (values[i]) figure.append(element("span", `${words(name)}: ${values[i]}`));
    }
    for (const [name, values] of Object.entries(data.numbers)) {
      if (values[i] !== null) figure.append(element("span", `${words(name)}: ${values[i]}`));
    }
    galaxies.append(figure);
  }
  drawn += STEP;
}

async function copied(ids) {
  const text = ids.join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch { // for pages opened from a file or in a frame
    const area = element("textarea", text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  count.textContent = ids.length === 1 ? `copied ${ids[0]}` : `copied ${ids.length.toLocaleString("en")} ids`;
}

sort.onchange = backwards.onchange = find.oninput = show;
copy.onclick = () => copied(order.map((i) => data.ids[i]));
document.getElementById("tools").onsubmit = (event) => event.preventDefault();
new IntersectionObserver(fill, { rootMargin: "600px" }).observe(end);
show();
