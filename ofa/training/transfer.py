"""Start from a trained supernet on another data set: its weights with a new classifier, and a shorter recipe."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import torch
from safetensors.torch import load

from ofa.data.batches import load_data
from ofa.errors import UserError
from ofa.nets.supernet import Supernet
from ofa.runs.recipe import Opens, Phase, Recipe
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace

SHARE = 0.25
"""Of the optimiser steps that the supernet was trained for."""
LEAST_STEPS_PER_EPOCH = 8
CLASSIFIER = "head.classifier."


def transfer_recipe(
    source: RunDirectory, data: str, epochs: int | None = None, resolutions: tuple[int, ...] | None = None
) -> tuple[Recipe, SearchSpace]:
    """The recipe that takes a finished run's supernet to other images, and its space.

    All subnets are trained already, so one phase opens everything: the largest net learns from the labels and teaches the
    smallest and random ones in the same step (the sandwich of Yu et al., 2020). Channels stay in their order.

    Args:
        source: a finished run.
        data: the new data set, as a recipe's `source`; other settings of the run's data are kept, but the validation part,
            which is the data set's own, or a tenth of it.
        epochs: of the phase; None: a quarter of the run's optimiser steps, and no fewer epochs than it had.
        resolutions: sides of the images in pixels; None: the run's.
    """
    config = replace(source.recipe.data, source=data, validation=None, normalise=None)
    loaded = load_data(config, channels=source.space.in_channels)
    images = loaded.sizes["train"]
    batch = source.recipe.batch_size
    while batch > 1 and images // batch < LEAST_STEPS_PER_EPOCH:
        batch //= 2
    if epochs is None:
        epochs = max(_epochs(source.recipe), ceil(SHARE * _steps(source) / (images // batch)))
    phase = Phase(
        name="transfer",
        epochs=epochs,
        peak_lr=max(phase.peak_lr for phase in source.recipe.phases) / 2,
        opens=Opens(everything=True),
        subnets_per_step=3,
        include=("largest", "smallest"),
        teacher="largest",
    )
    every = max(source.recipe.evaluation.every_epochs, ceil(epochs / 10))
    recipe = replace(
        source.recipe,
        init=str(source.path),
        classes=len(loaded.classes),
        resolutions=resolutions,
        data=config,
        phases=(phase,),
        batch_size=batch,
        zero_gamma=False,
        evaluation=replace(source.recipe.evaluation, every_epochs=every),
        description=f"{data}, from the supernet of {source.path.name}",
    )
    try:
        space = replace(source.space, classes=len(loaded.classes), resolutions=resolutions or source.space.resolutions)
    except ValueError as error:
        raise UserError(f"{data} at {resolutions} pixels: {error}") from None
    return recipe, space


def start_from(supernet: Supernet, run: str | Path) -> None:
    """Give a fresh supernet the weights of a finished run; the classifier stays as it is where the classes are others.

    Raises:
        UserError: the run is not finished, or its space differs in more than resolutions and classes.
    """
    source = RunDirectory.open(run)
    space = supernet.space
    side = (max(source.space.resolutions[-1], space.resolutions[-1]),)  # weights know no resolution
    like = replace(source.space, classes=space.classes, resolutions=side)
    if like.fingerprint != replace(space, resolutions=side).fingerprint:
        raise UserError(
            f"{run}: its space {source.space.name} is not the recipe's {space.name}; "
            "only the resolutions and the number of classes may differ"
        )
    state = load(source.weights_path.read_bytes())
    if source.space.classes != space.classes:
        fresh = supernet.state_dict()
        state |= {key: fresh[key] for key in state if key.startswith(CLASSIFIER)}
    with torch.no_grad():
        supernet.load_state_dict(state)


def _epochs(recipe: Recipe) -> int:
    return sum(phase.total_epochs for phase in recipe.phases)


def _steps(source: RunDirectory) -> int:
    return _epochs(source.recipe) * (source.data().sizes["train"] // source.recipe.batch_size)
