"""Measure this machine: every distinct block of a space, and whole networks to check and correct their sum.

What is timed, and how, is in `latency_tables.measure`. Torch is imported when measuring starts.
"""

from __future__ import annotations

import datetime
import os
import platform as machine
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latency_tables.factors import ShapeGrid
from latency_tables.measure import block_calls, measure, network_calls
from latency_tables.op_model import EnergyModel, OpEnergy
from latency_tables.platform import ErrorReport, Platform
from latency_tables.table import BlockTable, Measurement, op_to_list
from ofa.energy import EnergyMeter, EnergyReading
from ofa.errors import UserError
from ofa.shapes import BlockShape, walk_blocks
from ofa.space import SearchSpace
from ofa.subnet import Subnet

Floats = npt.NDArray[np.float64]

ACCEPTED_MAPE = 0.10
"""A profile whose held-out error is larger says so in its file."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    runs: int = 50
    """Timed runs of each block and network, at least; rounded up to a multiple of 5, the runs of one visit."""
    threads: int | None = None
    """Of torch; as many as torch takes by itself if None."""
    batch: int = 1
    channels_last: bool = False
    """Memory format of weights and feature maps."""
    fit_networks: int = 10
    """Random whole subnets on which the correction of the sum of blocks is fitted."""
    test_networks: int = 10
    """Further ones on which its error is reported."""
    power_w: float | None = None
    """Power of this machine while inferring, where the user knows it and no counter is readable."""

    def __post_init__(self) -> None:
        for name in ("runs", "batch", "fit_networks", "test_networks"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads is {self.threads}; must be at least 1")
        if self.power_w is not None and not 0 < self.power_w < float("inf"):
            raise UserError(f"power_w is {self.power_w}; must be above 0 and finite")


def profile(space: SearchSpace, name: str, settings: Settings, rng: np.random.Generator, progress: bool = False) -> Platform:
    """Measure the blocks of a space on this machine's processor with PyTorch.

    Args:
        space: whose blocks to measure, at all of its resolutions.
        name: of the resulting platform.
        settings: how to measure.
        rng: draws the whole subnets, the weights and the order.
        progress: show a progress bar on stderr.
    """
    import torch

    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads_before)
    try:
        settings = replace(settings, threads=torch.get_num_threads())
        shapes = ShapeGrid.of(space).distinct()
        subnets = space.decode(space.sample(settings.fit_networks + settings.test_networks, rng))
        calls = [
            *block_calls(shapes, settings.batch, settings.channels_last, rng),
            *network_calls(space, subnets, settings.batch, settings.channels_last, rng),
        ]
        meter = EnergyMeter("cpu")
        meter.start()
        times_ms = measure(calls, settings.runs, rng, progress)
        reading = meter.stop()
    finally:
        torch.set_num_threads(threads_before)
    return _platform(space, name, settings, shapes, subnets, times_ms, reading)


def correction(sums_ms: Floats, whole_ms: Floats, smallest_ms: float) -> tuple[float, float]:
    """Intercept (ms) and factor with least relative squared error of intercept + factor x sum.

    The factor alone (the mean ratio) where the sums are too alike, or the times too noisy, to tell the two apart: where both
    together would more than halve what the factor alone predicts for the smallest subnet, whose sum is `smallest_ms`.
    """
    ratio = float((whole_ms / sums_ms).mean())
    if len(sums_ms) < 3 or sums_ms.max() < 1.05 * sums_ms.min():
        return 0.0, ratio
    columns = np.stack([1 / whole_ms, sums_ms / whole_ms], axis=1)
    intercept, factor = map(float, np.linalg.lstsq(columns, np.ones(len(sums_ms)), rcond=None)[0])
    believable = factor > 0 and intercept + factor * smallest_ms > 0.5 * ratio * smallest_ms
    return (intercept, factor) if believable else (0.0, ratio)


# -- what it becomes -------------------------------------------------------------------------------------------------------


def _platform(
    space: SearchSpace,
    name: str,
    settings: Settings,
    shapes: Sequence[BlockShape],
    subnets: Sequence[Subnet],
    times_ms: Floats,
    reading: EnergyReading,
) -> Platform:
    import torch

    blocks = tuple(_measurement(shape, times) for shape, times in zip(shapes, times_ms, strict=False))
    medians = dict(zip(shapes, (block.median_ms for block in blocks), strict=True))
    *sums, smallest_ms = (sum(medians[b] for b in walk_blocks(space, net)) for net in (*subnets, space.smallest()))
    sums_ms = np.array(sums)
    whole_ms = np.median(times_ms[len(shapes) :], axis=1)
    fit = settings.fit_networks
    intercept, factor = map(_rounded, correction(sums_ms[:fit], whole_ms[:fit], smallest_ms))
    return Platform(
        name=name,
        device=processor(),
        runtime=f"PyTorch {torch.__version__} eager, inference mode",
        precision="fp32",
        batch=settings.batch,
        threads=settings.threads,
        kind="measured",
        description=f"The blocks of space {space.name} and whole subnets of it, measured with `ofa profile`.",
        source="wall clock around each block (time.perf_counter_ns)",
        licence="MIT",
        date=datetime.date.today().isoformat(),
        details={
            "processor": processor(),
            "processors visible": str(os.cpu_count()),
            "system": machine.platform(),
            "torch": str(torch.__version__),
            "memory format": "channels last" if settings.channels_last else "contiguous",
            "resolutions": ", ".join(map(str, space.resolutions)),
            "seconds": f"{reading.seconds:.0f}",
            "whole networks": f"{len(subnets)} random subnets, {fit} for the correction, the rest held out",
        },
        error=_report(intercept + factor * sums_ms[fit:], whole_ms[fit:]),
        table=BlockTable(
            space=space.name, fingerprint=space.fingerprint, intercept_ms=intercept, factor=factor, blocks=blocks
        ),
        energy=_energy(settings, reading),
    )


def _measurement(shape: BlockShape, times_ms: Floats) -> Measurement:
    p10, median, p90 = (_rounded(value) for value in np.quantile(times_ms, [0.1, 0.5, 0.9]))
    return Measurement(
        kind=shape.kind,
        main=tuple(tuple(op_to_list(op)) for op in shape.main),
        shortcut=tuple(tuple(op_to_list(op)) for op in shape.shortcut),
        residual=shape.residual,
        median_ms=median,
        p10_ms=p10,
        p90_ms=p90,
        count=len(times_ms),
    )


def _report(predicted_ms: Floats, whole_ms: Floats) -> ErrorReport:
    from scipy.stats import spearmanr

    mape = float(np.abs(predicted_ms / whole_ms - 1).mean())
    distinct = min(len(set(predicted_ms)), len(set(whole_ms)))
    spearman = _rounded(float(spearmanr(predicted_ms, whole_ms).statistic)) if distinct > 2 else None
    note = "corrected sum of blocks against whole random subnets that were not used for the correction"
    if mape > ACCEPTED_MAPE:
        note = f"FAILS its own check (error above {ACCEPTED_MAPE:.0%}; measure again on a quieter machine): {note}"
    return ErrorReport(note=note, networks=len(whole_ms), mape=_rounded(mape), spearman=spearman)


def _energy(settings: Settings, reading: EnergyReading) -> EnergyModel:
    if reading.joules is not None:
        watts = _rounded(reading.joules / reading.seconds)
        return EnergyModel(
            source=f"power x time; power: {reading.source}, mean over the profile's measurements", power_w=watts
        )
    if settings.power_w is not None:
        source = f"power x time; power: {settings.power_w:g} W given by the user (--power-w); {reading.source}"
        return EnergyModel(source=source, power_w=settings.power_w)
    # fp32 multiplication 3.7 pJ and addition 0.9 pJ; DRAM 1300 to 2600 pJ and 1 MB SRAM 100 pJ per 64 bits.
    coefficients = OpEnergy(pj_per_mac=4.6, pj_per_weight_byte=244.0, pj_per_activation_byte=12.5)
    source = (
        "modelled, a lower bound: arithmetic and memory accesses of Horowitz, ISSCC 2014, 45 nm (fp32 multiply-add 4.6 pJ, "
        "weights from DRAM 1950 pJ and feature maps from SRAM 100 pJ per 64 bits), without instructions, leakage and idle "
        f"power; {reading.source}. Measure again with --power-w WATTS for power x time"
    )
    return EnergyModel(source=source, ops={"default": coefficients})


def _rounded(value: float) -> float:
    """To five significant digits: what a timing can know."""
    return float(f"{value:.5g}")


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return machine.processor() or machine.machine()
