// Pure functions of the labelling page; `test_label.py` copies this beside the module and runs it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { ARTIFACT, UNSURE, fromCSV, givenIn, merged, nextQuestion, pace, parseCSV, replay, textOf, toCSV } from "./labelling.js";

const { questions, end, walks } = JSON.parse(readFileSync(new URL("./tree.json", import.meta.url)));
const tree = { questions, end, ids: ["a", "b", "c"] };
const classes = { questions: [{ name: "label", answers: ["x", "y,\"z\"", "=1+1"], parent: null }], end, ids: ["a", "b", "c"] };
const time = "2026-12-01T10:00:00.000Z";
const event = (id, what, seconds = 1) => ({ id, seconds, time, ...what });

test("the page asks what the library's tree asks, after all answers", () => {
  assert.equal(walks.length, 1265);
  for (const walk of walks) {
    const given = {};
    for (const [question, answer] of walk) {
      assert.equal(nextQuestion(tree, given).name, question);
      given[question] = answer;
    }
    assert.equal(nextQuestion(tree, given), null);
    assert.deepEqual(givenIn(tree, textOf(tree, given)), given);
  }
});

test("each galaxy is labelled once, and undo is to forget the last event", () => {
  const events = [event("a", { answer: "x" }), event("b", { verdict: UNSURE }), event("c", { answer: "x" })];
  const sizes = [0, 1, 2, 3].map((n) => replay(classes, events.slice(0, n)));
  assert.deepEqual(sizes.map((state) => state.labels.size), [0, 1, 2, 3]);
  assert.deepEqual(sizes.map((state) => state.left[0]), ["a", "b", "c", undefined]);
});

test("a skipped galaxy comes back at the end, with its answers", () => {
  const events = [event("a", { answer: "features" }), event("a", { skip: true })];
  assert.deepEqual(replay(tree, events).left, ["b", "c", "a"]);
  events.push(event("b", { verdict: ARTIFACT }), event("c", { skip: true }));
  const state = replay(tree, events);
  assert.deepEqual(state.left, ["a", "c"]);
  assert.deepEqual(state.given, { smooth: "features" });
  assert.equal(textOf(tree, state.labels.get("b").given), "smooth=artifact");
});

test("seconds of a galaxy are those of all its answers", () => {
  const answers = [["smooth", 2], ["round", 3], ["no", 4]];
  const state = replay(tree, answers.map(([answer, seconds]) => event("a", { answer }, seconds)));
  assert.equal(state.labels.get("a").seconds, 9);
});

test("what is saved is loaded again", () => {
  for (const [set, what] of [[classes, [{ answer: "y,\"z\"" }, { answer: "=1+1" }, { verdict: ARTIFACT }]],
    [tree, [{ verdict: UNSURE }, { verdict: ARTIFACT }, {}]]]) {
    const events = what.map((each, i) => event(set.ids[i], each, i + 0.5));
    const text = toCSV(set, events, "Ann, \"A\"");
    const loaded = fromCSV(set, text, "Ann, \"A\"");
    assert.equal(toCSV(set, loaded, "Ann, \"A\""), text);
    assert.deepEqual([...replay(set, loaded).labels.keys()], [...replay(set, events).labels.keys()]);
  }
  assert.match(toCSV(classes, [event("a", { answer: "=1+1" })], "x"), /^a,'=1\+1,x,1.0,/m);
});

test("CSV of a spreadsheet is read", () => {
  assert.deepEqual(parseCSV("\ufeffid,label\r\na,\"x\ny\"\r\n\r\nb,z").map((row) => [row.line, row.cells]),
    [[1, ["id", "label"]], [2, ["a", "x\ny"]], [5, ["b", "z"]]]);
});

test("mistakes in a file are named by line", () => {
  const head = "id,label,annotator,seconds,time\n";
  for (const [text, expected] of [
    ["", /expected the columns id and label/], ["id,answers\na,x\n", /expected the columns/],
    [`${head}a,x,me,1,\nq,x,me,1,\n`, /line 3: no galaxy “q”/], [`${head}a,x,you,1,\n`, /line 2: labelled by “you”/],
    [`${head}a,w,me,1,\n`, /line 2: no answer “w” to label/], [`${head}a,x,me,soon,\n`, /line 2: seconds “soon”/],
    [`${head}a,x\n`, /line 2: 2 cells, but 5 columns/],
  ]) assert.throws(() => fromCSV(classes, text, "me"), expected);
  for (const [answers, expected] of [
    ["smooth=smooth", /no answer/], ["smooth=artifact;bar=yes", /“bar” is not asked/], ["nonsense", /no answer/],
  ]) assert.throws(() => givenIn(tree, answers), expected);
});

test("of a galaxy labelled here and in a file, the later label counts", () => {
  const here = [event("a", { answer: "x" }, 4), event("b", { answer: "x" })];
  const file = [event("a", { given: { label: "=1+1" } }, 6), event("b", { given: { label: "=1+1" } }), event("c", { given: { label: "x" } })];
  file[0].time = "2026-12-02T10:00:00.000Z";
  file[1].time = "2026-11-02T10:00:00.000Z";
  const { labels } = replay(classes, merged(classes, here, file));
  assert.deepEqual([...labels].map(([id, { given }]) => [id, given.label]).sort(), [["a", "=1+1"], ["b", "x"], ["c", "x"]]);
  assert.equal(labels.get("a").seconds, 6);
});

test("the pace is the median", () => {
  const labels = new Map([1, 2, 3, 100].map((seconds, i) => [i, { seconds }]));
  assert.deepEqual(pace(labels, 24), { median: 2.5, minutes: 1 });
  assert.equal(pace(new Map(), 24), null);
});
