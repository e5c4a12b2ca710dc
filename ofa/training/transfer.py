"""Transfer of a trained supernet to another data set: its weights, a new classifier for new classes, a shorter recipe."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import torch

from ofa.data.batches import load_data
from ofa.data.record import DataRecord
from ofa.errors import UserError
from ofa.nets.supernet import Supernet
from ofa.runs.metrics_rows import metrics_rows
from ofa.runs.recipe import Opens, Phase, Recipe
from ofa.runs.run_directory import RunDirectory, load_weights, put_weights
from ofa.space.search_space import SearchSpace

STEPS_FRACTION = 0.25
"""Optimiser steps of a transfer, as a fraction of those that the supernet was trained for."""
IMPORTED_STEPS = {20_000: 500, 500_000: 10_000}
"""Optimiser steps from imported weights, for fewer than so many training images, ..."""
MOST_IMPORTED_STEPS = 20_000
"""... and for more (BiT's rule, arXiv:1912.11370)."""
IMPORTED_BATCH = 64
"""Images of each of these steps."""
MOST_IMPORTED_EPOCHS = 100
LEAST_STEPS_PER_EPOCH = 8
"""Fewest steps in an epoch; the batch size is halved until there are as many."""
CLASSIFIER = "head.classifier."


def transfer_recipe(
    source: RunDirectory, data: str, epochs: int | None = None, resolutions: tuple[int, ...] | None = None
) -> tuple[Recipe, SearchSpace]:
    """The recipe, and its space, that trains a finished run's supernet on other images.

    All subnets are trained already, so one phase opens everything: in each step, the largest net learns from the labels and
    teaches the smallest and a random one (the sandwich rule, Yu et al., 2020). Channels are not sorted again.

    Args:
        source: a finished run; its own data may be gone.
        data: the new data set, as a recipe's `source`. The run's other settings of data are kept, except for the validation
            split, which is the data set's own, or a tenth of its training images.
        epochs: epochs of the phase; None: a quarter of the run's optimiser steps, but at least as many epochs. Imported
            weights have no steps; theirs are `IMPORTED_STEPS`.
        resolutions: sides of the images in pixels; None: those of the run.

    Raises:
        UserError: data or resolutions do not fit the space, or `epochs` is None and the run's steps are unknown.
    """
    imported = source.import_path.exists()
    normalise = source.recipe.data.normalise if imported else None  # the run's own is that of its own images
    config = replace(source.recipe.data, source=data, validation=None, normalise=normalise)
    loaded = load_data(config, channels=source.space.in_channels)
    images = loaded.sizes["train"]
    batch = source.recipe.batch_size
    while batch > 1 and images // batch < LEAST_STEPS_PER_EPOCH:
        batch //= 2
    if epochs is None and imported:
        epochs = _imported_epochs(images)
    elif epochs is None:
        epochs = max(_epochs(source.recipe), ceil(STEPS_FRACTION * _steps(source) / (images // batch)))
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


def start_from(supernet: Supernet, run: str | Path, data: DataRecord) -> str:
    """Copy the weights of a finished run into a supernet; those of the classifier only where the classes are the same.

    Args:
        supernet: a supernet with random weights; its classifier keeps them where the classes differ, or may differ.
        run: the finished run; its data may be gone.
        data: record of the images that the supernet will be trained on.

    Returns:
        A line for users on what training starts from.

    Raises:
        UserError: the run is not finished, or its space differs in more than resolutions and classes.
    """
    source = RunDirectory.open(run)
    space = supernet.space
    side = (max(source.space.resolutions[-1], space.resolutions[-1]),)  # weights do not depend on the resolution
    like = replace(source.space, classes=space.classes, resolutions=side)
    if like.fingerprint != replace(space, resolutions=side).fingerprint:
        raise UserError(
            f"{run}: its space {source.space.name} is not the recipe's {space.name}; "
            "only the resolutions and the number of classes may differ"
        )
    state = load_weights(source.weights_path)
    why_new = _why_new_classifier(source, data)
    if why_new is not None:
        fresh = supernet.state_dict()
        state |= {key: fresh[key] for key in state if key.startswith(CLASSIFIER)}
    with torch.no_grad():
        put_weights(supernet, state, source.weights_path)
    classifier = "its classifier too: the classes are the same" if why_new is None else f"with a new classifier: {why_new}"
    return f"starts from the supernet of {run}, {classifier}"


def _why_new_classifier(source: RunDirectory, now: DataRecord) -> str | None:
    """Reason why the new classes differ from the run's, or may differ; None where they are the same, in the same order."""
    if len(now.classes) != source.space.classes:
        return f"{len(now.classes)} classes instead of {source.space.classes}"
    before = source.record()
    if now.found_at == (str(Path(source.recipe.data.source).resolve()) if before is None else before.found_at):
        return None
    if before is None:
        return f"{source.path} does not say which classes it had"
    for i, (name, known) in enumerate(zip(now.classes, before.classes, strict=True)):
        if name != known:
            return f"class {i} is {name!r} instead of {known!r}"
    if now.classes == tuple(map(str, range(len(now.classes)))):
        return "the classes have numbers instead of names, so they may be others"
    return None


def _imported_epochs(images: int) -> int:
    """Epochs over so many training images from imported weights."""
    steps = next((steps for limit, steps in IMPORTED_STEPS.items() if images < limit), MOST_IMPORTED_STEPS)
    return min(MOST_IMPORTED_EPOCHS, ceil(steps * IMPORTED_BATCH / images))


def _epochs(recipe: Recipe) -> int:
    return sum(phase.total_epochs for phase in recipe.phases)


def _steps(source: RunDirectory) -> int:
    """Optimiser steps that the run took, from files in its directory."""
    record, batch = source.record(), source.recipe.batch_size
    if record is not None:
        return _epochs(source.recipe) * (sum(record.images["train"].values()) // batch)
    rows = metrics_rows(source.metrics_path)  # a run of a version before 0.2
    if not rows:
        raise UserError(f"{source.path}: neither data.json nor metrics.jsonl says how many steps it took; give --epochs N")
    images: float = sum(row["images_per_s"] * row["seconds"] for row in rows)
    return round(images / batch)
