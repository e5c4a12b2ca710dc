"""A step asks the device for nothing: reading a number, or copying without `non_blocking`, waits for a GPU's whole queue.

Where there is no GPU the device `meta` stands in for it: it holds no values, so whatever needs one fails, and copies to it
are seen (all but those of `torch.tensor` from a list). tests/ofa/training/test_gpu.py asks PyTorch itself on a GPU.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import ofa.training.step
from ofa import Supernet
from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.augment.mixup import MixConfig
from ofa.data.augment.rand_augment import RandAugmentConfig
from ofa.data.batches import Data, load_data
from ofa.data.config import DataConfig
from ofa.nets.plain import build_net
from ofa.runs.recipe import load_recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.training.optimiser import make_optimiser
from ofa.training.step import GradientStep
from ofa.training.trainer import Trainer
from ofa.training.weight_average import WeightAverage
from tests.ofa.distributed.test_distributed import write_folder
from tests.ofa.training.test_step import OPTIONS, sandwich
from tests.tiny import write_recipe

aten = torch.ops.aten
VARIED = AugmentConfig(
    horizontal_flip=True,
    vertical_flip=True,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    rand_augment=RandAugmentConfig(operations=2),
    erase_probability=0.5,
)
BATCHES: dict[str, Any] = {"batch_size": 8, "resolution": 10, "shuffle": True, "augment": True, "drop_last": True}
KINDS = ("shifted", "cropped", "files")


class Waits(TorchDispatchMode):
    """Counts the operations that would make the host wait for a device other than the CPU."""

    def __init__(self, on_cpu: bool = False) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.reads = (aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default)
        self.on_cpu = on_cpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.reads and (self.on_cpu or args[0].device.type != "cpu"):
            self.found[str(func)] += 1
        moved = None
        if func is aten._to_copy.default:
            moved = args[0].device, kwargs.get("device") or args[0].device, kwargs.get("non_blocking", False)
        if func is aten.copy_.default:
            moved = args[1].device, args[0].device, kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
        if moved is not None and torch.device(moved[0]).type != torch.device(moved[1]).type and not moved[2]:
            self.found[f"blocking copy {tuple(args[0].shape)}"] += 1
        return func(*args, **kwargs)


def test_waits_are_seen() -> None:
    with Waits() as waits:
        on_device = torch.ones(3).to("meta", non_blocking=True)
        assert not waits.found
        torch.ones(3).to("meta")
        on_device.copy_(torch.ones(3))
        assert waits.found == {"blocking copy (3,)": 2}
    with Waits(on_cpu=True) as waits:
        float(torch.ones(3).sum())
        assert waits.found == {"aten._local_scalar_dense.default": 1}


def data_of(kind: str, folder: Path) -> Data:
    """Small images, varied in every way: `shifted` or `cropped` out of memory, or `files`."""
    varied = replace(VARIED, crop_padding=2) if kind == "shifted" else replace(VARIED, random_resized_crop=(0.3, 1.0))
    source = folder / "photos"
    if kind == "files":
        write_folder(source)
    else:
        write_recipe(folder)
        source = folder / "data.npz"
    return load_data(DataConfig(source=str(source), augment=varied, workers=0, memory_limit_mb=0), channels=3)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_arrive_without_waiting(kind: str, tmp_path: Path) -> None:
    batches = data_of(kind, tmp_path).batches("train", device="meta", **BATCHES)
    next(batches)  # the first copies all images of a small set
    with Waits() as waits:
        images, labels = next(batches)
    assert (images.device.type, labels.device.type) == ("meta", "meta")
    assert images.shape == (8, 3, 10, 10)
    assert waits.found == {}


@pytest.mark.parametrize(("taught", "changes"), [(True, {}), (False, {"activation_checkpointing": True})])
def test_a_step_does_not_wait(
    taught: bool, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ofa.training.step, "generator_of_step", lambda *position: torch.Generator())  # meta has none
    recipe, space = load_recipe(write_recipe(tmp_path) if taught else sandwich(tmp_path))
    recipe = replace(recipe, drop_connect=0.3, mix=MixConfig(mixup=0.2, cutmix=1.0), **changes)
    space = replace(space, kernel_transforms=False)  # autocast, which they leave, is unknown to meta
    index = len(recipe.phases) - 1
    net = Supernet(space).to("meta").train()
    teacher = build_net(space, space.largest()).to("meta").train() if taught else None
    optimiser = make_optimiser(net, recipe.optimiser)
    average = WeightAverage(net, 0.9)
    gradients = GradientStep.of_phase(net, recipe, index, opened_spaces(recipe, space)[index], teacher)
    images, labels = torch.empty(8, 1, 12, 12, device="meta"), torch.empty(8, dtype=torch.int64, device="meta")
    with Waits() as waits:
        for step in range(2):
            loss = gradients(step, images, labels)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            average.update(step)
    assert loss.shape == ()
    assert waits.found == {}


def test_more_steps_read_no_more_numbers(tmp_path: Path) -> None:
    def reads(batch_size: int) -> Counter[str]:
        path = sandwich(tmp_path, OPTIONS)
        path.write_text(path.read_text().replace("batch_size: 20\n", f"batch_size: {batch_size}\n"))
        run = RunDirectory.create(tmp_path / str(batch_size), *load_recipe(path))
        trainer = Trainer(run, quiet=True)
        with Waits(on_cpu=True) as waits:
            trainer.train()
        assert trainer.steps_per_epoch == 200 // batch_size
        return Counter({name: count for name, count in waits.found.items() if "local_scalar" in name})

    few, many = reads(40), reads(20)
    assert few  # an epoch's accuracy, say
    assert many == few
