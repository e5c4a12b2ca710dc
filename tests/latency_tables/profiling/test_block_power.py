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
from latency_tables.profiling.block_power import item_watts, modelled, power_of
from latency_tables.profiling.plan import Settings, SpacePlan
from latency_tables.profiling.profile import ProfileTarget, profile
from latency_tables.profiling.torch_runtime import TorchRuntime
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import EnergyReading
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import walk_blocks
from tests.platform_toys import of_0_1_0
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

    source = "a machine's counter"

    def start(self) -> None:
        self._begun = self.joules, self.seconds

    def stop(self) -> EnergyReading:
        joules, seconds = self._begun
        return EnergyReading(self.joules - joules, self.seconds - seconds, self.source)


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
def test_the_power_of_a_block_or_network_is_that_of_its_work_alone(
    name: str, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timing a block runs a reference computation too, which takes longer than the block: it is none of its power."""
    plan, machine = SpacePlan.of(space, FEW), Machine(monkeypatch)
    runtime = runtime_of(name, plan, machine)
    watts, source = item_watts(plan, runtime, machine, 0.02, False)
    assert source == "a machine's counter: each block and network repeated for 0.02 s, idle power included"
    items = [*plan.blocks, *plan.networks]
    assert machine.seconds >= 0.02 * len(items)
    assert watts == pytest.approx({item: watts_of(plan.timing.items[item].model) for item in items})
    assert len(set(watts.values())) > 3


def test_a_counter_that_does_not_move_while_a_block_runs_is_no_power_of_0(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, machine = SpacePlan.of(space, FEW), Machine(monkeypatch)
    runtime = runtime_of("torch", plan, machine)
    monkeypatch.setattr(Machine, "stop", lambda self: EnergyReading(0.0, 0.02, self.source))
    watts, why = item_watts(plan, runtime, machine, 0.02, False)
    assert (watts, why) == ({}, "a machine's counter did not move in 0.02 s (--energy-s)")


def test_blocks_read_with_other_counters_are_not_compared(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a counter can no longer be read, and what is left is a lower bound."""
    plan, machine = SpacePlan.of(space, FEW), Machine(monkeypatch)
    sources = iter(["a + b"] * 3 + ["a; a lower bound, missing: b"] * 99)
    monkeypatch.setattr(Machine, "stop", lambda self: EnergyReading(1.0, 0.02, next(sources)))
    watts, why = item_watts(plan, runtime_of("torch", plan, machine), machine, 0.02, False)
    assert watts == {}
    assert why == "energy counters changed while blocks were repeated: a + b, then a; a lower bound, missing: b"


def test_a_block_is_repeated_for_as_long_as_asked(space: SearchSpace) -> None:
    plan = SpacePlan.of(space, FEW)
    runtime = TorchRuntime(plan.models, "cpu", 1, channels_last=False, seed=0)
    item = plan.timing.items[next(iter(plan.blocks))]
    call, calls = runtime.open(item), []

    def counted(x: Any) -> Any:
        calls.append(None)
        return call(x)

    begun_s = time.monotonic()
    runtime.repeat(counted, runtime.feed(item, 1), 0.05)
    assert time.monotonic() - begun_s >= 0.05
    assert len(calls) >= timing.REPEATS


# -- the power of a whole profile ------------------------------------------------------------------------------------------


class Session(EnergyMeter):
    """A counter that sees `watts` for a second between two visits; the process is stopped before visit `last`."""

    available = True  # type: ignore[assignment]
    watts: float | None = 0.0
    last = 10**6

    def __init__(self, device: str, **options: Any) -> None:
        super().__init__(device, **options)
        self.left = self.last

    def stop(self) -> EnergyReading:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt
        return EnergyReading(self.watts, 1.0, "no counter" if self.watts is None else "a fake counter")


def session(space: SearchSpace, partial: Path, watts: float | None, last: int = 10**6, power_w: float | None = None) -> Any:
    """The energy of a profile, with its power over all visits; None where it was stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MOST_RUNS", 1)
        patch.setattr(timing, "MOST_VISITS", timing.VISITS)
        patch.setattr(Session, "watts", watts)
        patch.setattr(Session, "last", last)
        patch.setattr("ofa.energy.choice.EnergyMeter", Session)
        try:
            return profile(space, "here", FEW, ProfileTarget(threads=1, energy_s=0.0, power_w=power_w), partial).energy
        except KeyboardInterrupt:
            return None


def test_the_power_of_a_profile_that_went_on_is_that_of_all_sessions(space: SearchSpace, tmp_path: Path) -> None:
    partial = tmp_path / "p.csv"
    visits = timing.VISITS * len(SpacePlan.of(space, FEW).timing.chains)
    assert session(space, partial, watts=9.0, last=visits - 3) is None
    energy = session(space, partial, watts=2.0)
    assert energy.power_w == pytest.approx((9.0 * (visits - 3) + 2.0 * 3) / visits, rel=1e-4)
    assert energy.source == f"power x time; power: a fake counter, mean over the {visits} s of the profile"
    # Everything is measured already: the last milliseconds, in which nothing ran, are not the power.
    for watts in (0.0, 500.0, None):
        assert session(space, partial, watts).power_w == energy.power_w


def test_the_power_of_a_profile_is_unknown_where_some_of_it_is(space: SearchSpace, tmp_path: Path) -> None:
    partial = tmp_path / "p.csv"
    visits = timing.VISITS * len(SpacePlan.of(space, FEW).timing.chains)
    assert session(space, partial, watts=None, last=4) is None
    energy = session(space, partial, watts=2.0)
    assert energy.power_w is None
    assert f"a fake counter was read in {visits - 4} of the profile's {visits} visits only" in energy.source
    assert session(space, partial, watts=2.0, power_w=30.0).power_w == 30.0
    energy = session(space, tmp_path / "still.csv", watts=0.0)  # a counter that never moves
    assert energy.power_w is None
    assert "modelled, a lower bound" in energy.source
    assert f"a fake counter did not move in the {visits} s of the profile" in energy.source


def test_sessions_with_other_counters_are_not_added(space: SearchSpace, tmp_path: Path) -> None:
    partial = tmp_path / "p.csv"
    assert session(space, partial, watts=9.0, last=4) is None
    partial.write_text("".join(of_0_1_0(partial)).replace("energy: a fake counter", "energy: another"))
    energy = session(space, partial, watts=2.0)
    assert energy.power_w is None
    assert "the profile was continued with other energy counters: a fake counter, then another" in energy.source


# -- without a counter -----------------------------------------------------------------------------------------------------


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
