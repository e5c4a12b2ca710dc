"""A recording: power of a device over time, or an energy that rises, as its meter's file has them, checked line by line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ofa.energy.recordings.cells import Cells, Flags, Floats, Lines, level_of, numbers_of, read_cells
from ofa.energy.recordings.layouts import CURRENT, ENERGY, POWER, TIME, VOLTAGE, Layout
from ofa.errors import UserError

FEWEST = 3
"""Fewest samples of a recording."""
MOST_V = 1000.0
GAP_STEPS = 10.0
"""Steps, of the median length, above which samples are missing."""
MONSOON_HZ = 5000.0
LEAST_HZ, MOST_HZ = 20.0, 1.25 * MONSOON_HZ
"""Rates, with times read as seconds, at which a Monsoon's times are seconds for certain: as ms they would be 20 kHz and
more, which it does not reach. A Monsoon takes 5,000 samples a second, of which it may keep every n-th."""
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples of one output of a meter."""

    path: Path
    meter: str
    seconds: Floats
    """Time of each sample since the first, rising."""
    watts: Floats | None
    """Power at each sample; None where the meter counts energy."""
    counted_j: Floats | None
    """Energy counted up to each sample; None where the meter gives power."""
    lines: Lines
    """Line of each sample in the file."""
    notes: tuple[str, ...]
    """Facts that the file's values do not give, and their origin: the voltage, the unit of time."""
    high: Flags | None = None
    """Level of the digital input that was asked for, at each sample."""

    @property
    def rate_hz(self) -> float:
        """Mean samples a second."""
        return (len(self.seconds) - 1) / float(self.seconds[-1])

    def joules_until(self, times_s: Floats) -> Floats:
        """Energy from the first sample to some times: trapezoids of power, or the counter, interpolated linearly."""
        if self.counted_j is not None:
            return np.asarray(np.interp(times_s, self.seconds, self.counted_j - self.counted_j[0]))
        assert self.watts is not None
        steps = np.diff(self.seconds) * (self.watts[1:] + self.watts[:-1]) / 2
        sums = np.concatenate([[0.0], np.cumsum(steps)])
        before = np.clip(np.searchsorted(self.seconds, times_s, side="right") - 1, 0, len(self.seconds) - 2)
        since = times_s - self.seconds[before]
        slope = np.diff(self.watts)[before] / np.diff(self.seconds)[before]
        return np.asarray(sums[before] + since * (self.watts[before] + slope * since / 2))


def read_recording(
    path: str | Path,
    volts: float | None = None,
    channel: str | None = None,
    marker: str | None = None,
    time_unit: str | None = None,
) -> Recording:
    """Read the file of a meter (`layouts`).

    Args:
        path: the file, as the meter's program exports it: CSV.
        volts: voltage of the device's supply, for a file with a current alone.
        channel: output of the meter, or device, where a file has several.
        marker: name of the digital input whose level is read, `D0` to `D7`.
        time_unit: unit of the times (`TIME_UNITS`), against what the header says.

    Raises:
        UserError: the file is of no meter that is known; a value is missing or no number; time does not rise, or has a gap;
            an energy falls; no voltage is known; or the digital input is not there. The message has the line.
    """
    cells = read_cells(path)
    layout = cells.layout
    if len(cells.rows) < FEWEST:
        raise UserError(f"{cells.path}: has {len(cells.rows)} samples; needs at least {FEWEST}")
    if volts is not None and not 0 < volts < MOST_V:
        raise UserError(f"volts is {volts:g}; must be above 0 and below {MOST_V:g}")
    wanted, notes = _measured(layout, f"{cells.path}:1", volts, channel)
    time = layout.of(TIME)[0]
    values = numbers_of(cells, [time, *wanted])
    level = None if marker is None else level_of(cells, marker)
    factor, told = _time_unit(cells, values[:, 0], layout.columns[time].factor, time_unit)
    product = np.prod(values[:, 1:], axis=1) * np.prod([layout.columns[i].factor for i in wanted]) * (volts or 1.0)
    seconds, lines = values[:, 0] * factor, cells.lines
    _check_times(cells.path, seconds, lines, may_repeat=layout.packets)
    if layout.packets:
        seconds, product, lines, level = _by_packet(seconds, product, lines, level)
        if len(seconds) < FEWEST:
            raise UserError(f"{cells.path}: has {len(seconds)} different times; needs at least {FEWEST}")
    _check_gaps(cells.path, seconds, lines)
    counts = layout.columns[wanted[0]].quantity == ENERGY
    if counts:
        _check_rise(cells.path, product, lines)
    watts, counted = (None, product) if counts else (product, None)
    notes = (*notes, *([told] if told else []))
    return Recording(cells.path, layout.meter, seconds - seconds[0], watts, counted, lines, notes, level)


def _measured(layout: Layout, place: str, volts: float | None, channel: str | None) -> tuple[list[int], tuple[str, ...]]:
    """Places of the columns whose product is the power, or the energy's alone; and a note on a voltage that was given.

    Raises:
        UserError: there is none, the choice between outputs is open, or the voltage is missing or given twice.
    """
    columns = layout.columns
    measured = {i: columns[i] for kind in (POWER, CURRENT, ENERGY) for i in layout.of(kind)}
    channels = list(dict.fromkeys(column.channel for column in measured.values()))
    if not channels:
        raise UserError(f"{place}: has neither power, nor current, nor energy; export one of them")
    if channel is not None and channel.casefold() not in [name.casefold() for name in channels]:
        raise UserError(f"{place}: channel {channel!r} is not in the file; it has {', '.join(map(repr, channels))}")
    if channel is None and len(channels) > 1:
        raise UserError(f"{place}: has the channels {', '.join(channels)}; say which one with --channel")
    chosen = next(name for name in channels if channel is None or name.casefold() == channel.casefold())
    kinds = {columns[i].quantity: i for i in measured if columns[i].channel == chosen}
    known = kinds.get(POWER, kinds.get(ENERGY) if CURRENT not in kinds else None)
    voltage = [i for i in layout.of(VOLTAGE) if columns[i].channel == chosen]
    if known is not None or voltage:
        if volts is not None:
            what = "power" if known is not None else "voltage"
            raise UserError(f"{place}: has the {what}, and --volts {volts:g} is given too; leave it out")
        return [known] if known is not None else [kinds[CURRENT], voltage[0]], ()
    if volts is None:
        raise UserError(f"{place}: has a current and no voltage; give the supply's with --volts")
    return [kinds[CURRENT]], (f"{volts:g} V as given",)


def _time_unit(cells: Cells, times: Floats, header: float, unit: str | None) -> tuple[float, str]:
    """Factor from a file's times to seconds, and a note where it is not the header's.

    A Monsoon's unit is decided by the rate that its times imply.

    Raises:
        UserError: that rate fits neither or both units, and no unit is given; or the unit is unknown.
    """
    if unit is not None:
        if unit not in TIME_UNITS:
            raise UserError(f"time unit is {unit!r}; known are {', '.join(TIME_UNITS)}")
        return TIME_UNITS[unit], f"time in {unit} as given"
    if not cells.layout.packets:
        return header, ""
    span = float(times.max() - times.min())
    rate_hz = (len(times) - 1) / span if span > 0 else np.inf
    if LEAST_HZ <= rate_hz <= MOST_HZ:
        return 1.0, f"time in s, which {rate_hz:.4g} samples a second tell, though the header says ms"
    raise UserError(
        f"{cells.path}:1: the times imply {rate_hz:.4g} samples a second if they are s, {rate_hz * 1000:.4g} if ms "
        f"as the header says; a Monsoon takes {MONSOON_HZ:g}: say which with --time-unit"
    )


def _by_packet(
    seconds: Floats, values: Floats, lines: Lines, level: Flags | None
) -> tuple[Floats, Floats, Lines, Flags | None]:
    """Samples with the same time as one, of their mean."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(seconds) > 0]))
    means = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
    return seconds[starts], means, lines[starts], None if level is None else level[starts]


def _check_times(path: Path, seconds: Floats, lines: Lines, may_repeat: bool) -> None:
    steps = np.diff(seconds)
    wrong = np.flatnonzero(steps < 0 if may_repeat else steps <= 0)
    if len(wrong):
        i = int(wrong[0])
        what = "falls" if steps[i] < 0 else "stands still"
        raise UserError(f"{path}:{lines[i + 1]}: time {what}: {seconds[i + 1]:.9g} s after {seconds[i]:.9g} s; must rise")


def _check_gaps(path: Path, seconds: Floats, lines: Lines) -> None:
    steps = np.diff(seconds)
    usual = float(np.median(steps))
    wrong = np.flatnonzero(steps > GAP_STEPS * usual)
    if len(wrong):
        i = int(wrong[0])
        raise UserError(
            f"{path}:{lines[i + 1]}: a gap of {steps[i]:.3g} s before this sample, where others follow after {usual:.3g} s: "
            f"samples are missing (more than {GAP_STEPS:g} steps); record again, or export a part without gaps"
        )


def _check_rise(path: Path, joules: Floats, lines: Lines) -> None:
    wrong = np.flatnonzero(np.diff(joules) < 0)
    if len(wrong):
        i = int(wrong[0])
        raise UserError(f"{path}:{lines[i + 1]}: energy falls from {joules[i]:.6g} to {joules[i + 1]:.6g} J; must rise")
