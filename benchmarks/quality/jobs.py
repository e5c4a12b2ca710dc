"""The jobs of `shrinking_quality.py`: each trains one thing and measures it. Called with everything that must be equal."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality.plain_training import channels_last, train_net
from torch import nn

from ofa import Subnet, Supernet, extract, official, recalibrate_batch_norm
from ofa.data.batches import Data, load_data
from ofa.files import schema
from ofa.nets.plain import build_net, fold_batch_norm
from ofa.runs.recipe import Phase, Recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import macs, walk
from ofa.training.trainer import Trainer

FIXED_SUBNETS, ALONE_SUBNETS = 20, 8
MEASURED_IMAGES, RECALIBRATION_IMAGES = 4000, 1000  # MEASURED_IMAGES of the small data sets, all of those of all images
PUBLISHED = {
    "published": "progressive",
    "published-zero-gamma": "progressive",
    "published-decay": "progressive-decay",
}  # jobs of the published package, and the recipe whose phases and optimiser each takes
WORKER = Path(__file__).parents[1] / "published_shrinking.py"


@dataclass(frozen=True)
class Setting:
    """One data set and seed, and what `recipes.yaml` says."""

    raw: dict[str, Any]
    data_name: str
    seed: int
    work: Path
    times: int = 1  # every recipe's epochs times this; warm-up stays
    alone_recipe: str = "default"  # by which nets are trained alone

    @cached_property
    def space(self) -> SearchSpace:
        """The space of all recipes."""
        return schema.build(SearchSpace, self.raw["space"], "recipes.yaml: space")

    def recipe(self, name: str, rate: float = 1.0) -> Recipe:
        """A recipe by name, on this data and seed, with its learning rates times `rate`."""
        facts = {"space": "quality", "data": self.raw["data"][self.data_name], "seed": self.seed}
        facts |= self.raw["common"] | self.raw["recipes"][name]
        recipe = schema.build(Recipe, facts, f"recipes.yaml: {name}")
        phases = []
        for phase in recipe.phases:
            epochs = self.times * phase.total_epochs - phase.warmup_epochs
            phases.append(replace(phase, peak_lr=rate * phase.peak_lr, epochs=epochs))
        return replace(recipe, phases=tuple(phases))

    @cached_property
    def data(self) -> Data:
        """Prepared images."""
        return load_data(self.recipe("progressive").data, channels=self.space.in_channels)

    def folder(self, job: str) -> Path:
        """Where a job keeps what it needs to go on."""
        length = "" if self.times == 1 else f"-x{self.times}"
        return self.work / "runs" / f"{job}-{self.data_name}-{self.seed}{length}"

    @property
    def measured_images(self) -> int | None:
        """How many test and validation images measure a subnet; none: all."""
        return None if self.data_name.endswith("-all") else MEASURED_IMAGES

    @cached_property
    def subnets(self) -> dict[str, list[Subnet]]:
        """What every supernet is measured by: the same subnets for all seeds and recipes."""
        space, rng = self.space, np.random.default_rng(0)
        fixed = space.decode(space.sample(FIXED_SUBNETS, rng))
        fixed.sort(key=lambda subnet: macs(walk(space, subnet)))
        return {"largest": [space.largest()], "smallest": [space.smallest()], "fixed": fixed, "tied": tied(space, rng)}

    def alone(self) -> list[int]:
        """Those of the fixed subnets that are also trained alone: places in the list, evenly spread over operations."""
        return [round(i * (FIXED_SUBNETS - 1) / (ALONE_SUBNETS - 1)) for i in range(ALONE_SUBNETS)]

    def batches(self, recipe: Recipe, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The training batches of an epoch; the trainer's are the same."""
        return self.data.batches(
            "train",
            batch_size=recipe.batch_size,
            resolution=self.space.resolutions[0],
            shuffle=True,
            augment=True,
            epoch=epoch,
            seed=self.seed,
            drop_last=True,
        )

    @torch.inference_mode()
    def top1(self, module: nn.Module, splits: Sequence[str]) -> list[float]:
        """Of a plain module on images of each split, after recalibration on training images; in [0, 1]."""
        recalibrate_batch_norm(module, (images for images, _ in self._measured("train")))
        module.eval()
        fold_batch_norm(module)
        right = [[module(images).argmax(1) == labels for images, labels in self._measured(split)] for split in splits]
        return [torch.cat(batches).double().mean().item() for batches in right]

    def _measured(self, split: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        limit = RECALIBRATION_IMAGES if split == "train" else self.measured_images
        return _measured_batches(self.data, split, self.space.resolutions[0], limit)

    def measure(self, supernet: Supernet) -> dict[str, Any]:
        """Top-1 on test images of the subnets that everything is measured by; of the fixed ones on validation images too."""
        net, test, validation = supernet.eval(), {}, []
        for name, subnets in self.subnets.items():
            splits = ("test", "validation") if name == "fixed" else ("test",)
            values = [self.top1(channels_last(extract(net, subnet)), splits) for subnet in subnets]
            test[name] = [value[0] for value in values]
            validation += [value[1] for value in values if name == "fixed"]
        return {"top1": test, "validation": validation}


_PREPARED: dict[tuple[str, str, int | None], list[tuple[torch.Tensor, torch.Tensor]]] = {}


def _measured_batches(data: Data, split: str, resolution: int, limit: int | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    key = (data.config.source, split, limit)
    if key not in _PREPARED:
        _PREPARED[key] = list(
            data.batches(split, batch_size=250, resolution=resolution, shuffle=False, augment=False, limit=limit)
        )
    return _PREPARED[key]


def tied(space: SearchSpace, rng: np.random.Generator, count: int = 4) -> list[Subnet]:
    """Random subnets whose stages are as wide as they are deep (CompOFA): the i-th depth with the i-th expand ratio."""
    subnets = []
    for subnet in space.decode(space.sample(count, rng)):
        stages = []
        for stage, choice in zip(space.stages, subnet.stages, strict=True):
            expand = stage.expands[stage.depths.index(len(choice.blocks))] if len(stage.depths) > 1 else stage.expands[-1]
            stages.append(replace(choice, blocks=tuple(replace(block, expand=expand) for block in choice.blocks)))
        subnets.append(replace(subnet, stages=tuple(stages)))
    return subnets


# -- jobs ----------------------------------------------------------------------------------------------------------------


def train_ours(setting: Setting, name: str, rate: float) -> dict[str, Any]:
    """One of our recipes, its learning rates times `rate`; goes on where it was stopped."""
    space = replace(setting.space, compound=name == "compound")
    run = RunDirectory.create(setting.folder(f"{name}@{rate:g}"), setting.recipe(name, rate), space)
    if not run.weights_path.exists():
        Trainer(run, quiet=True).train()
    rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    supernet = Supernet(setting.space)
    supernet.load_state_dict(run.supernet().state_dict())  # outside of the compound space, where there is one
    return setting.measure(supernet) | {"train_seconds": sum(row["seconds"] for row in rows)}


def train_published(setting: Setting, name: str, rate: float, python: str) -> dict[str, Any]:
    """The published package's modules and functions on the phases of a recipe, with its learning rates times `rate`.

    `published-zero-gamma` is given a start that it does not have: residual blocks that pass their input through. Phases
    that are done are not repeated.
    """
    recipe, space = setting.recipe(PUBLISHED[name], rate), setting.space
    folder = setting.folder(f"{name}@{rate:g}")
    folder.mkdir(parents=True, exist_ok=True)
    opened = opened_spaces(recipe, space)
    seconds, first_epoch, before = 0.0, 0, None
    for phase, part in zip(recipe.phases, opened, strict=True):
        out, timing = folder / f"{phase.name}.pt", folder / f"{phase.name}.json"
        if not timing.exists():
            settings = _worker_settings(setting, recipe, phase, part)
            settings |= {"before": before, "teacher": str(folder / f"{recipe.phases[0].name}.pt"), "out": str(out)}
            settings |= {"largest": _choices(opened[0]), "zero_gamma": name == "published-zero-gamma"}
            epochs = range(first_epoch, first_epoch + phase.total_epochs)
            timing.write_text(json.dumps(_run_worker(python, settings, setting, recipe, epochs)))
        seconds += json.loads(timing.read_text())
        first_epoch, before = first_epoch + phase.total_epochs, str(out)
    supernet = Supernet(space)
    theirs = torch.load(str(before), weights_only=True)["state_dict"]
    supernet.load_state_dict(official.convert_state_dict(theirs, space))
    return setting.measure(supernet) | {"train_seconds": seconds}


def train_alone(setting: Setting, index: int, rate: float, share: bool) -> dict[str, Any]:
    """One of the fixed subnets alone, with the optimiser and options of `alone_recipe`, on the labels.

    Args:
        setting: data and seed.
        index: of the subnets trained alone.
        rate: times the recipe's learning rate.
        share: on its share of the images that a supernet sees, so that all nets alone see as many together as it does;
            otherwise on as many as it sees.
    """
    recipe = setting.recipe(setting.alone_recipe, rate)
    phase, place = recipe.phases[0], setting.alone()[index]
    if share:
        phase = replace(phase, epochs=phase.total_epochs // ALONE_SUBNETS, warmup_epochs=0)
    generator = torch.Generator().manual_seed(setting.seed)
    module = channels_last(build_net(setting.space, setting.subnets["fixed"][place], generator))
    steps = setting.data.steps("train", recipe.batch_size, drop_last=True)
    checkpoint = setting.folder(f"alone-{index}{'-share' * share}@{rate:g}") / "net.pt"
    recipe = replace(recipe, phases=(phase,))
    seconds = train_net(module, recipe, lambda epoch: setting.batches(recipe, epoch), steps, checkpoint)
    test, validation = setting.top1(module, ("test", "validation"))
    return {"place": place, "share": share, "top1": test, "validation": validation, "train_seconds": seconds}


def _worker_settings(setting: Setting, recipe: Recipe, phase: Phase, part: SearchSpace) -> dict[str, Any]:
    space = setting.space
    return {
        "phase": phase.name,
        "opened": _choices(part),
        "epochs": phase.epochs,
        "learning_rate": phase.peak_lr,
        "subnets_per_step": phase.subnets_per_step,
        "weight_decay": recipe.optimiser.weight_decay,
        "dropout": space.head.dropout,
        "width_mult": setting.raw["width_mult"],
        "seed": setting.seed,
        "images": [recipe.batch_size, space.in_channels, space.resolutions[0], space.resolutions[0]],
        "steps_per_epoch": setting.data.steps("train", recipe.batch_size, drop_last=True),
    }


def _choices(part: SearchSpace) -> dict[str, list[Any]]:
    last = part.stages[-1]
    expands = [int(expand) if expand == int(expand) else expand for expand in last.expands]
    return {"kernels": list(last.kernels), "expands": expands, "depths": list(last.depths)}


def _run_worker(python: str, settings: dict[str, Any], setting: Setting, recipe: Recipe, epochs: range) -> float:
    """Feed the worker; the seconds it took, its start and the making of batches included."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # its `ofa`, not ours
    start = time.perf_counter()
    words = Path(settings["out"]).with_suffix(".log")  # no pipe: its progress bars would fill it
    with (
        words.open("w") as log,
        subprocess.Popen([python, str(WORKER)], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment) as process,
    ):
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            for epoch in epochs:
                for images, labels in setting.batches(recipe, epoch):
                    process.stdin.write(images.contiguous(memory_format=torch.contiguous_format).numpy().tobytes())
                    process.stdin.write(labels.numpy().tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it died; the log says why
        if process.wait():
            raise RuntimeError(f"the published package's worker failed in phase {settings['phase']}; see {words}")
    return time.perf_counter() - start
