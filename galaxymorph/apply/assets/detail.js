// One galaxy: picture, what is known and predicted, votes on the decision tree, maps, neighbours.

import { element } from "./lists.js";
import { colourOf } from "./panels.js";
import { isMissing, nearest, textOf, vectorOf } from "./rows.js";

const NEIGHBOURS = 12;
const BELOW = ["methods", "probabilities", "votes", "predicted votes"]; // groups that have parts of their own

export function drawGalaxy(root, store, row, open) {
  if (row < 0) {
    root.replaceChildren(element("h2", {}, "No galaxy chosen"), element("p", { className: "faint" }, "Click a point of the map, a row or a picture. "
      + "With the keyboard: j and k go through the selection."));
    return [];
  }
  const near = neighboursOf(store, row);
  const parts = [element("div", { className: "row spread" }, element("h2", {}, store.ids[row]),
    element("div", { className: "row" }, ...[["←", -1, "Previous galaxy (k)"], ["→", 1, "Next galaxy (j)"]].map(([text, step, label]) =>
      element("button", { type: "button", "aria-label": label, title: label, onclick: () => store.step(step) }, text))))];
  if (store.pictured) parts.push(element("div", { className: "large" }, store.thumb(row, 256, true)));
  parts.push(facts(store, row));
  if (store.methods.size) parts.push(element("h3", {}, "What each method says"), methods(store, row));
  const heat = maps(store, row);
  if (heat) parts.push(element("h3", {}, "Where the network sees it"), heat);
  if (store.tree) parts.push(element("h3", {}, "Votes"), ...tree(store, row));
  if (near.length) {
    parts.push(element("h3", {}, "Nearest galaxies"), element("div", { className: "near" }, ...near.map((each) =>
      element("button", { type: "button", className: "quiet", title: store.ids[each.row], "aria-label": `${store.ids[each.row]}, cosine ${each.cosine.toFixed(3)}`,
        onclick: () => open(each.row) }, store.thumb(each.row, 64), element("small", {}, each.cosine.toFixed(3))))));
  }
  root.replaceChildren(...parts);
  return near.map((each) => each.row);
}

export function neighboursOf(store, row, k = NEIGHBOURS) {
  if (!store.vectors) return [];
  const { vectors, dimensions } = store;
  return nearest(vectors, dimensions, vectorOf(vectors, dimensions, row), k, row);
}

function facts(store, row) {
  const list = element("dl");
  for (const column of store.columns.values()) {
    if (BELOW.includes(column.group) || isMissing(column, row)) continue;
    list.append(element("div", {}, element("dt", {}, column.name), element("dd", {}, textOf(column, row))));
  }
  return list;
}

function methods(store, row) {
  const body = element("tbody"), k = store.classes.length;
  for (const [name, shares] of store.methods) {
    const own = Array.from(shares.subarray(row * k, (row + 1) * k));
    if (own.some(Number.isNaN)) continue;
    const best = own.indexOf(Math.max(...own)), truth = store.truth(row);
    const mark = truth ? (store.classes[best] === truth ? "✓ " : "✗ ") : "";
    body.append(element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, mark + store.classes[best]),
      element("td", { className: "stack" }, element("span", { className: "stacked", role: "img", "aria-label": store.classes.map((each, c) => `${each} ${own[c].toFixed(2)}`).join(", "),
        title: store.classes.map((each, c) => `${each} ${own[c].toFixed(2)}`).join("\n") },
      ...own.map((share, c) => element("i", { style: { width: `${100 * share}%`, background: store.classColour(c) } }))), element("small", {}, own[best].toFixed(2)))));
  }
  if (!body.children.length) return element("p", { className: "faint" }, "No method has predicted it.");
  return element("table", { className: "methods" }, body);
}

// ---- votes on the decision tree

// Shares of each answer within its question, from cumulative votes; NaN where nobody was asked.
export function sharesOf(votes, questions) {
  const found = [];
  for (const [, answers] of questions) {
    const own = answers.map((_, a) => votes[found.length + a]), sum = own.reduce((total, value) => total + value, 0);
    found.push(...own.map((value) => (sum > 0 ? value / sum : NaN)));
  }
  return found;
}

function tree(store, row) {
  const kinds = Object.keys(store.votes).map((who) => [who === "volunteers" ? "votes" : "predicted_votes", who]);
  const shares = Object.values(store.votes).map((names) => sharesOf(names.map((name) => store.columns.get(name).values[row]), store.tree));
  if (shares.every((own) => own.every(Number.isNaN))) return [element("p", { className: "faint" }, "No votes are known.")];
  const starts = [];
  store.tree.reduce((n, [, answers]) => (starts.push(n), n + answers.length), 0);
  const share = (own, q, a) => own[starts[q] + a];
  const reached = (own, q) => { // share of all volunteers who were asked
    const parent = store.tree[q][2];
    if (!parent) return 1;
    const p = store.tree.findIndex(([name]) => name === parent[0]);
    return reached(own, p) * (share(own, p, store.tree[p][1].indexOf(parent[1])) || 0);
  };
  const question = (q) => {
    const [name, answers] = store.tree[q], asked = shares.map((own) => reached(own, q));
    const rows = answers.map((answer, a) => {
      const bars = shares.map((own, which) => {
        const value = share(own, q, a);
        return element("span", { className: `share ${kinds[which][0]}`, title: `${kinds[which][1]}: ${Number.isNaN(value) ? "not asked" : value.toFixed(2)}` },
          element("i", { style: { width: `${100 * (value || 0)}%` } }));
      });
      const text = shares.map((own) => (Number.isNaN(share(own, q, a)) ? "–" : share(own, q, a).toFixed(2))).join(" / ");
      const children = store.tree.flatMap(([, , parent], child) => (parent && parent[0] === name && parent[1] === answer ? [child] : []));
      return element("li", {}, element("div", { className: "answer" }, element("span", {}, answer), element("span", { className: "pair", "aria-hidden": "true" }, ...bars),
        element("small", {}, text)), ...(children.length ? [element("ul", {}, ...children.map(question))] : []));
    });
    const most = Math.max(...asked), note = element("small", {}, most < 0.995 ? `asked ${asked.map((value) => `${Math.round(100 * value)} %`).join(" / ")}` : "");
    const head = [element("b", {}, `${name}?`), " ", note], list = element("ul", {}, ...rows);
    const folded = element("details", {}, element("summary", { className: "faint" }, ...head), list);
    return element("li", { className: "question" }, ...(most < 0.05 ? [folded] : [element("div", {}, ...head), list]));
  };
  const roots = store.tree.flatMap(([, , parent], q) => (parent ? [] : [q]));
  const key = element("p", { className: "row" }, ...kinds.map(([name, text]) => element("span", { className: "row" }, element("span", { className: `share ${name} key` }, element("i", { style: { width: "100%" } })),
    element("small", {}, text))));
  return [key, element("ul", { className: "tree" }, ...roots.map(question))];
}

// ---- class-activation maps

function maps(store, row) {
  const { heat } = store;
  const place = heat ? heat.places.get(row) : undefined;
  if (place === undefined) return null;
  const cells = heat.side ** 2;
  return element("div", { className: "heat" }, ...[...heat.of].map(([name, values]) => element("figure", {}, overlaid(store, row, values.subarray(place * cells, (place + 1) * cells), heat.side),
    element("figcaption", {}, name))));
}

function overlaid(store, row, values, side) {
  const size = 112, canvas = element("canvas", { width: size, height: size, role: "img", "aria-label": "class-activation map" });
  const context = canvas.getContext("2d"), small = element("canvas", { width: side, height: side });
  const inner = small.getContext("2d"), image = inner.createImageData(side, side);
  values.forEach((value, i) => {
    const colour = colourOf(value / 255);
    image.data.set([...[1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)), 40 + 0.6 * value], 4 * i);
  });
  inner.putImageData(image, 0, 0);
  context.fillRect(0, 0, size, size);
  store.picture(context, row, 0, 0, size);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, size, size);
  return canvas;
}
