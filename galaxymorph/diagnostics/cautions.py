"""What makes a comparison mean less than it seems."""

from typing import Any

from galaxymorph.evaluation.entries import Entries, labels
from galaxymorph.evaluation.phrases import say
from galaxymorph.evaluation.verdict import BASELINE


def sentences(entries: Entries) -> list[str]:
    """Name what weakens a comparison of classes.

    Test sets that lack a class, methods that give every test galaxy the same class, and methods
    with equal probabilities for all of them (one method under two names?)."""
    absent, constant, alike = dict[Any, None](), list[Any](), dict[Any, list[str]]()
    titles = entries.titles()
    for (method, n_labels), group in entries.where(lambda e: e.predictions).groups().items():
        tables = [(entry.seed, entry.predictions) for entry in group if entry.predictions]
        parts = [(seed, table.classes, table.labelled()) for seed, table in tables]
        taken = {names[k] for _, names, part in parts for k in part.predicted}
        if len(taken) == 1 and method != BASELINE:
            constant.append((labels(n_labels), titles[method], *taken))
        for seed, names, part in parts:
            there = tuple(name for k, name in enumerate(names) if k in part.true)
            if len(there) < len(names):
                absent[seed, there, tuple(name for name in names if name not in there)] = None
        p = [(str(seed), part.p[part.ids.argsort()].round(6).tobytes()) for seed, _, part in parts]
        alike.setdefault((labels(n_labels), *sorted(p)), []).append(titles[method])
    same = [(key[0], names) for key, names in alike.items() if len(names) > 1]
    return say("cautions", absent=list(absent), constant=constant, alike=same)
