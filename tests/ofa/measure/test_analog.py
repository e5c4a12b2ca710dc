"""A subnet on an analog array: batch norm is that of the noisy network, and nothing but noise and rounding changes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa.measure.accuracy import Draws
from ofa.measure.analog import OPERATIONS, correct_under_noise, noisy_net, round_inputs
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.fast_inference import FusedConv, speed_up
from ofa.nets.plain import Net
from ofa.numerics.stated import Analog
from ofa.numerics.weight_noise import generator_of_draw
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory


def array(noise: float, bits: int | None = None) -> Analog:
    return Analog(weight_noise=noise, activation_bits=bits, source="a test")


@pytest.fixture(scope="module")
def evaluator(trained_run: Path) -> SubnetEvaluator:
    return evaluator_of_run(RunDirectory.open(trained_run))


def statistics(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value for name, value in net.state_dict().items() if "running" in name])


def test_without_noise_and_rounding_it_is_the_fp32_accuracy(evaluator: SubnetEvaluator) -> None:
    subnet = evaluator.supernet.space.largest()
    expected = evaluator.correct(subnet)
    found = correct_under_noise(evaluator, subnet, array(0.0), draws=2, seed=0)
    assert (found == expected).all()
    fine = correct_under_noise(evaluator, subnet, array(0.0, bits=16), draws=1, seed=0)
    assert (fine == expected).mean() > 0.97


def test_draws_repeat_and_differ_with_the_noise(evaluator: SubnetEvaluator) -> None:
    subnet = evaluator.supernet.space.largest()
    first = correct_under_noise(evaluator, subnet, array(0.2), draws=3, seed=1)
    assert (first == correct_under_noise(evaluator, subnet, array(0.2), draws=3, seed=1)).all()
    assert (first[0] != first[1]).any()
    assert (first != correct_under_noise(evaluator, subnet, array(0.2), draws=3, seed=2)).any()


def test_batch_norm_is_recalibrated_under_the_noise(evaluator: SubnetEvaluator) -> None:
    subnet = evaluator.supernet.space.largest()
    exact, net = evaluator.module(subnet), noisy_net(evaluator, subnet, array(0.2), generator_of_draw(0, 0))
    assert not net.training
    for weight in ("stem.first.conv.weight", "head.classifier.weight"):
        assert not torch.equal(net.state_dict()[weight], exact.state_dict()[weight])
    again = deepcopy(net)
    evaluator.recalibrate(again, subnet.resolution)
    torch.testing.assert_close(statistics(net), statistics(again))
    assert not torch.allclose(statistics(net), statistics(exact), rtol=0.01)


def test_inputs_of_every_operation_are_rounded(evaluator: SubnetEvaluator) -> None:
    subnet = evaluator.supernet.space.largest()
    net = evaluator.module(subnet)
    assert isinstance(net, Net)
    speed_up(net)
    images = list(evaluator.recalibration_images(subnet.resolution))
    with torch.inference_mode():
        exact = net(images[0])
        round_inputs(net, 2, images)
        operations = [child for child in net.modules() if isinstance(child, OPERATIONS)]
        weighted = [child for child in net.modules() if getattr(child, "weight", None) is not None]
        inside = [child for child in net.modules() if isinstance(child, FusedConv)]
        assert len(operations) == len(weighted) or inside  # every weight is inside an operation
        levels: list[int] = []
        for child in operations:
            child.register_forward_pre_hook(lambda _, inputs: levels.append(inputs[0].unique().numel()))
        coarse = net(images[0])
    assert len(levels) == len(operations)
    assert max(levels) <= 4
    assert not torch.allclose(coarse, exact, rtol=0.1)


def test_mean_and_deviation_of_draws() -> None:
    draws = Draws((0.1, 0.2, 0.6))
    assert draws.mean == pytest.approx(0.3)
    assert draws.deviation == pytest.approx(np.std(draws.values, ddof=1))
