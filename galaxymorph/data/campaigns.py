"""Read the votes of Galaxy Zoo's campaigns from the columns of galaxy-datasets' catalogues.

A column is named question-campaign_answer. `smooth-or-featured-gz2_smooth` counts volunteers; with
`_fraction` it is their share among those asked; `smooth-or-featured-gz2_total-votes` counts those
asked. Names are those of `label_metadata.py` in galaxy-datasets (Walmsley et al. 2024, arXiv
2404.02973). That file lacks UKIDSS, of which only five questions are known to us. A question counts
only if it has exactly the answers below; other spellings or sets of answers are not guessed."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from galaxymorph import galaxy_zoo_tree
from galaxymorph.text import listing

# By question of the Galaxy Zoo 2 tree: name and answers, in its order, with other spellings. No
# catalogue has the 7 answers to `odd_feature`. Where the answers to bar or bulge differ from those
# of Galaxy Zoo 2 (dr5: strong, weak, no), their votes stay unknown.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "smooth": ("smooth-or-featured", "smooth", "featured-or-disk", "artifact|problem"),
    "edge_on": ("disk-edge-on", "yes", "no"),
    "bar": ("bar", "yes", "no"),
    "spiral": ("has-spiral-arms", "yes", "no"),
    "bulge": ("bulge-size", "no", "just-noticeable", "obvious", "dominant"),
    "odd": ("something-odd", "yes", "no"),
    "roundness": ("how-rounded", "round|completely", "in-between", "cigar|cigar-shaped"),
    "bulge_shape": ("bulge-shape|edge-on-bulge", "round|rounded", "boxy", "no-bulge|none"),
    "winding": ("spiral-winding", "tight", "medium", "loose"),
    "arms": ("spiral-arm-count", "1", "2", "3", "4", "more-than-4", "cant-tell"),
}
DECISIVE = ("smooth", "edge_on", "spiral", "roundness")  # questions that decide a class
# Campaigns whose trees ask these questions in the order of Galaxy Zoo 2; "" are predictions for
# DESI. Hubble and CANDELS first ask whether a galaxy is clumpy.
CAMPAIGNS = ("gz2", "dr12", "dr5", "dr8", "ukidss", "cd", "jwst", "euclid", "")
_OTHER = "clumpy-appearance|clump-count|galaxy-symmetrical|clumps-embedded-larger-object|clumps"
_OTHER += "|merging|ring|problem|artifact"  # further questions
_NAMES = "|".join(name for name, *_ in QUESTIONS.values())
COLUMN = re.compile(rf"((?:{_NAMES}|{_OTHER})(?:-[a-z0-9]+)?)_([a-z0-9-]+?)(_fraction)?")
ASKED = 5  # fewest volunteers whose majority decides an answer

Answers = dict[str, str]  # column by answer


def asked(columns: Iterable[str]) -> dict[str, Answers]:
    """Return the columns of each question, by answer: counts, or fractions where there are none."""
    found: dict[str, Answers] = defaultdict(dict)
    for match in sorted(filter(None, map(COLUMN.fullmatch, columns)), key=lambda m: bool(m[3])):
        if match[2] != "total-votes":
            found[match[1]].setdefault(match[2], match[0])
    return {question: answers for question, answers in found.items() if len(answers) > 1}


def majority(table: pd.DataFrame, question: str, file: Path) -> list[str | None]:
    """Return the answer of more than half of those asked, if they were at least `ASKED`, or None.

    Fractions count as 100 volunteers."""
    answers = asked(table.columns)[question]
    counts = _numbers(table, list(answers.values()), file)
    counts *= 100 if next(iter(answers.values())).endswith("_fraction") else 1
    total = counts.sum(1)
    decided = (total >= ASKED) & (counts.max(1) > total / 2)
    names = [*answers]
    return [names[n] if sure else None for n, sure in zip(counts.argmax(1), decided, strict=True)]


def read(table: pd.DataFrame, file: Path) -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """Return cumulative votes (row, 37), number of volunteers, and notes, from counts or fractions.

    A galaxy in several campaigns has the votes of the one with the most volunteers. Votes are NaN
    for all galaxies without any, and for questions that the campaign did not ask in this form.

    Raises `ValueError` if no campaign has all `DECISIVE` questions, saying what it lacks, and for
    values that are not votes."""
    questions = asked(table.columns)
    known, lacking, notes = {}, [], []
    for campaign in CAMPAIGNS:
        mapped = {our: _columns(our, campaign, questions) for our in QUESTIONS}
        if mapped["smooth"] is None:
            continue
        if lacks := [QUESTIONS[our][0] for our in DECISIVE if mapped[our] is None]:
            title = f"-{campaign}" if campaign else ""
            lacking.append(f"no question {listing(f'{name}{title}' for name in lacks)}")
        else:
            known[campaign] = mapped
    unused = [q for q in questions if q.startswith("clumpy-appearance")]
    lacking += [f"{question} is asked before disk-edge-on" for question in unused]
    if not known:
        why = "; ".join(lacking) or f"it has the questions {listing(questions)}"
        raise ValueError(
            f"{file}: its votes do not decide between the classes of Galaxy Zoo 2: {why}. Choose a "
            f"question whose answers become the classes, with label_column (one of "
            f"{listing(questions)}), or give labels: FILE"
        )
    votes, volunteers = np.full((len(table), 37), np.nan), np.full(len(table), np.nan)
    weight = np.zeros(len(table))
    for mapped in known.values():
        theirs, number = _campaign(table, mapped, file)
        voted = np.isfinite(theirs[:, 0])
        better = np.where(voted, np.nan_to_num(number, nan=1), 0) > weight
        votes[better], volunteers[better] = theirs[better], number[better]
        weight[better] = np.nan_to_num(number, nan=1)[better]
    missing = [
        name for name, where in galaxy_zoo_tree.SLICES.items() if np.isnan(votes[:, where]).all()
    ]
    if missing:
        notes.append(f"no votes for the questions {listing(missing)}: not in {file.name}")
    notes += [f"votes not used: {each}" for each in lacking]
    frame = pd.DataFrame(votes, table.index, list(galaxy_zoo_tree.COLUMNS))
    return frame, pd.Series(volunteers, table.index), notes


def _columns(our: str, campaign: str, questions: dict[str, Answers]) -> list[str] | None:
    """Return the columns of a question in the order of the tree, if its answers are the same."""
    names, *answers = QUESTIONS[our]
    suffix = f"-{campaign}" if campaign else ""
    for name in names.split("|"):
        theirs = questions.get(name + suffix, {})
        chosen = [next((a for a in each.split("|") if a in theirs), "") for each in answers]
        if all(chosen) and len(theirs) == len(answers):
            return [theirs[answer] for answer in chosen]
    return None


def _campaign(
    table: pd.DataFrame, mapped: dict[str, list[str] | None], file: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return cumulative votes (NaN: none) and numbers of volunteers (NaN: unknown)."""
    fractions = np.full((len(table), 37), np.nan)
    volunteers = np.full(len(table), np.nan)
    for our, columns in mapped.items():
        if columns is None:
            continue
        counts = _numbers(table, columns, file)
        total = counts.sum(1, keepdims=True)
        share = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
        fractions[:, galaxy_zoo_tree.SLICES[our]] = share
        if our == "smooth":
            volunteers = total[:, 0]
            if columns[0].endswith("_fraction"):
                name = re.sub("_[a-z]+_fraction$", "_total-votes", columns[0])
                known = name in table
                volunteers = _numbers(table, [name], file)[:, 0] if known else volunteers * np.nan
    votes = galaxy_zoo_tree.cumulative(fractions)
    for our, where in galaxy_zoo_tree.SLICES.items():
        if mapped.get(our) is None:
            votes[:, where] = np.nan
    votes[np.isnan(fractions[:, 0])] = np.nan
    return votes, volunteers


def _numbers(table: pd.DataFrame, columns: list[str], file: Path) -> np.ndarray:
    """Return columns of votes as numbers, 0 if missing. Raises `ValueError` for other values."""
    numbers = table[columns].to_numpy(float, na_value=np.nan)
    wrong = (numbers < 0) | np.isinf(numbers)
    if columns[0].endswith("_fraction"):
        total = np.nansum(numbers, axis=1, keepdims=True)
        wrong |= (total > 0) & (abs(total - 1) > 0.02)
    if wrong.any():
        ids = listing(table.index[np.flatnonzero(wrong.any(axis=1))])
        raise ValueError(f"{file}: not valid votes in {listing(columns)}: galaxies {ids}")
    return np.nan_to_num(numbers)
