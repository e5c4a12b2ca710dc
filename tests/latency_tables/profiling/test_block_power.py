"""Energy beside a profile: what a counter read is the work's own, whatever else runs while blocks are timed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latency_tables.on_device import timing
from latency_tables.on_device.ort_runtime import OrtRuntime
from latency_tables.on_device.timing import Call, Item
from latency_tables.profiling.block_power import block_watts, modelled, power_of
from latency_tables.profiling.plan import Settings, SpacePlan
from latency_tables.profiling.torch_runtime import TorchRuntime
from ofa.energy.meter import EnergyReading
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import walk_blocks
from tests.space_toys import PROFILED

FEW = Settings(runs=5, fit_networks=2, test_networks=2)
REFERENCE_S, REFERENCE_W = 60e-6, 1.0
BLOCK_S = 50e-6


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "tiny.yaml"
    path.write_text(PROFILED)
    return load_space(path)


class Machine:
    """A machine whose clock and energy counter are moved by what runs on it, and by nothing else; as a `Meter`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = self.joules = 0.0
        self._begun = (0.0, 0.0)
        clock = SimpleNamespace(monotonic=lambda: self.seconds, perf_counter_ns=lambda: round(1e9 * self.seconds))
        monkeypatch.setattr(timing, "time", clock)
        monkeypatch.setattr(timing, "_reference", lambda: self.work(REFERENCE_S, REFERENCE_W) * 1e3)

    def work(self, seconds: float, watts: float) -> float:
        self.seconds += seconds
        self.joules += watts * seconds
        return seconds

    def start(self) -> None:
        self._begun = self.joules, self.seconds

    def stop(self) -> EnergyReading:
        joules, seconds = self._begun
        return EnergyReading(self.joules - joules, self.seconds - seconds, "a machine's counter")


def watts_of(name: str) -> float:
    """Power of a model, different for each."""
    return 3.0 + sum(map(ord, name)) % 7


def runtime_of(name: str, plan: SpacePlan, machine: Machine) -> OrtRuntime | TorchRuntime:
    """A real runtime but for what it opens: calls that take 50 us on the machine."""

    def opened(item: Item) -> Call:
        def call(x: Any) -> Any:
            machine.work(BLOCK_S, watts_of(item.model))
            return x

        return call

    runtime: OrtRuntime | TorchRuntime
    if name == "torch":
        runtime = TorchRuntime(plan.models, "cpu", 1, channels_last=False, seed=0)
    else:
        runtime = OrtRuntime(lambda _: b"", 1, 0)
    runtime.open = opened  # type: ignore[method-assign]
    return runtime


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_the_power_of_a_block_is_that_of_its_work_alone(
    name: str, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timing a block runs a reference computation too, which takes longer than the block: it is none of its power."""
    plan, machine = SpacePlan.of(space, FEW), Machine(monkeypatch)
    runtime = runtime_of(name, plan, machine)
    watts = block_watts(plan, runtime, machine, 0.02, False)
    assert machine.seconds >= 0.02 * len(plan.blocks)
    assert watts == pytest.approx({item: watts_of(plan.plan.items[item].model) for item in plan.blocks})
    assert len(set(watts.values())) > 3


def test_a_block_is_repeated_for_as_long_as_asked(space: SearchSpace) -> None:
    plan = SpacePlan.of(space, FEW)
    runtime = TorchRuntime(plan.models, "cpu", 1, channels_last=False, seed=0)
    item = plan.plan.items[next(iter(plan.blocks))]
    call, calls = runtime.open(item), []

    def counted(x: Any) -> Any:
        calls.append(None)
        return call(x)

    begun_s = time.monotonic()
    runtime.repeat(counted, runtime.feed(item, 1), 0.05)
    assert time.monotonic() - begun_s >= 0.05
    assert len(calls) >= timing.REPEATS


def test_energy_is_given_or_modelled_and_says_which(space: SearchSpace) -> None:
    given = power_of(9.0, "no counter")
    assert given.power_w == 9.0
    assert "given by the user (--power-w); no counter" in given.source
    model = modelled("no counter")
    assert model.power_w is None
    assert "modelled, a lower bound" in model.source
    block = next(walk_blocks(space, space.largest()))
    (op,) = block.main
    activations = 4 * (1 * 12**2 + 8 * 6**2)
    expected = 4.6 * op.macs + 244 * 4 * (9 * 8 + 8) + 12.5 * activations
    assert model.ops_mj(block, "fp32", 1) == pytest.approx(expected * 1e-9)
