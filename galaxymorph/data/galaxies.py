"""The one data set type: galaxies with pixels, classes, votes, and the split of each."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from galaxymorph.text import unknown

Split = Literal["train", "val", "test", "unlabelled"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass
class Galaxies:
    """Galaxies of the main source first, each source by id. `images` of a source in files are
    mapped from the cache: they take memory only as far as they are used."""

    ids: Shaped[ndarray, " galaxy"]  # str
    images: UInt8[Tensor, "galaxy 3 size size"]
    labels: Int64[Tensor, " galaxy"]  # index into `classes`, -1 where unlabelled
    classes: tuple[str, ...]
    votes: Float[Tensor, "galaxy 37"] | None  # cumulative; NaN rows where nobody voted
    split: Shaped[ndarray, " galaxy"]  # str, of `SPLITS`
    volunteers: Float[Tensor, " galaxy"] | None = None  # how many people voted; NaN where unknown
    cutout: dict[str, Any] = field(default_factory=dict)  # options by which pixels were cut
    notes: list[str] = field(default_factory=list)  # left out, filled in or joined: for results

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, *splits: Split) -> "Galaxies":
        """Copy the galaxies of one split, or of several. Raises `ValueError` for an unknown split,
        or an empty one: methods rely on all but "unlabelled"."""
        for split in splits:
            if split not in SPLITS:
                raise ValueError(unknown("split", split, SPLITS))
            if split == "unlabelled" or (self.split == split).any():
                continue
            if (self.labels < 0).all():
                why = "no galaxy has a label: give the source labels, or use a method without"
            elif split == "train":
                why = "all galaxies with a label are in other splits: take more of the data"
            else:
                why = f"the data were loaded with {split} = 0: give {split} a fraction, such as 0.2"
            raise ValueError(f"the split {split!r} is empty, as {why}")
        return self.take(np.flatnonzero(np.isin(self.split, splits)))

    def take(self, rows: Shaped[ndarray, " row"]) -> "Galaxies":
        """Copy the galaxies of these rows, by number or by a mask, in this order."""
        index = torch.from_numpy(rows)
        tensors = {key: getattr(self, key) for key in ("images", "labels", "votes", "volunteers")}
        taken = {key: each[index] for key, each in tensors.items() if each is not None}
        return replace(self, ids=self.ids[rows], split=self.split[rows], **taken)

    def counts(self) -> pd.DataFrame:
        """Count the galaxies of each class (rows, and the unlabelled) in each split (columns)."""
        rows = [*self.classes, "unlabelled"]
        table = pd.crosstab(np.array(rows)[self.labels.numpy()], self.split)  # -1 is the last
        table = table.reindex(index=rows, columns=list(SPLITS), fill_value=0)
        return table.rename_axis(index="class", columns="split")

    @property
    def fingerprint(self) -> str:
        """A short hash of ids, classes, labels and splits, equal where two runs used the same."""
        rows = zip(self.ids.tolist(), self.labels.tolist(), self.split.tolist(), strict=True)
        return hashlib.sha256(json.dumps([self.classes, sorted(rows)]).encode()).hexdigest()[:12]
