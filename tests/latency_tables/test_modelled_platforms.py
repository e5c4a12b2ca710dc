"""The modelled platforms: analog conversions by hand, and the microcontrollers on the networks they are fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import mlperf_tiny
from latency_tables import load_platform
from latency_tables.blocks.fused_ops import fuse
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpEnergy, OpTime, conversions
from ofa.space.ops import conv
from ofa.space.search_space import load_space
from ofa.space.shapes import BlockShape, OpShape

DENSE = BlockShape("stem", (conv(128, 32, 3, 14, 1, "relu"),))  # 1,152 summed inputs, 32 x 14 x 14 outputs
DEPTHWISE = BlockShape("stem", (conv(64, 64, 5, 14, 2, "relu", groups=64),))  # 25 summed inputs, 64 x 7 x 7 outputs
POOL = BlockShape("stem", (OpShape("global_pool", 64, 64, 14, 1),))


def test_conversions_by_hand() -> None:
    assert conversions(fuse(DENSE)[0], 1024) == 2 * 32 * 14 * 14
    assert conversions(fuse(DENSE)[0], 1152) == 32 * 14 * 14
    assert conversions(fuse(DEPTHWISE)[0], 16) == 2 * 64 * 7 * 7
    assert conversions(fuse(POOL)[0], 1024) == 0
    assert conversions(fuse(DENSE)[0], None) == 0


def test_an_analog_array_pays_for_conversions() -> None:
    energy = EnergyModel(source="x", ops={"default": OpEnergy(pj_per_mac=0.001)}, array_rows=1024, pj_per_conversion=10)
    macs, outputs = 1152 * 32 * 196, 32 * 196
    assert energy.ops_mj(DENSE, "int8", batch=4) == pytest.approx((0.001 * macs + 10 * 2 * outputs) * 1e-9)
    times = {"default": OpTime(ms_per_mmac=0.001, ms_per_activation_mb=1.0)}
    parts = 0.001 * macs * 1e-6, 3 * 2 * outputs * 1e-6, (128 * 196 + outputs) * 1e-6
    for combine, total in (("sum", sum(parts)), ("max", max(parts))):
        model = LatencyModel(ops=times, combine=combine, array_rows=1024, ms_per_mconversion=3)
        assert model.block_ms(DENSE, "int8", batch=2) == pytest.approx(2 * total)


def test_the_analog_accelerator_falls_far_below_its_macro() -> None:
    space = load_space("mbv3-w1.2")
    costs = load_platform("analog-imc").costs(space)
    largest = space.levels - 1
    tops_per_w = 2 * costs.macs_m(largest) / costs.energy_mj(largest) * 1e-3  # 1e6 operations / 1 mJ = 1e9 per J
    assert 0.5 < tops_per_w[0] < 2  # of 2,900
    # A depthwise MAC costs more than twice a dense one, and takes ten times as long or more, as the array is nearly empty.
    platform = load_platform("analog-imc")
    dense, depthwise = (fuse(block)[0] for block in (DENSE, DEPTHWISE))
    assert platform.block_mj(DEPTHWISE) / depthwise.macs > 2 * platform.block_mj(DENSE) / dense.macs
    ms = [platform.block_ms(block) - 0.005 for block in (DEPTHWISE, DENSE)]  # without starting the operation
    assert ms[0] / depthwise.macs > 10 * ms[1] / dense.macs


def test_the_networks_of_mlperf_tiny_have_the_published_macs() -> None:
    for name, ops in mlperf_tiny.networks().items():
        assert sum(op.macs for op in ops) == mlperf_tiny.MACS[name], name
    # Weights and biases of the published ResNet-8, batch norm folded.
    assert sum(op.weights for op in mlperf_tiny.networks()["ic"]) == 77_706


@pytest.mark.parametrize("device", mlperf_tiny.DEVICES, ids=lambda device: device.name)
def test_a_microcontroller_says_how_unsure_it_is(device: mlperf_tiny.Device) -> None:
    platform = load_platform(device.name)
    assert platform.kind == "modelled"
    assert platform.precision == "int8"
    assert platform.error.networks == 4
    assert "SRAM" in platform.details["memory"] or "RAM" in platform.details["memory"]
    space = load_space("fmnist")
    genes = space.sample(20, np.random.default_rng(0))
    for metric in ("latency_ms", "energy_mj"):
        middle, upper = platform.costs(space).p50_p90(metric, genes) or (None, None)
        assert middle is not None
        assert upper is not None
        assert (upper > 1.15 * middle).all()


@pytest.mark.reference
@pytest.mark.parametrize("device", mlperf_tiny.DEVICES, ids=lambda device: device.name)
def test_microcontrollers_meet_the_networks_they_are_fitted_to(reference: Path, device: mlperf_tiny.Device) -> None:
    platform = load_platform(device.name)
    assert platform.latency is not None
    assert platform.energy is not None
    assert platform.energy.power_w is not None
    latency_ms, energy_mj = mlperf_tiny.measured(reference, device)
    ops = platform.latency.ops
    predicted = []
    for network in mlperf_tiny.networks().values():
        times = [(op, ops.get(op.kind, ops["default"])) for op in network]
        predicted.append(sum(time.overhead_ms + time.ms_per_mmac * op.macs * 1e-6 for op, time in times))
    worst = 0.1 if device.name == "gap9" else 0.25
    assert np.abs(np.array(predicted) / latency_ms - 1).max() < worst
    assert np.abs(platform.energy.power_w * np.array(predicted) / energy_mj - 1).max() < 0.3
