"""Merge the labels of several annotators: majority, conflicts, votes, and rated annotators.

A galaxy gets the class that more than half of its annotators gave. Otherwise it is a conflict, to
be settled by one more person, whose labels are merged like any other. Who "cannot tell" does not
count. Answers of the tree become vote fractions, as in Galaxy Zoo, and these become classes by
`galaxy_zoo_tree.hard_labels`; a conflict is a question that decides the class, reached by the
majority's answers, of which no answer has more than half.

**Golden galaxies** have known answers. They rate annotators, and take no part in the agreement. Of
classes, the known one is also the merged label, and never a conflict."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph import project
from galaxymorph.escape import csv_text
from galaxymorph.evaluation import agreement, annotations
from galaxymorph.evaluation.annotations import ARTIFACT, UNSURE, Annotations
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.text import duration, listing

DECISIVE = tuple(dict.fromkeys(question for rule in tree.RULES.values() for question, *_ in rule))
CLASSES = tree.CLASSES[4]
ARTIFACTS = (ARTIFACT, "=".join(tree.END))


def merge(
    files: Sequence[Path],
    out: Path,
    *,
    golden: Path | None = None,
    classes: Sequence[str] = (),
    ids: Sequence[str] | None = None,
) -> list[str]:
    """Merge files of labels; write the tables, and return what they show as sentences.

    Written are the labels (`out`: id, label, decision, annotators, seconds, and p_<class>, or, for
    the tree, a table `<out>_votes.csv` in Kaggle's form), and beside them `_conflicts.csv`,
    `_agreement.csv` and `_annotators.csv`. Raises `ValueError` for mistakes in the files, before
    anything is written."""
    if out.suffix.lower() != ".csv":
        raise ValueError(f"{out}: the table of labels needs the ending .csv")
    kinds = ("conflicts", "agreement", "annotators", "votes")
    written = {kind: out.with_name(f"{out.stem}_{kind}.csv") for kind in kinds}
    inputs = {path.resolve() for path in [*files, *filter(None, [golden])]}
    for path in (out, *written.values()):
        if path.resolve() in inputs:
            raise ValueError(f"{path} is an input: choose another name for --out")
    given = annotations.read(files, classes=classes, ids=ids)
    known, notes = dict[str, str](), [*given.notes]
    if golden is not None:
        known, more = annotations.golden(golden, given, strict=bool(classes))
        notes += more
    labels, votes = merged_tree(given) if given.tree else (merged_classes(given, known), None)
    tables = {
        "conflicts": conflicts(given, known),
        "agreement": agreement.table(given, without=known),
        "annotators": rated(given, known),
    } | ({} if votes is None else {"votes": votes})
    for what, table in tables.items():
        project.write(written[what], csv_text(table, number="%.6g"))
    project.write(out, csv_text(labels, number="%.6g"))  # last: then all are there
    said = [*_sentences(given, labels, tables, written["conflicts"]), *notes]
    return [*said, f"written: {listing([out, *(written[what] for what in tables)])}"]


# ---- tables


def merged_classes(given: Annotations, known: Mapping[str, str]) -> pd.DataFrame:
    """Return the label of each galaxy by majority, how it was decided, and the votes p_<class>.

    The votes of an artifact, and of galaxies that nobody could tell, are empty. The labels of
    golden galaxies are the `known` ones."""
    (_, answered), rows = next(given.questions()), list[dict[str, Any]]()
    for id, seconds in _mean_seconds(given).items():
        votes = Counter(answered.get(id, {}).values())
        label = _majority(votes)
        if id in known:
            label, decision = known[id], "golden"
        elif not votes:
            decision = "cannot tell"
        elif label is None:
            decision = "conflict"
        else:
            decision = "unanimous" if len(votes) == 1 else "majority"
            decision = "single" if votes.total() == 1 else decision
        decision = "artifact" if label == ARTIFACT else decision
        n = sum(votes[name] for name in given.classes)
        row = {"id": id, "label": "" if label in (None, ARTIFACT) else label, "decision": decision}
        row |= {"annotators": votes.total(), "seconds": seconds}
        rows.append(row | {f"p_{name}": votes[name] / n if n else None for name in given.classes})
    return pd.DataFrame(rows)


def merged_tree(given: Annotations) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the label of each galaxy, and its cumulative votes in Kaggle's form.

    The votes have GalaxyID, the 37 columns, and the number of volunteers; galaxies that nobody
    could tell are left out. As in Kaggle's, the answers to "odd" sum to 1, also if some annotators
    were not asked, since for them the galaxy is an artifact."""
    seconds, counts = _mean_seconds(given), np.zeros((len(given.ids), len(tree.COLUMNS)))
    row = {id: n for n, id in enumerate(seconds)}
    for question, answered in given.questions():
        for id, each in answered.items():
            for answer in each.values():
                counts[row[id], tree.column(question, answer)] += 1
    votes = tree.cumulative(tree.shares(counts))
    n = counts[:, tree.SLICES["smooth"]].sum(1).astype(int)
    fits = np.where(n > 0, tree.hard_labels(votes, CLASSES), -1)
    label = np.array([*CLASSES, ""])[fits]
    artifact = votes[:, tree.column(*tree.END)] > 0.5
    whole = [n == 0, artifact, fits >= 0]
    decision = np.select(whole, ["cannot tell", "artifact", "votes"], "no class")
    table = {"id": list(row), "label": label, "decision": decision, "annotators": n}
    kaggle = {"GalaxyID": list(row)} | dict(zip(tree.COLUMNS, votes.T, strict=True))
    asked = pd.DataFrame(kaggle | {"volunteers": n}).take(np.flatnonzero(n > 0))
    return pd.DataFrame(table | {"seconds": list(seconds.values())}), asked


def conflicts(given: Annotations, known: Mapping[str, str]) -> pd.DataFrame:
    """Return the galaxies without a majority, with what each annotator gave: id, question, given.

    `galaxymorph label --ids` shows them. Galaxies whose class is `known` are left out."""
    found, leading = list[dict[str, str]](), defaultdict[str, dict[str, str | None]](dict)
    for question, answered in given.questions():
        if given.tree and question not in DECISIVE:
            continue
        parent = tree.QUESTIONS[list(tree.SLICES).index(question)].parent if given.tree else None
        for id, each in answered.items():
            if parent and leading[id].get(parent[0]) != parent[1]:
                continue
            leading[id][question] = _majority(Counter(each.values()))
            if leading[id][question] is None and (given.tree or id not in known):
                text = "; ".join(f"{name}: {answer}" for name, answer in each.items())
                found.append({"id": id, "question": question, "given": text})
    return pd.DataFrame(found, columns=["id", "question", "given"])


def rated(given: Annotations, known: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each annotator: galaxies, time, and golden galaxies that were right.

    Columns low and high are Wilson's 95 % interval of the fraction right. "Cannot tell" is not
    right. Of answers of the tree, all that are known must be given."""
    rows, by_name = list[dict[str, Any]](), defaultdict[str, list[annotations.Row]](list)
    for row in given.rows:
        by_name[row.annotator].append(row)
    for name, own in by_name.items():
        golden = [row for row in own if row.id in known]
        right = sum(_agrees(row.answer, known[row.id], given.tree) for row in golden)
        times = [row.seconds for row in own if row.seconds == row.seconds]  # not NaN
        low, high = wilson(right, len(golden))
        rows.append(
            {
                "annotator": name,
                "galaxies": len(own),
                "cannot_tell": sum(row.answer == UNSURE for row in own),
                "artifacts": sum(row.answer in ARTIFACTS for row in own),
                "median_seconds": float(np.median(times)) if times else np.nan,
                "seconds": float(np.sum(times)) if times else np.nan,
                "golden": len(golden),
                "right": right,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def _majority(votes: Counter[str]) -> str | None:
    """Return the answer of more than half of the annotators, if there is one."""
    answer, n = next(iter(votes.most_common(1)), ("", 0))
    return answer if 2 * n > votes.total() else None


def _mean_seconds(given: Annotations) -> dict[str, float]:
    """Return the mean seconds for each galaxy, NaN if unknown."""
    times: dict[str, list[float]] = {id: [] for id in given.ids}
    for row in given.rows:
        times[row.id] += [row.seconds] * (row.seconds == row.seconds)
    return {id: float(np.mean(each)) if each else np.nan for id, each in times.items()}


def _agrees(answer: str, known: str, is_tree: bool) -> bool:
    """Return whether an answer is the known one; of the tree, whether it has all known ones."""
    if not is_tree or answer == UNSURE:
        return answer == known
    wanted, has = (tree.given_in(text, complete=False) for text in (known, answer))
    return wanted.items() <= has.items()


# ---- in words


def _sentences(
    given: Annotations, labels: pd.DataFrame, tables: Mapping[str, pd.DataFrame], file: Path
) -> list[str]:
    """Say what was merged; each annotator, agreement and conflicts on a line."""
    named = Counter(labels["label"][labels["label"] != ""])
    each = listing(f"{name} {n:,}" for name, n in named.most_common())
    said = [
        f"galaxies: {len(labels):,}; with a class: {named.total():,}" + f" ({each})" * bool(each)
    ]
    rest = Counter(labels["decision"][labels["label"] == ""])
    said += [f"without a class: {listing(f'{what} {n:,}' for what, n in rest.items())}"] * bool(
        rest
    )
    said += [_rating(row) for row in tables["annotators"].head(20).to_dict("records")]
    said += [agreement.sentence(row) for row in tables["agreement"].to_dict("records")]
    if len(given.annotators) > 1 and tables["agreement"].empty:
        said.append("no agreement measured: fewer than two galaxies were labelled twice")
    clash = tables["conflicts"]
    if len(clash):
        todo = f"settle them with `galaxymorph label --ids {file}`, and merge that, too"
        return [*said, f"galaxies in conflict: {clash['id'].nunique():,}; {todo}"]
    return [*said, "no conflicts"] if len(given.annotators) > 1 else said


def _rating(row: Mapping[Any, Any]) -> str:
    """Say what an annotator did."""
    text = f"{row['annotator']}: galaxies {row['galaxies']:,}"
    if row["seconds"] == row["seconds"]:  # not NaN
        text += f", {row['median_seconds']:.1f} s each (median), {duration(row['seconds'])} in all"
    if row["golden"]:
        percent = [100 * x for x in (row["right"] / row["golden"], row["low"], row["high"])]
        share = "{:.0f} %, 95 % interval {:.0f} to {:.0f} %".format(*percent)
        text += f"; golden galaxies right: {row['right']} of {row['golden']} ({share})"
    return text
