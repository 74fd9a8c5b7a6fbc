// What labelling is, without a page: which question comes next, what is labelled, and the CSV file.
//
// A set has `questions` (name, prompt, answers, parent) and `ids`. All that a person does is a list
// of events, from which everything else follows, so that undo takes back any of them:
// {id, answer} to the question asked, {id, verdict}, {id, skip: true}, or {id, given} from a file;
// each with the `seconds` that it took and the `time`.

export const ARTIFACT = "star or artifact", UNSURE = "cannot tell";
const RISKY = /^'*[=+\-@\t\r\n＝＋－＠]/; // a spreadsheet would run such a cell as a formula

export function isTree(set) { return set.questions[0].name !== "label"; }

// The question after these answers, null at the end: what an answer leads to is asked at once.
export function nextQuestion(set, given) {
  const below = (parent) => {
    for (const question of set.questions) {
      if (String(question.parent) !== String(parent)) continue;
      if (!(question.name in given)) return question;
      const deeper = below([question.name, given[question.name]]);
      if (deeper) return deeper;
    }
    return null;
  };
  return given[set.end[0]] === set.end[1] ? null : below(null);
}

// What follows from the events: the label of each galaxy by id, the answers so far to the current
// one, and the ids that are left, skipped ones at the end.
export function replay(set, events) {
  const labels = new Map(), partial = new Map(), spent = new Map(), skipped = new Map();
  const known = new Set(set.ids);
  events.forEach((event, at) => {
    const { id } = event;
    if (!known.has(id)) return;
    spent.set(id, (spent.get(id) || 0) + event.seconds);
    if (event.skip) { skipped.delete(id); skipped.set(id, at); return; }
    let given = event.given || { ...partial.get(id) };
    if (event.verdict === ARTIFACT && isTree(set)) given = { [set.end[0]]: set.end[1] };
    else if (event.verdict) given = { verdict: event.verdict };
    else if (event.answer) given[nextQuestion(set, given).name] = event.answer;
    partial.set(id, given);
    if (given.verdict || !nextQuestion(set, given)) {
      labels.set(id, { given, seconds: spent.get(id), time: event.time });
      partial.delete(id);
      skipped.delete(id);
    }
  });
  const left = set.ids.filter((id) => !labels.has(id) && !skipped.has(id));
  left.push(...[...skipped.keys()].filter((id) => !labels.has(id)));
  return { labels, left, given: partial.get(left[0]) || {} };
}

export function textOf(set, given) {
  if (given.verdict) return given.verdict;
  if (!isTree(set)) return given.label;
  return Object.entries(given).map(([question, answer]) => `${question}=${answer}`).join(";");
}

// The answers in a text of a CSV file. Throws an error that says what is wrong.
export function givenIn(set, text) {
  if (text === UNSURE) return { verdict: UNSURE };
  if (text === ARTIFACT) return isTree(set) ? { [set.end[0]]: set.end[1] } : { verdict: ARTIFACT };
  const pairs = isTree(set) ? text.split(";").map((part) => part.split("=").map((each) => each.trim())) : [["label", text]];
  const wanted = Object.fromEntries(pairs), given = {};
  for (let asked; (asked = nextQuestion(set, given));) {
    const answer = wanted[asked.name];
    if (!asked.answers.includes(answer)) throw new Error(`no answer “${answer ?? text}” to ${asked.name} on this page`);
    given[asked.name] = answer;
  }
  const extra = pairs.find(([name]) => !(name in given));
  if (extra) throw new Error(`“${extra[0]}” is not asked after these answers`);
  return given;
}

// ---- CSV

function cell(value) {
  let text = String(value);
  if (RISKY.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function uncell(text) { return text.startsWith("'") && RISKY.test(text) ? text.slice(1) : text; }

export function toCSV(set, events, annotator) {
  const rows = [["id", isTree(set) ? "answers" : "label", "annotator", "seconds", "time"]];
  for (const [id, { given, seconds, time }] of replay(set, events).labels) {
    rows.push([id, textOf(set, given), annotator, seconds.toFixed(1), time]);
  }
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

// The rows of a CSV text as {line, cells}, without blank lines.
export function parseCSV(text) {
  const rows = [];
  let cells = [], value = "", quoted = false, line = 1, first = 1;
  const close = () => { cells.push(value); value = ""; };
  const end = () => { close(); if (cells.some((each) => each.trim())) rows.push({ line: first, cells }); cells = []; };
  text = text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n");
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (letter === "\n") line++;
    if (quoted) {
      if (letter !== '"') value += letter;
      else if (text[i + 1] === '"') value += text[++i];
      else quoted = false;
    } else if (letter === '"' && !value) quoted = true;
    else if (letter === ",") close();
    else if (letter === "\n") { end(); first = line; } else value += letter;
  }
  end();
  return rows;
}

// The events of a saved file. Throws an error with the line of the first mistake.
export function fromCSV(set, text, annotator) {
  const [head, ...rows] = parseCSV(text), kind = isTree(set) ? "answers" : "label";
  const names = head ? head.cells.map((each) => each.trim()) : [];
  const [id, answer, who, seconds, time] = ["id", kind, "annotator", "seconds", "time"].map((name) => names.indexOf(name));
  if (id < 0 || answer < 0) throw new Error(`expected the columns id and ${kind}, found ${names.join(", ") || "none"}`);
  const known = new Set(set.ids);
  return rows.map(({ line, cells }) => {
    const taken = (place) => (place < 0 ? "" : uncell((cells[place] ?? "").trim()));
    const stop = (what) => { throw new Error(`line ${line}: ${what}`); };
    if (cells.length !== names.length) stop(`${cells.length} cells, but ${names.length} columns`);
    if (!known.has(taken(id))) stop(`no galaxy “${taken(id)}” on this page`);
    if (taken(who) && taken(who) !== annotator) stop(`labelled by “${taken(who)}”, but you are “${annotator}”`);
    let given;
    try { given = givenIn(set, taken(answer)); } catch (error) { stop(error.message); }
    const took = Number(taken(seconds));
    if (!(took >= 0)) stop(`seconds “${taken(seconds)}” is not a number`);
    return { id: taken(id), given, seconds: took, time: taken(time) };
  });
}

// Add the events of a file to those here; of a galaxy labelled in both, the later label counts.
export function merged(set, events, loaded) {
  const here = replay(set, events).labels, before = [], after = [];
  for (const event of loaded) {
    const own = here.get(event.id);
    if (!own) before.push(event);
    else if (event.time > own.time) after.push({ ...event, seconds: Math.max(0, event.seconds - own.seconds) });
  }
  return [...before, ...events, ...after];
}

// Median seconds for a galaxy, and the minutes that those left will take.
export function pace(labels, left) {
  const times = [...labels.values()].map((each) => each.seconds).filter((each) => each > 0).sort((a, b) => a - b);
  if (times.length < 3) return null;
  const median = (times[(times.length - 1) >> 1] + times[times.length >> 1]) / 2;
  return { median, minutes: (median * left) / 60 };
}
