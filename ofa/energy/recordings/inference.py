"""Joules of one inference from a recording: over windows of time, or while a digital input is high.

The window's energy is divided by its inferences. Idle power stays in unless the caller says what to subtract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofa.energy.recordings.recording import Recording, read_recording
from ofa.energy.recordings.windows import Span, check_span, marker_and_level, shown, spans_marked, spans_of
from ofa.errors import UserError

BOUNDARY = "mains, board, module, core rail, battery"
"""Places at which a meter is put in; other words are allowed."""


MINUS_IDLE = " minus idle"


@dataclass(frozen=True, kw_only=True)
class Question:
    """The part of a recording that is inference, and all that its file does not say."""

    boundary: str
    """Place of the meter: what it feeds, such as `board` or `core rail`."""
    per_window: int | None = None
    """Inferences in each window; None: 1, where windows are given."""
    windows_s: Sequence[Span] = ()
    """Beginning and end of each window, in s since the first sample."""
    marker: str | None = None
    """Digital input that is high during each window (`D0`), or low (`D0=0`)."""
    volts: float | None = None
    """Voltage of the supply, for a file with a current alone."""
    channel: str | None = None
    """Output of the meter, or device, where the file has several."""
    time_unit: str | None = None
    """Unit of the times, against what the header says."""
    idle_w: float | None = None
    """Power to subtract."""
    idle_s: Span | None = None
    """Beginning and end, in s since the first sample, of a time without inference, whose mean power is subtracted."""

    def __post_init__(self) -> None:
        """Raise `UserError` for what contradicts itself."""
        if not self.boundary.strip():
            raise UserError(f"boundary is empty; say what the meter feeds: {BOUNDARY}")
        if self.marker is not None and self.windows_s:
            raise UserError(f"windows and the digital input {self.marker} are given; give one of them")
        if self.marker is None and not self.windows_s and self.per_window is None:
            raise UserError(
                "no window: give --marker D0 (an input that is high during inference), --window FROM:TO in s, or "
                "--inferences-per-window N alone, if the whole recording is inference"
            )
        if self.per_window is not None and self.per_window < 1:
            raise UserError(f"inferences per window is {self.per_window}; must be at least 1")
        if self.idle_w is not None and self.idle_s is not None:
            raise UserError("an idle power and an idle window are given; give one of them")
        if self.idle_w is not None and not 0 <= self.idle_w < float("inf"):
            raise UserError(f"idle power is {self.idle_w:g} W; must be finite and at least 0")


@dataclass(frozen=True, kw_only=True)
class InferenceEnergy:
    """Measured energy and duration of one inference."""

    joules: float
    """Mean over the windows."""
    seconds: float
    """Duration of one inference: mean over the windows."""
    windows: int
    per_window: int
    """Inferences in each window."""
    standard_error_j: float | None
    """Standard error of `joules`; None with one window."""
    low_j: float
    """10th percentile of the windows."""
    high_j: float
    """90th percentile of the windows."""
    idle_w: float | None
    """Power that was subtracted; None: the idle power is in `joules`."""
    boundary: str
    """The part of the device that the meter fed; ends with `minus idle` where idle power was subtracted."""
    meter: str
    source: str
    """Meter, file, boundary, windows and idle power in words."""

    @property
    def watts(self) -> float:
        """Mean power during the windows, less the idle power that was subtracted."""
        return self.joules / self.seconds

    def plain(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self) | {"watts": self.watts}


def inference_energy(path: str | Path, question: Question) -> InferenceEnergy:
    """Measure one inference in a meter's file.

    Raises:
        UserError: the file is damaged (`read_recording`), a window is outside it or has no energy left.
    """
    marker, high = marker_and_level(question.marker)
    recording = read_recording(path, question.volts, question.channel, marker, question.time_unit)
    spans, notes = spans_of(recording, question.windows_s) if marker is None else spans_marked(recording, marker, high)
    starts, ends = np.array(spans).T
    lengths = ends - starts
    joules = recording.joules_until(ends) - recording.joules_until(starts)
    idle_w, told = _idle(recording, question)
    joules -= (idle_w or 0.0) * lengths
    if joules.mean() <= 0:
        less = "" if idle_w is None else f" after subtracting {idle_w:.4g} W"
        raise UserError(f"{recording.path}: the windows' mean energy is {joules.mean():.4g} J{less}; must be above 0")
    count = question.per_window or 1
    each = joules / count
    low, high_j = np.percentile(each, [10, 90])
    words = f"{_counted(len(spans), 'window')}{notes}, {_counted(count, 'inference')} each"
    boundary = question.boundary if idle_w is None else f"{question.boundary.removesuffix(MINUS_IDLE)}{MINUS_IDLE}"
    facts = (f"{recording.path.name}, {recording.rate_hz:,.0f} Hz", *recording.notes)
    return InferenceEnergy(
        joules=float(each.mean()),
        seconds=float(lengths.mean()) / count,
        windows=len(spans),
        per_window=count,
        standard_error_j=float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else None,
        low_j=float(low),
        high_j=float(high_j),
        idle_w=idle_w,
        boundary=boundary,
        meter=recording.meter,
        source=f"metered: {recording.meter} ({'; '.join(facts)}), boundary: {boundary}; {words}; {told}",
    )


def _idle(recording: Recording, question: Question) -> tuple[float | None, str]:
    """The power to subtract, and the sentence that says so."""
    if question.idle_w is not None:
        return question.idle_w, f"idle power of {question.idle_w:.4g} W subtracted, as given"
    if question.idle_s is None:
        return None, "idle power included"
    check_span(recording, question.idle_s, "idle window")
    start, end = recording.joules_until(np.array(question.idle_s))
    watts = float(end - start) / (question.idle_s[1] - question.idle_s[0])
    return watts, f"idle power of {watts:.4g} W (from {shown(question.idle_s)} s) subtracted"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"
