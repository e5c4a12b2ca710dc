"""Energy of a profile: a counter read while each block and network is repeated, the user's power, or a lower bound."""

from __future__ import annotations

from collections.abc import Sequence

from latency_tables.cost_models.op_model import EnergyModel, OpEnergy
from latency_tables.on_device.results import ENERGY, Results, Row, VisitEnergy
from latency_tables.on_device.timing import REFERENCE, WARM_UP, ProgressLine, Runtime, Timed
from latency_tables.profiling.plan import SpacePlan
from ofa.energy.reading import Meter
from ofa.energy.recordings.inference import InferenceEnergy


class MeteredLog:
    """Results with the energy of each visit, so that a profile continued after a kill still knows its mean power."""

    def __init__(self, results: Results, meter: Meter) -> None:
        """Begin to measure energy."""
        self.done = results.done
        self.source = ""
        """After `close`: the counters that were read, or why none was."""
        self._results, self._meter = results, meter
        meter.start()

    def append(self, chain: int, turn: int, names: Sequence[str], timed: Timed) -> None:
        """Add a visit with the energy since the one before."""
        reading = self._meter.stop()
        known = None if reading.joules is None else VisitEnergy(reading.joules, reading.seconds, reading.source)
        try:
            self._results.append(chain, turn, names, timed, known)
        finally:
            self._meter.start()  # `close` stops it, even after a full disk

    def close(self) -> None:
        """End the measurement and close the file."""
        self.source = self._meter.stop().source
        self._results.close()


def mean_power(rows: Sequence[Row], source: str) -> tuple[float | None, str]:
    """Mean power over all visits of a profile, in W, and its source; None and the reason if a visit has no reading.

    `source` names the counters read in this session, or why none was.
    """
    readings = [row for row in rows if row.item.startswith(ENERGY)]
    visits = sum(row.item == REFERENCE for row in rows)
    if not readings:
        return None, source
    counters = sorted({row.item.removeprefix(ENERGY) for row in readings})
    if len(counters) > 1:
        return None, f"the profile was continued with other energy counters: {', then '.join(counters)}"
    if len(readings) < visits:
        return None, f"{counters[0]} was read in {len(readings)} of the profile's {visits} visits only"
    joules, seconds = (sum(row.times_ms[i] for row in readings) for i in (0, 1))
    if joules == 0:
        return None, f"{counters[0]} did not move in the {seconds:.3g} s of the profile"
    return joules / seconds, f"{counters[0]}, mean over the {seconds:.3g} s of the profile"


def item_watts(plan: SpacePlan, runtime: Runtime, meter: Meter, seconds: float, show: bool) -> tuple[dict[str, float], str]:
    """Power while a block or a network runs, in W by item, each repeated for at least `seconds`; and its source.

    Empty, with the reason, where the counter failed or did not move: then the power is unknown, not 0.
    """
    watts: dict[str, float] = {}
    source = ""
    progress = ProgressLine(show)
    names = [*plan.blocks, *plan.networks]
    progress.begin(len(names), len(names))
    for name in names:
        item = plan.timing.items[name]
        call, x = runtime.open(item), runtime.feed(item, plan.settings.batch)
        runtime.time([call], x, WARM_UP)
        meter.start()
        runtime.repeat(call, x, seconds)
        reading = meter.stop()
        if reading.joules is None:
            return {}, reading.source
        if reading.joules == 0:
            return {}, f"{reading.source} did not move in {seconds:g} s (--energy-s)"
        if source not in ("", reading.source):
            return {}, f"energy counters changed while blocks were repeated: {source}, then {reading.source}"
        watts[name], source = reading.joules / reading.seconds, reading.source
        progress.step()
    return watts, f"{source}: each block and network repeated for {seconds:g} s, idle power included"


def power_of(power_w: float, why: str) -> EnergyModel:
    """Power given by the user x time; `why` says why no counter was used."""
    return EnergyModel(source=f"power x time; power: {power_w:g} W given by the user (--power-w); {why}", power_w=power_w)


def recorded_power(found: InferenceEnergy) -> EnergyModel:
    """Power that a meter recorded during inference x time."""
    source = f"power x time; power: {found.watts:.5g} W, {found.source}"
    return EnergyModel(source=source, boundary=found.boundary, power_w=float(f"{found.watts:.5g}"))


def modelled(why: str) -> EnergyModel:
    """A lower bound from published energies per operation; `why` says why nothing was measured."""
    # fp32 multiplication 3.7 pJ and addition 0.9 pJ; DRAM 1300 to 2600 pJ and 1 MB SRAM 100 pJ per 64 bits.
    coefficients = OpEnergy(pj_per_mac=4.6, pj_per_weight_byte=244.0, pj_per_activation_byte=12.5)
    source = (
        "modelled, a lower bound: arithmetic and memory accesses of Horowitz, ISSCC 2014, 45 nm (fp32 multiply-add 4.6 pJ, "
        "weights from DRAM 1950 pJ and feature maps from SRAM 100 pJ per 64 bits), without instructions, leakage, idle "
        f"power and the constant part of a network; {why}. Measure again with --power-w WATTS for power x time"
    )
    return EnergyModel(source=source, ops={"default": coefficients})
