"""Audit predictions: do they match the data set, and do they depend on the batch?"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics.findings import Finding
from galaxymorph.evaluation.predictions import Predictions
from galaxymorph.text import listing

Names = Shaped[ndarray, " row"]  # of classes


def predictions(made: Predictions, sample: Galaxies) -> list[Finding]:
    """Check rows, labels, splits and order of predictions against the data set.

    Every labelled galaxy must occur, with its own label and split. Labels that are shifted by some
    rows, swapped between classes, or shuffled are distinguished. Probabilities in a different order
    than the labels agree better with labels some rows away, or no better than chance.

    Raises `ValueError` if the classes differ from those of the data set."""
    if set(made.classes) != set(sample.classes):
        classes = f"predictions of {', '.join(made.classes)}"
        raise ValueError(f"{classes}; the data set has {', '.join(sample.classes)}")
    row = {name: k for k, name in enumerate(sample.ids.tolist())}
    at = np.array([row.get(name, -1) for name in made.ids], dtype=int)
    there, label = at >= 0, np.array([*made.classes, ""], dtype=object)[made.labels]
    true = np.array([*sample.classes, ""], dtype=object)[sample.labels.numpy()[at]]
    ids, n = made.ids[there], int(there.sum())
    wrong = ids[(made.split != sample.split[at])[there]]
    splits = _compared("splits", n, f"the splits of {n:,} galaxies match the data set")
    if len(wrong):
        text = f"{len(wrong):,} of {n:,} galaxies are in a different split in the data set"
        splits = Finding("splits", "leak", f"{text}: {listing(wrong, 3)}", tuple(wrong), n)
    labels = _labels(label[there], true[there], ids, made.classes)
    return [_rows(made.ids, there, sample), labels, splits, _order(made, label)]


def _compared(name: str, n: int, text: str) -> Finding:
    return Finding(name, *(("passed", text) if n else ("warning", "no galaxies to compare")), n=n)


def _rows(ids: Names, there: Bool[ndarray, " row"], sample: Galaxies) -> Finding:
    labelled = sample.ids[sample.labels.numpy() >= 0]
    parts = {
        "ids are not in the data set": ids[~there],
        "labelled galaxies are missing": sorted(set(labelled.tolist()) - {*ids.tolist()}),
    }
    texts = [
        f"{len(part):,} {what}: {listing(part, 3)}" for what, part in parts.items() if len(part)
    ]
    named = tuple(str(each) for part in parts.values() for each in part)
    well = f"every labelled galaxy occurs once, in {len(ids):,} rows"
    return Finding("rows", "leak" if texts else "passed", "; ".join(texts) or well, named, len(ids))


def _labels(label: Names, true: Names, ids: Names, classes: Sequence[str]) -> Finding:
    n, wrong = len(label), label != true
    if not wrong.any():
        return _compared("labels", n, f"the labels of {n:,} galaxies match the data set")
    rows, agree = _best_move(true, label, classes)
    mapped = pd.DataFrame({"true": true, "label": label}).drop_duplicates()
    if agree >= max(0.98 * (n - abs(rows)), n / 2, 10) and agree > (~wrong).sum():
        why = f"the column is shifted by {rows:+d} rows relative to the ids"
    elif mapped.true.is_unique and mapped.label.is_unique:
        renamed = mapped[mapped.true != mapped.label].itertuples(index=False)
        why = "classes are swapped: " + listing([f"{a} is called {b}" for a, b in renamed], 3)
    elif sorted(label) == sorted(true) and _better_than_chance(label, true) < 3:
        why = "the labels are shuffled: correct class counts, but agreement no better than chance"
    else:
        why = "these labels are wrong"
    text = f"{wrong.sum():,} of {n:,} labels differ from the data set; {why}"
    return Finding("labels", "leak", f"{text}: {listing(ids[wrong], 3)}", tuple(ids[wrong]), n)


def _best_move(of: Names, against: Names, classes: Sequence[str]) -> tuple[int, int]:
    """Shift of `of` (rows, not 0) that agrees best with `against`, and in how many rows."""
    n = len(of)
    # padded, so nothing wraps around
    spectra = [np.fft.rfft([of == name, against == name], 2 * n) for name in classes]
    agree = np.rint(np.fft.irfft(sum(b * a.conj() for a, b in spectra), 2 * n)).astype(int)
    agree[0] = -1
    best = int(agree.argmax())
    return best - 2 * n if best >= n else best, int(agree[best])


def _better_than_chance(one: Names, other: Names) -> float:
    """Agreement beyond that of shuffled labels, in approximate standard deviations."""
    names = sorted({*one} & {*other})
    chance = float(sum((one == name).mean() * (other == name).mean() for name in names))
    error = np.sqrt(max(chance * (1 - chance), 1e-12) / len(one))
    return float(((one == other).mean() - chance) / error)


def _order(made: Predictions, label: Names) -> Finding:
    """Check that probabilities and labels belong to the same rows, separately in each split."""
    guessed, chance = np.array(made.classes, dtype=object)[made.p.argmax(1)], []
    for name in pd.unique(made.split[made.answered]):
        rows = made.rows(name)
        guess, true, n = guessed[rows], label[rows], len(rows)
        if n < 30 or len(set(guess)) < 2 or len(set(true)) < 2:
            continue
        right = (guess == true).sum()
        moved, agree = _best_move(guess, true, made.classes)
        if agree - right > 3 * np.sqrt(n):  # twice what the best shift reaches by chance
            text = f"in {name}, probabilities agree with labels in {right:,} of {n:,} rows"
            text += f", shifted by {moved:+d} rows in {agree:,}"
            return Finding("order", "leak", text, tuple(made.ids[rows]), n)
        if _better_than_chance(guess, true) < 2.33:
            chance.append(f"{name} ({right:,} of {n:,})")
    n = int(made.answered.sum())
    if chance:
        text = f"predictions agree with labels no better than shuffled ones in {listing(chance, 3)}"
        return Finding("order", "warning", text, n=n)
    return _compared("order", n, "no shift of the rows agrees better with the labels")


@torch.no_grad()
def batch_independent(
    predict: Callable[[Tensor], Tensor],
    images: UInt8[Tensor, "galaxy 3 size size"],
    *,
    network: nn.Module | None = None,
) -> list[Finding]:
    """Check that predictions (or features) depend neither on their batch nor on chance.

    At least 4 `images` are predicted together, again, one by one, and in halves in reverse order.
    Differences up to a tenth of the spread among galaxies are allowed, because the rounding of
    bfloat16 depends on the batch size.

    A `predict` that passes galaxies one by one to a network in training mode always returns the
    same. If `network` is given, the modes of its layers and changes of its parameters and buffers
    are therefore checked, too."""
    n = len(images)
    if n < 4:
        raise ValueError(f"{n} images: expected at least 4, to be split into different batches")
    watched = nn.Module() if network is None else network
    sensitive = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    names = {layer: name for name, layer in watched.named_modules()}
    ran, training = set[str](), dict[str, str]()  # layers by name

    def note(layer: nn.Module, _: Any) -> None:
        if layer in names and isinstance(layer, sensitive):
            ran.add(names[layer])
            if layer.training:
                training[names[layer]] = f"{names[layer]} ({type(layer).__name__})"

    state = {name: value.clone() for name, value in watched.state_dict().items()}
    others, texts = {}, []
    with register_module_forward_pre_hook(note):
        together, others["predicted again"] = predict(images).float(), predict(images).float()
        others["alone"] = torch.cat([predict(image[None]).float() for image in images])
        halves = [predict(part).float() for part in images.flip(0).tensor_split(2)]
        others["in other batches"] = torch.cat(halves).flip(0)
    spread = together.std(0).square().mean().sqrt() + 1e-6
    for what, other in others.items():
        apart = ((other - together).square().mean().sqrt() / spread).item()
        if not apart <= 0.1:
            texts.append(f"{what} they differ by {apart:.2g} of their spread")
    if training:
        texts.append(
            f"{len(training)} layers were in training mode: {listing(training.values(), 3)}"
        )
    changed = [name for name, now in watched.state_dict().items() if not now.equal(state[name])]
    if changed:
        texts.append(f"predicting changed {listing(changed, 3)}")
    if texts:
        return [Finding("batches", "leak", f"predictions of {n} galaxies: {'; '.join(texts)}", n=n)]
    modes = f", {len(ran)} layers in eval mode" if ran else ""
    text = f"{n} galaxies alone, in other batches and again: the same{modes}"
    return [Finding("batches", "passed", text, n=n)]
