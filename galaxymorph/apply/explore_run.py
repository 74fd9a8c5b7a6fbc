"""The page to explore the galaxies of a run, with what all its methods say."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from galaxymorph.apply import explorer
from galaxymorph.apply.explored import (
    T_SNE,
    Features,
    activation_maps,
    drawn,
    judged,
    projections,
    unusual,
    with_votes,
)
from galaxymorph.apply.explorer import PICTURED, Explored, Points
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics.by_galaxy import ByGalaxy, by_galaxy
from galaxymorph.learning import saved, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor


def of_run(
    sample: Galaxies,
    entries: Any,
    models: Mapping[str, Path],
    *,
    seed: int,
    title: str,
    measured: pd.DataFrame | None = None,
    n_maps: int = 200,
    t_sne: int = T_SNE,
) -> str:
    """Return the page of a run.

    Args:
        sample: all galaxies.
        entries: the run's `Entries`; those of `seed` are shown.
        models: by name; maps are of the features of each, neighbours and class-activation maps of
            the first.
        measured: properties of galaxies with a column `id`, possibly not of all.
        n_maps: galaxies with class-activation maps, those first that methods name differently.
        t_sne: galaxies that t-SNE places itself (`projections`)."""
    ids, predicted = [str(id) for id in sample.ids], by_galaxy(entries, seed)
    place = partial(pd.DataFrame.reindex, index=ids)
    features, maps, of_first = dict[str, Features](), dict[str, Points](), None
    for name, path in models.items():
        learner, header = saved.load(path)
        if header["image_size"] != sample.images.shape[-1]:
            sizes = f"{header['image_size']} px, the galaxies of the run {sample.images.shape[-1]}"
            raise ValueError(f"{path}: made for images of {sizes}; choose another --model")
        of_first = of_first or (learner, header)
        features[name] = train.embed(learner.encoder, sample.images).numpy()  # pyright: ignore
        maps |= projections(features[name], name if len(models) > 1 else "", most=t_sne)
    if of_first is None:
        raise ValueError("models: none given; the map needs the features of one")
    own = next(iter(features.values()))
    shown = drawn(len(ids), PICTURED)
    explored = Explored(
        ids, maps, features=own, pictures=sample.images.numpy()[shown], pictured=shown
    )
    truth = pd.Series(np.array([*sample.classes, ""])[sample.labels.numpy()])
    explored.classes = sample.classes
    p = {name: place(table).to_numpy(float) for name, table in predicted.probabilities.items()}
    main = pd.DataFrame({"class": truth})
    if p:
        main = judged(p[predicted.best], sample.classes, truth)
    split = pd.Series(sample.split).replace("unlabelled", "")
    main = main.assign(split=split.to_numpy(str), **unusual(own))
    if len(predicted.suspects):
        doubted = place(predicted.suspects.set_index("id"))
        main["suspected class"] = doubted.suspected.fillna("").to_numpy(str)
        main["suspected by"] = (doubted.methods / doubted.of).fillna(0.0).to_numpy(float)
    said = {name: judged(each, sample.classes, None).predicted for name, each in p.items()}
    explored.columns = {"galaxy": main} | ({"methods": pd.DataFrame(said)} if said else {})
    explored.probabilities = p
    if measured is not None and len(measured):
        table = place(measured.drop_duplicates("id").set_index("id"))
        table = table.select_dtypes("number").reset_index(drop=True)
        explored.columns["measured"] = table.rename(columns=lambda name: name.replace("_", " "))  # pyright: ignore
    votes = None if sample.votes is None else sample.votes.numpy()
    by = None if predicted.votes is None else place(predicted.votes).to_numpy(float)
    if votes is not None or by is not None:
        with_votes(explored, votes, by)
    learner, header = of_first
    if n_maps and isinstance(learner, Classifier | VoteRegressor):
        said_by_all = pd.DataFrame(said)
        opinions = (
            said_by_all.replace("", np.nan).nunique(axis=1)
            if said
            else pd.Series(0, range(len(ids)))
        )
        rows = np.sort(np.argsort(-opinions.to_numpy(), kind="stable")[:n_maps])
        explored.mapped = rows
        explored.maps = activation_maps(learner, header, sample.images[torch.from_numpy(rows)])
    notes, first = _notes(explored, predicted, models), next(iter(models.values()))
    return explorer.page(explored, title=title, notes=notes, model=first)


def _notes(explored: Explored, predicted: ByGalaxy, models: Mapping[str, Path]) -> list[str]:
    """Return sentences on where the parts of a run's page come from."""
    first = next(iter(models))
    notes = [f"Neighbours and class-activation maps are those of {first}."]
    if explored.probabilities:
        notes.append(
            f"Predicted class, confidence and margin: {predicted.best}, the best method on "
            "validation galaxies."
        )
        notes.append(
            "Methods are those with the largest number of labels; of galaxies that a method "
            "was trained on, its answers mean little: see the column split."
        )
    if len(explored.mapped):
        notes.append(
            f"{len(explored.mapped):,} galaxies have class-activation maps, those first that "
            "methods name differently."
        )
    if predicted.votes is not None:
        notes.append(f"Predicted votes: {predicted.voter}.")
    if len(predicted.suspects):
        notes.append(
            "Suspected labels by confident learning (Northcutt et al. 2021): the share of "
            "methods that doubt a label. A suspected label is not necessarily wrong."
        )
    return notes
