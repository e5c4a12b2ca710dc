"""What only a GPU can show: training, resuming and measuring there, and every switch. Run with `-m gpu` where one is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ofa import Supernet, extract, load_space
from ofa.data.augment.mixup import MixConfig
from ofa.data.config import DataConfig
from ofa.nets.plain import build_net
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import OptimiserConfig, Phase, Recipe, load_recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.training.optimiser import make_optimiser
from ofa.training.progress import LateReading
from ofa.training.step import GradientStep
from ofa.training.trainer import Trainer
from ofa.training.weight_average import WeightAverage
from tests.ofa.measure.test_fast_inference import check_statistics_of_large_maps
from tests.ofa.training.test_no_waiting import BATCHES, KINDS, data_of
from tests.ofa.training.test_switches import check_fused_optimiser, check_synchronised_norm
from tests.tiny import killed_after, write_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SANDWICH = Phase(name="all", epochs=1, peak_lr=0.1, include=("largest", "smallest"), subnets_per_step=3, teacher="largest")
BATCH = 32


def step_of(space_name: str = "mbv3-w1.0", side: int = 128, **changes: Any) -> tuple[Callable[[int], Tensor], Supernet]:
    """A sandwich's gradients of a batch on the GPU, by the step's number; and its net."""
    space = load_space(space_name)
    recipe = Recipe(space=space_name, data=DataConfig(source="none"), phases=(SANDWICH,), **changes)
    generator = torch.Generator().manual_seed(0)
    net = Supernet(space, generator).cuda().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.randn(BATCH, 3, side, side, generator=generator).cuda().contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, space.classes, (BATCH,), generator=generator).cuda()
    gradients = GradientStep.of_phase(net, recipe, 0, space)
    return lambda step: gradients(step, images, labels), net


def flat_gradient(net: Supernet) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None]).double()


@contextmanager
def no_waiting() -> Iterator[None]:
    """PyTorch raises where the host would wait for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switches", ["", "precision: bf16\nactivation_checkpointing: true\n"])
def test_training_on_a_gpu_learns_and_its_run_opens_on_a_cpu(switches: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, checkpoint_seconds=0)
    path.write_text(path.read_text() + switches)
    recipe, space = load_recipe(path)
    run = RunDirectory.create(tmp_path / "run", recipe, space)
    Trainer(run, "cuda", quiet=True).train()
    on_gpu = evaluator_of_run(run, "cuda").top1([space.largest(), space.smallest()])
    on_cpu = evaluator_of_run(run, "cpu").top1([space.largest(), space.smallest()])
    assert on_gpu[0] > 0.7  # chance is 0.33
    assert on_cpu == pytest.approx(on_gpu, abs=0.05)


def test_a_run_on_a_gpu_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, space = load_recipe(write_recipe(tmp_path, checkpoint_seconds=0))
    run = RunDirectory.create(tmp_path / "run", recipe, space)
    with killed_after(34, monkeypatch):
        Trainer(run, "cuda", quiet=True).train()
    Trainer(run, "cuda", quiet=True).train()
    assert evaluator_of_run(run, "cuda").top1([space.largest()])[0] > 0.7


def test_extraction_equals_the_supernet_on_a_gpu() -> None:
    space = load_space("mbv3-w1.0")
    net = Supernet(space, torch.Generator().manual_seed(0)).cuda().eval()
    images = torch.rand(2, 3, 128, 128, device="cuda")
    with torch.inference_mode():
        for subnet in (space.smallest(), space.largest()):
            torch.testing.assert_close(net(images, subnet), extract(net, subnet)(images), rtol=1e-4, atol=1e-5)


# -- switches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space_name", ["mbv3-w1.0", "resnet50"])
def test_a_step_in_bf16_is_close_to_one_in_float32(space_name: str) -> None:
    exact, exact_net = step_of(space_name)
    step, net = step_of(space_name, precision="bf16")
    wanted, found = float(exact(0)), float(step(0))
    assert found != wanted
    assert found == pytest.approx(wanted, rel=0.02)
    assert {parameter.grad.dtype for parameter in net.parameters() if parameter.grad is not None} == {torch.float32}
    alike = torch.cosine_similarity(flat_gradient(net), flat_gradient(exact_net), dim=0)
    assert float(alike) > 0.7  # fresh weights: 0.91 on a CPU


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recomputed_blocks_change_little_and_need_less_memory(precision: str) -> None:
    peaks, losses, gradients, statistics = [], [], [], []
    for recompute in (False, True):
        step, net = step_of(precision=precision, activation_checkpointing=recompute, drop_connect=0.2)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        losses.append(float(step(0)))
        peaks.append(torch.cuda.max_memory_allocated() - before)
        gradients.append(flat_gradient(net))
        statistics.append({name: value.clone() for name, value in net.named_buffers()})
        del step, net
    assert peaks[1] < 0.6 * peaks[0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.999  # a GPU's sums are in no fixed order
    for name, value in statistics[0].items():
        torch.testing.assert_close(statistics[1][name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_statistics_of_large_maps_are_exact(memory_format: torch.memory_format) -> None:
    check_statistics_of_large_maps(memory_format, "cuda")


def test_the_fused_optimiser_takes_the_steps_of_the_plain_one() -> None:
    check_fused_optimiser("cuda")
    assert make_optimiser(nn.Linear(2, 2).cuda(), OptimiserConfig()).defaults["fused"] is True


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_synchronised_norm_alone_is_the_plain_one(dtype: torch.dtype) -> None:
    check_synchronised_norm("cuda", dtype)


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16", "activation_checkpointing": True}])
@pytest.mark.parametrize("taught", [False, True])
def test_a_step_does_not_wait(taught: bool, changes: dict[str, Any], tmp_path: Path) -> None:
    recipe, space = load_recipe(write_recipe(tmp_path))
    phases = (*recipe.phases, replace(SANDWICH, divergence="alpha_divergence"))
    recipe = replace(recipe, phases=phases, drop_connect=0.3, mix=MixConfig(mixup=0.2, cutmix=1.0), **changes)
    index = 3 if taught else 4
    net = Supernet(space, torch.Generator().manual_seed(0)).cuda().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    teacher = build_net(space, space.largest(), torch.Generator()).cuda().train() if taught else None
    optimiser, average, shown = make_optimiser(net, recipe.optimiser), WeightAverage(net, 0.9), LateReading()
    gradients = GradientStep.of_phase(net, recipe, index, opened_spaces(recipe, space)[index], teacher)
    images, labels = torch.randn(8, 1, 12, 12, device="cuda"), torch.arange(8, device="cuda") % 3

    def train(step: int) -> float | None:
        loss = gradients(step, images, labels)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average.update(step)
        return shown.exchange(loss)

    train(0)
    with no_waiting():
        for step in range(1, 6):
            train(step)
    torch.cuda.synchronize()
    late = train(6)
    assert late is not None
    assert np.isfinite(late)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_arrive_without_waiting_and_are_a_cpus(kind: str, tmp_path: Path) -> None:
    data = data_of(kind, tmp_path)
    on_gpu = data.batches("train", device="cuda", **BATCHES)
    found = [next(on_gpu)]  # the first copies all images of a small set
    with no_waiting():
        found += [next(on_gpu) for _ in range(2)]
    for (images, labels), (expected, expected_labels) in zip(found, data.batches("train", **BATCHES), strict=False):
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(labels.cpu(), expected_labels)
        # Operations with thresholds may turn a pixel the other way.
        assert float((images.cpu() - expected).abs().gt(2e-2).float().mean()) < 0.02
