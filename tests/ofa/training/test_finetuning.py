"""Fine-tuning takes the steps of training: the same recipe, the same losses, the same randomness."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa import Supernet, extract
from ofa.data.augment.mixup import MixConfig
from ofa.data.balance import BalanceConfig
from ofa.data.config import DataConfig
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import Phase, Recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.finetuning import FINETUNING_PHASE, PlainSubnet, finetune
from ofa.training.step import GradientStep
from tests.space_toys import toy_space

OPTIONS: dict[str, dict[str, Any]] = {
    "precision": {"precision": "bf16"},
    "mix": {"mix": MixConfig(mixup=0.4)},
    "drop_connect": {"drop_connect": 0.5},
    "average_decay": {"average_decay": 0.9},
    "weights": {"balance": BalanceConfig(method="weights")},
    "sampling": {"balance": BalanceConfig(method="sampling")},
}
CHIPS: dict[str, dict[str, Any]] = {
    "noise": {"weight_noise": 0.1},
    "int8": {"fake_quantisation": "int8"},
    "int4": {"fake_quantisation": "int4_weights"},
}
"""Options whose numbers differ between a supernet and a plain subnet, because rounding magnifies the order of sums."""


@pytest.mark.parametrize("name", ["tiny", "deep"])
@pytest.mark.parametrize("changes", [{}, *OPTIONS.values(), {"activation_checkpointing": True, "drop_connect": 0.5}])
def test_a_step_of_a_plain_subnet_is_that_of_the_supernet(name: str, changes: dict[str, Any]) -> None:
    space = toy_space(name)
    space = replace(space, head=replace(space.head, dropout=0.3))
    phase = Phase(name="all", epochs=1, peak_lr=0.1)
    recipe = Recipe(space=name, data=DataConfig(source="none"), phases=(phase,), **changes)
    rng = torch.Generator().manual_seed(0)
    supernet = Supernet(space, rng).train()
    subnet = space.decode(space.sample(1, np.random.default_rng(3)))[0]
    plain = extract(supernet, subnet).train()
    images = torch.randn(10, space.in_channels, subnet.resolution, subnet.resolution, generator=rng)
    labels = torch.arange(10) % space.classes
    found: list[tuple[float, Tensor]] = []
    for net, classifier in ((supernet, supernet.head.classifier), (PlainSubnet(plain), plain.head.classifier)):
        step = GradientStep(
            net=net, recipe=recipe, phase=phase, index=FINETUNING_PHASE, subnets=lambda *_: [subnet], classes=space.classes
        )
        loss = float(step(7, images, labels))
        gradient = classifier.weight.grad
        assert gradient is not None
        found.append((loss, gradient.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def run(trained_run: Path) -> RunDirectory:
    return RunDirectory.open(trained_run)


def finetuned(run: RunDirectory, **changes: Any) -> dict[str, Tensor]:
    """Weights of the largest subnet after two epochs more."""
    evaluator = evaluator_of_run(run)
    subnet = run.space.largest()
    module = deepcopy(evaluator.module(subnet))
    losses: list[float] = []
    phase = Phase(name="finetune", epochs=2, peak_lr=0.05)
    finetune(module, subnet, evaluator, replace(run.recipe, **changes), phase, lambda _, loss: losses.append(loss))
    assert len(losses) == 2
    assert not module.training
    return {name: value for name, value in module.state_dict().items() if "num_batches" not in name}


@pytest.fixture(scope="module")
def plain(run: RunDirectory) -> dict[str, Tensor]:
    return finetuned(run)


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("option", [*OPTIONS, *CHIPS])
def test_every_option_of_the_recipe_counts(option: str, run: RunDirectory, plain: dict[str, Tensor]) -> None:
    assert different(finetuned(run, **(OPTIONS | CHIPS)[option]), plain)


def test_the_same_call_gives_the_same_weights(run: RunDirectory, plain: dict[str, Tensor]) -> None:
    torch.rand(3)  # another global random state
    before = torch.get_rng_state()
    assert different(finetuned(run), plain) == []
    assert different(finetuned(run, activation_checkpointing=True), plain) == []
    assert torch.equal(torch.get_rng_state(), before)
