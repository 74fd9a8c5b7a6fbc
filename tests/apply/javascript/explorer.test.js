// Unit tests of the explorer's pure modules; `test_explorer_modules.py` runs them beside a copy of the assets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { addressOf, stateOf } from "./address.js";
import { sharesOf } from "./detail.js";
import { pixelOf, spansOf, thinned } from "./map.js";
import { colourOf } from "./panels.js";
import * as rows from "./rows.js";
import { cellOf, csvOf } from "./save.js";
import { bytesOf, columnOf, fractionsOf, gunzipped } from "./unpack.js";

const classes = { name: "class", kind: "class", names: ["round", "spiral", ""], values: Uint8Array.of(1, 0, 2, 1) };
const other = { name: "B", kind: "class", names: ["spiral", "round"], values: Uint8Array.of(0, 0, 1, 1) };
const sizes = { name: "size", kind: "number", values: Float32Array.of(3, NaN, 1, 2) };
const notes = { name: "note", kind: "text", values: ["b10", "", "b9", "A"] };
const columns = new Map([classes, other, sizes, notes].map((column) => [column.name, column]));
const passing = (...filters) => Array.from(rows.passing(filters, columns, 4));

test("filters keep names, numbers and texts, and combine", () => {
  assert.deepEqual(passing(), [1, 1, 1, 1]);
  assert.deepEqual(passing({ column: "class", values: ["spiral", ""] }), [1, 0, 1, 1]);
  assert.deepEqual(passing({ column: "size", low: 2 }), [1, 0, 0, 1]); // a missing number never passes
  assert.deepEqual(passing({ column: "size", low: 1, high: 2 }), [0, 0, 1, 1]);
  assert.deepEqual(passing({ column: "size" }), [1, 0, 1, 1]);
  assert.deepEqual(passing({ column: "note", has: "B" }), [1, 0, 1, 0]);
  assert.deepEqual(passing({ column: "class", values: ["spiral"] }, { column: "size", high: 2 }), [0, 0, 0, 1]);
});

test("two columns differ by name, not by code, where both have one", () => {
  assert.deepEqual(passing({ differ: ["class", "B"] }), [0, 1, 0, 1]);
});

test("an order puts missing values last in both directions", () => {
  for (const [name, up, down] of [["size", [2, 3, 0, 1], [0, 3, 2, 1]], ["class", [1, 0, 3, 2], [3, 0, 1, 2]], ["note", [3, 2, 0, 1], [0, 2, 3, 1]]]) {
    const order = rows.ordered(columns.get(name)), all = new Uint8Array(4).fill(1), missing = rows.missingIn(columns.get(name));
    assert.deepEqual([...rows.chosen(order, all, false, missing)], up, name);
    assert.deepEqual([...rows.chosen(order, all, true, missing)], down, name);
  }
  assert.deepEqual([...rows.chosen(rows.ordered(sizes), Uint8Array.of(1, 1, 0, 0), true, 1)], [0, 1]);
});

test("a lasso is a polygon by the even-odd rule", () => {
  const horseshoe = [[0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [3, 3], [3, 9], [0, 9]];
  for (const [x, y, inside] of [[1, 8, true], [4.5, 8, false], [8, 8, true], [4.5, 1, true], [10, 1, false], [-1, 1, false]]) {
    assert.equal(rows.isInside(x, y, horseshoe), inside, `${x} ${y}`);
  }
  const mask = Uint8Array.of(1, 1, 1, 0);
  rows.narrowToArea(mask, [1, 4.5, 8, 1], [8, 8, 8, 8], horseshoe);
  assert.deepEqual([...mask], [1, 0, 1, 0]);
  const xs = Float32Array.from({ length: 500 }, (_, i) => 12 * Math.abs(Math.sin(i * i))), ys = xs.map((x, i) => 12 * Math.abs(Math.cos(i * i * i)));
  const many = new Uint8Array(500).fill(1);
  rows.narrowToArea(many, xs, ys, horseshoe);
  many.forEach((kept, i) => assert.equal(Boolean(kept), rows.isInside(xs[i], ys[i], horseshoe)));
});

test("a simplified line stays close to the drawn one", () => {
  const circle = Array.from({ length: 1000 }, (_, i) => [1000 * Math.cos(i / 159), 1000 * Math.sin(i / 159)]), short = rows.simplified(circle, 80);
  assert.ok(short.length <= 80 && short.length > 30, short.length);
  for (const radius of [800, 1200]) {
    for (let i = 0; i < 40; i++) assert.equal(rows.isInside(radius * Math.cos(i), radius * Math.sin(i), short), radius < 1000);
  }
});

test("histograms count each galaxy once, the largest in the last bin", () => {
  const found = rows.histogram(Float32Array.of(0, 0.5, 1, 1, NaN), Uint8Array.of(1, 0, 1, 0, 1), 0, 1, 2);
  assert.deepEqual([[...found.all], [...found.selected]], [[1, 3], [1, 1]]);
  assert.deepEqual([...rows.counts(classes, Uint8Array.of(1, 1, 1, 0))], [1, 1, 1]);
  const constant = rows.histogram(Float32Array.of(5, 5), Uint8Array.of(1, 1), 5, 5, 3);
  assert.equal(constant.all[0], 2);
});

test("quantiles skip what is missing", () => {
  assert.deepEqual(rows.quantiles(Float32Array.of(4, NaN, 0, 2, 1, 3), [0, 0.5, 1]), [0, 2, 4]);
  assert.ok(rows.quantiles(Float32Array.of(NaN), [0.5]).every(Number.isNaN));
});

test("neighbours are those of all cosines", () => {
  const n = 200, dimensions = 5, vectors = Float32Array.from({ length: n * dimensions }, (_, i) => Math.sin(i * i + 1));
  const query = rows.vectorOf(vectors, dimensions, 17), norm = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
  const cosine = (row) => {
    const own = vectors.subarray(row * dimensions, (row + 1) * dimensions);
    return own.reduce((sum, x, d) => sum + x * query[d], 0) / norm(own) / norm(query);
  };
  const expected = Array.from({ length: n }, (_, row) => row).filter((row) => row !== 17).sort((a, b) => cosine(b) - cosine(a)).slice(0, 9);
  const found = rows.nearest(vectors, dimensions, query, 9, 17);
  assert.deepEqual(found.map((each) => each.row), expected);
  found.forEach((each) => assert.ok(Math.abs(each.cosine - cosine(each.row)) < 1e-6));
});

test("features are turned to the directions of the page", () => {
  const axes = Float32Array.of(0, 1, 1, 0, 0, 0); // 3 features, 2 directions: second, first
  assert.deepEqual([...rows.turnedTo(axes, 2, [3, 0, 4])], [0, 0.6]);
});

test("a mixture weights columns, and a missing fraction counts as 0", () => {
  const of = new Map([["a", { values: Float32Array.of(0.5, NaN, 1) }], ["b", { values: Float32Array.of(1, 1, 0) }]]);
  assert.deepEqual([...rows.mixture(of, { a: 1, b: -0.5 }).values], [0, -0.5, 1]);
});

test("an address gives the same state again", () => {
  const state = { projection: "CNN: t-SNE", colour: "a=b & c|d", sort: "-odd name", down: true, show: "gallery", galaxy: "ünïque #1/2",
    filters: [{ column: "x.y", values: ["a|b", "", "c=d&e"] }, { column: "size", low: -1.5, high: undefined }, { column: "n", has: "_ -" }, { differ: ["A", "B|C"] }],
    area: [[1, 2], [30, 4], [5, 60]], mix: { "more spiral": 0.5, odd: -1 }, at: [100, 200, 0.5], columns: ["a.b", "c"] };
  assert.deepEqual(stateOf(`#${addressOf(state)}`), state);
  assert.equal(addressOf(stateOf("")), "");
});

test("what is wrong in an address is ignored", () => {
  const known = (kind, name) => name === "size" && kind !== "names";
  const state = stateOf("#sort=nothing&is.size=a&in.size=1_x&in.size=1_2&area=1_2&at=1_2_-3&show=evil&mix.size=much&%E0%A4%A=1&junk&has.other=a", known);
  assert.deepEqual(state.filters, [{ column: "size", low: 1, high: 2 }]);
  assert.deepEqual([state.sort, state.area, state.at, state.show, state.mix], ["", null, null, "table", {}]);
});

test("binary columns are read as they were written", async () => {
  const bytes = Uint8Array.from({ length: 999 }, (_, i) => i % 251);
  const base64 = Buffer.from(gzipSync(bytes)).toString("base64");
  assert.deepEqual(await gunzipped(bytesOf(base64)), bytes);
  assert.deepEqual([...fractionsOf(Uint8Array.of(0, 125, 250, 255), 250)], [0, 0.5, 1, NaN]);
  const wide = columnOf({ name: "w", kind: "class", names: Array(300).fill("n") }, new Uint8Array(Uint16Array.of(299, 1).buffer));
  assert.deepEqual([...wide.values], [299, 1]);
  assert.deepEqual(columnOf({ name: "t", kind: "text" }, new TextEncoder().encode('["é", ""]')).values, ["é", ""]);
});

test("a saved table runs no formula in a spreadsheet", () => {
  assert.deepEqual(["=1+1", "'=x", "-3", "-x", 'a"b', "plain", "@a,b"].map(cellOf), ["'=1+1", "''=x", "-3", "'-x", '"a""b"', "plain", `"'@a,b"`]);
  const store = { ids: ["a", "=b", "c", "d"], columns };
  assert.equal(csvOf(store, [1, 3], ["class", "size"]), "id,class,size\n'=b,round,\nd,spiral,2\n");
});

test("colours and places of the map", () => {
  assert.equal(pixelOf("#0102ff"), 0xffff0201);
  assert.deepEqual([colourOf(-1), colourOf(0), colourOf(1), colourOf(2)], ["#00224e", "#00224e", "#fee838", "#fee838"]);
  assert.deepEqual(spansOf(Uint16Array.of(5, 7, 25, 8)), [20, 1]);
  assert.equal(thinned([{ x: 0, y: 0 }, { x: 1, y: 1 }, { x: 50, y: 0 }], 30).length, 2);
});

test("numbers are short, and a dash where missing", () => {
  assert.deepEqual([NaN, 3, 12345, 0.123456, 0.00001, 1234.56].map((value) => rows.numberText(value)), ["–", "3", "12,345", "0.1235", "1.00e-5", "1235"]);
});

test("votes become shares within each question", () => {
  const questions = [["smooth", ["yes", "no"], null], ["bar", ["yes", "no"], ["smooth", "no"]], ["odd", ["yes", "no"], null]];
  assert.deepEqual(sharesOf([0.75, 0.25, 0.05, 0.2, 0, 0], questions), [0.75, 0.25, 0.2, 0.8, NaN, NaN]);
});
