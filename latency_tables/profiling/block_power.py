"""Energy beside a profile: a counter read while each block is repeated, the user's power, or a modelled lower bound."""

from __future__ import annotations

from typing import Protocol

from latency_tables.cost_models.op_model import EnergyModel, OpEnergy
from latency_tables.on_device.timing import WARM_UP, Progress, Runtime
from latency_tables.profiling.plan import SpacePlan
from ofa.energy.meter import EnergyReading


class Meter(Protocol):
    """As `ofa.energy.meter.EnergyMeter`."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> EnergyReading:
        """End."""
        ...


def block_watts(plan: SpacePlan, runtime: Runtime, meter: Meter, seconds: float, show: bool) -> dict[str, float]:
    """Power while a block runs, in W by item: each is repeated for at least `seconds`; empty where the counter failed."""
    watts = {}
    progress = Progress(show)
    progress.begin(len(plan.blocks), len(plan.blocks))
    for name in plan.blocks:
        item = plan.plan.items[name]
        call, x = runtime.open(item), runtime.feed(item, plan.settings.batch)
        runtime.time([call], x, WARM_UP)
        meter.start()
        runtime.repeat(call, x, seconds)
        reading = meter.stop()
        if reading.joules is None:
            return {}
        watts[name] = reading.joules / reading.seconds
        progress.step()
    return watts


def power_of(power_w: float, why: str) -> EnergyModel:
    """Power that the user knows x time; `why` says what is known of counters."""
    return EnergyModel(source=f"power x time; power: {power_w:g} W given by the user (--power-w); {why}", power_w=power_w)


def modelled(why: str) -> EnergyModel:
    """A lower bound from published energies per operation; `why` says why nothing was measured."""
    # fp32 multiplication 3.7 pJ and addition 0.9 pJ; DRAM 1300 to 2600 pJ and 1 MB SRAM 100 pJ per 64 bits.
    coefficients = OpEnergy(pj_per_mac=4.6, pj_per_weight_byte=244.0, pj_per_activation_byte=12.5)
    source = (
        "modelled, a lower bound: arithmetic and memory accesses of Horowitz, ISSCC 2014, 45 nm (fp32 multiply-add 4.6 pJ, "
        "weights from DRAM 1950 pJ and feature maps from SRAM 100 pJ per 64 bits), without instructions, leakage and idle "
        f"power; {why}. Measure again with --power-w WATTS for power x time"
    )
    return EnergyModel(source=source, ops={"default": coefficients})
