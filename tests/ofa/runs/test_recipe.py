"""Recipes and schedules: what a phase opens, when, at which rate; mistakes name their line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ofa import UserError, load_space
from ofa.files import shipped
from ofa.nets.losses import subnet_loss
from ofa.runs.recipe import Phase, load_recipe, opened_spaces
from ofa.training.schedule import learning_rate, resolution_of_step, subnets_of_step
from tests.tiny import write_recipe


def changed(tmp_path: Path, old: str, new: str) -> Path:
    path = write_recipe(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("name", shipped.names(""))
def test_every_recipe_that_ships_opens_the_whole_space(name: str) -> None:
    recipe, space = load_recipe(name)
    opened = opened_spaces(recipe, space)
    if not recipe.phases[0].opens.given():
        assert opened[0].count() == len(space.resolutions)  # the first phase trains the largest net
    counts = [part.count() for part in opened]
    assert counts == sorted(counts)
    assert opened[-1] == space


def test_the_published_recipe_is_complete() -> None:
    recipe, _ = load_recipe("imagenet-mbv3")
    rows = [(p.name, p.epochs, p.warmup_epochs, p.peak_lr, p.subnets_per_step) for p in recipe.phases]
    assert rows == [
        ("largest", 180, 0, 0.0975, 1),
        ("kernel", 120, 5, 0.03, 1),
        ("depth-1", 25, 0, 0.0025, 2),
        ("depth-2", 120, 5, 0.0075, 2),
        ("expand-1", 25, 0, 0.0025, 4),
        ("expand-2", 120, 5, 0.0075, 4),
    ]
    assert recipe.optimiser.weight_decay == 3e-5  # PyYAML alone reads this as text
    assert recipe.lr_images == 64


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2,", "epoch: 2,", r"tiny\.yaml:\d+: phases\[0\]: unknown key 'epoch'; known keys are distill, divergence"),
        ("{kernels: [3, 5]}", "{kernels: [3, 7]}", r"tiny\.yaml:\d+: phases\[1\] \(kernel\): tiny: kernels has 7, which no"),
        (
            "opens: {expands: [2, 4]}}",
            "opens: {kernels: [5]}}",
            r"tiny\.yaml:\d+: phases\[3\] \(width\): closes a choice that an earlier phase opened",
        ),
        ("include: [smallest]", "include: [tiniest]", "include has 'tiniest'; allowed are largest, smallest"),
        ("subnets_per_step: 2, include", "subnets_per_step: 0, include", "subnets_per_step is 0; must be at least 1"),
        ("name: kernel", "name: largest", "names must be distinct"),
        ("batch_size: 20", "batch_size: twenty", r"tiny\.yaml:\d+: batch_size: expected a whole number, got 'twenty'"),
        ("clip_norm: 1.0", "subnet_gradients: max", "subnet_gradients is 'max'; allowed are mean, sum"),
        ("opens: {kernels: [3, 5]}}", "opens: {kernels: [3, 5], everything: true}}", "opens has everything and other keys"),
        ("name: kernel,", "name: kernel, teacher: smallest,", "teacher is 'smallest'; allowed are first, largest"),
        ("name: kernel,", "name: kernel, divergence: mse,", "divergence is 'mse'; allowed are cross_entropy, alpha_d"),
        ("include: [smallest]", "teacher: largest, include: [smallest]", r"include is \['smallest'\]; it must begin with"),
        ("name: kernel,", "name: kernel, distill: 0, label_weight: 0,", "subnets would learn from nothing"),
        ("batch_size: 20\n", "batch_size: 20\naverage_decay: 1\n", "average_decay is 1.0; must be at least 0 and below 1"),
        ("batch_size: 20\n", "batch_size: 20\ndrop_connect: -0.1\n", "drop_connect is -0.1; must be at least 0 and below 1"),
        ("batch_size: 20\n", "batch_size: 20\nmix: {mixup: -1}\n", "mixup is -1.0; must be at least 0 and finite"),
        ("batch_size: 20\n", "batch_size: 20\nseed: -1\n", "seed is -1; must be at least 0"),
        ("final_subnets: 3", "final_subnets: -1", "final_subnets is -1; must be at least 0"),
        ("clip_norm: 1.0", "clip_norm: -1", "clip_norm is -1.0; must be above 0"),
        ("clip_norm: 1.0", "momentum: 1", "momentum is 1.0; must be at least 0 and below 1"),
        ("clip_norm: 1.0", "weight_decay: -1e-4", "weight_decay is -0.0001; must be at least 0 and finite"),
        ("peak_lr: 0.1", "peak_lr: nan", "peak_lr is nan; must be at least 0 and finite"),
        ("space: tiny-space.yaml", "space: nowhere", "unknown space 'nowhere'; known are"),
    ],
)
def test_mistakes_name_place_value_and_what_is_allowed(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe(changed(tmp_path, old, new))


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    phase = Phase(name="p", epochs=4, peak_lr=0.1, warmup_epochs=1, warmup_lr=0.02)
    rates = [learning_rate(phase, step, 10, scale=2.0) for step in range(51)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[5] == pytest.approx(0.11)  # half way from 0.02 to 2 * 0.1
    assert rates[10] == pytest.approx(0.2)
    assert rates[30] == pytest.approx(0.1)  # half of the cosine
    assert rates[50] == pytest.approx(0.0)
    assert all(before > after for before, after in pairwise(rates[10:]))


def test_steps_are_functions_of_their_number_alone() -> None:
    space = load_space("mbv3-w1.0").restrict(expands=[4, 6])
    phase = Phase(name="p", epochs=1, peak_lr=0.1, subnets_per_step=4, include=("largest", "smallest"))
    subnets = subnets_of_step(space, phase, 0, 2, 7, 160)
    assert subnets == subnets_of_step(space, phase, 0, 2, 7, 160)
    assert subnets[2:] != subnets_of_step(space, phase, 0, 2, 8, 160)[2:]
    assert subnets[2:] != subnets_of_step(space, phase, 1, 2, 7, 160)[2:]
    assert {subnet.resolution for subnet in subnets} == {160}
    assert [len(stage.blocks) for stage in subnets[0].stages] == [1, 4, 4, 4, 4, 4]
    assert [len(stage.blocks) for stage in subnets[1].stages] == [1, 2, 2, 2, 2, 2]
    assert {block.expand for subnet in subnets for stage in subnet.stages[1:] for block in stage.blocks} <= {4, 6}


def test_resolutions_are_uniform() -> None:
    space = load_space("mbv3-w1.0")
    drawn = [resolution_of_step(space, 0, 0, step) for step in range(2500)]
    counts = np.array([drawn.count(resolution) for resolution in space.resolutions])
    assert counts.sum() == 2500
    assert ((counts - 100) ** 2 / 100).sum() < 43  # chi-square with 24 degrees of freedom, p = 0.01


def test_loss_adds_the_teacher() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher_logits = torch.randn(2, 8, 5, generator=generator)
    labels = torch.arange(8) % 5
    teacher = F.softmax(teacher_logits, dim=1)
    plain = subnet_loss(logits, labels, label_smoothing=0.0)
    assert plain == pytest.approx(F.nll_loss(F.log_softmax(logits, 1), labels).item())
    both = subnet_loss(logits, labels, label_smoothing=0.0, teacher=teacher, distill=0.5)
    soft = -(teacher * F.log_softmax(logits, 1)).sum(1).mean()
    assert both.item() == pytest.approx((plain + 0.5 * soft).item(), rel=1e-6)


def test_a_recipe_says_which_resolutions(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "resolutions: [16, 24]\n")
    _, space = load_recipe(path)
    assert space.resolutions == (16, 24)
    path.write_text(path.read_text().replace("[16, 24]", "[2]"))
    with pytest.raises(UserError, match=r"tiny\.yaml: resolution 2 is too small for a total stride of 4"):
        load_recipe(path)


def test_a_recipe_says_how_many_classes(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "classes: 7\n")
    _, space = load_recipe(path)
    assert space.classes == 7
    path.write_text(path.read_text().replace("classes: 7", "classes: 1"))
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+: classes is 1; must be at least 2"):
        load_recipe(path)
