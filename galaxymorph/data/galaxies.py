"""The data set type: galaxies with their images, classes, votes and splits."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from galaxymorph.data.found import SPLITS, Split
from galaxymorph.text import unknown


@dataclass
class Galaxies:
    """A set of galaxies: those of the main source first, each source sorted by id.

    `images` are memory-mapped from the cache, so only those in use take memory."""

    ids: Shaped[ndarray, " galaxy"]  # str
    images: UInt8[Tensor, "galaxy 3 size size"]
    labels: Int64[Tensor, " galaxy"]  # index into `classes`, -1 where unlabelled
    classes: tuple[str, ...]
    votes: Float[Tensor, "galaxy 37"] | None  # cumulative; rows of NaN where nobody voted
    split: Shaped[ndarray, " galaxy"]  # str, one of `SPLITS`
    volunteers: Float[Tensor, " galaxy"] | None = None  # number of voters; NaN if unknown
    cutout: dict[str, Any] = field(default_factory=dict)  # options of the cutouts
    notes: list[str] = field(default_factory=list)  # what was left out, repaired or joined

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, *splits: Split) -> "Galaxies":
        """Copy the galaxies of one or more splits.

        Raises `ValueError` for an unknown split, or an empty one other than "unlabelled"."""
        for split in splits:
            if split not in SPLITS:
                raise ValueError(unknown("split", split, SPLITS))
            if split == "unlabelled" or (self.split == split).any():
                continue
            if (self.labels < 0).all():
                why = "no galaxy has a label: add labels, or use a method that needs none"
            elif split == "train":
                why = "all labelled galaxies are in other splits: use more galaxies"
            else:
                why = f"the data were loaded with {split} = 0: set {split}, for example to 0.2"
            raise ValueError(f"split {split!r} is empty because {why}")
        return self.take(np.flatnonzero(np.isin(self.split, splits)))

    def take(self, rows: Shaped[ndarray, " row"]) -> "Galaxies":
        """Copy the galaxies of these rows (indices in any order, or a mask)."""
        index = torch.from_numpy(rows)
        tensors = {key: getattr(self, key) for key in ("images", "labels", "votes", "volunteers")}
        taken = {key: each[index] for key, each in tensors.items() if each is not None}
        return replace(self, ids=self.ids[rows], split=self.split[rows], **taken)

    def counts(self) -> pd.DataFrame:
        """Count galaxies per class (rows, with the unlabelled last) and split (columns)."""
        rows = [*self.classes, "unlabelled"]
        table = pd.crosstab(np.array(rows)[self.labels.numpy()], self.split)  # -1: unlabelled
        table = table.reindex(index=rows, columns=list(SPLITS), fill_value=0)
        return table.rename_axis(index="class", columns="split")

    @property
    def fingerprint(self) -> str:
        """Short hash of ids, classes, labels and splits, to compare the data of two runs."""
        rows = zip(self.ids.tolist(), self.labels.tolist(), self.split.tolist(), strict=True)
        return hashlib.sha256(json.dumps([self.classes, sorted(rows)]).encode()).hexdigest()[:12]
