"""Windows of a recording: spans of time that are given, or in which a digital input is high."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ofa.energy.recordings.recording import Recording
from ofa.errors import UserError

FEW_SAMPLES = 20
"""Samples in the shortest window, below which its ends are a large part of it."""
Span = tuple[float, float]
"""Beginning and end, in s since the first sample."""


def marker_and_level(word: str | None) -> tuple[str | None, bool]:
    """Name of a digital input, and the level that means inference: `D0` is high, `D0=0` is low."""
    if word is None:
        return None, True
    found = re.fullmatch(r"([A-Za-z][A-Za-z0-9]*)(?:=([01]))?", word)
    if found is None:
        raise UserError(f"digital input is {word!r}; expected a name such as D0, or D0=0 where low means inference")
    return found[1], found[2] != "0"


def spans_of(recording: Recording, windows_s: Sequence[Span]) -> tuple[list[Span], str]:
    """Windows of time, ascending, and a note on where they are from; without any, the whole recording.

    Raises:
        UserError: a window is outside the recording, has fewer than two samples, or overlaps another.
    """
    if not windows_s:
        return [(0.0, float(recording.seconds[-1]))], " (the whole recording)"
    for span in windows_s:
        check_span(recording, span, "window")
    spans = sorted(windows_s)
    for before, after in pairwise(spans):
        if after[0] < before[1]:
            raise UserError(f"{recording.path}: windows {shown(before)} and {shown(after)} s overlap")
    return spans, f" ({', '.join(map(shown, spans[:3]))}{', ...' if len(spans) > 3 else ''} s)"


def spans_marked(recording: Recording, marker: str, high: bool) -> tuple[list[Span], str]:
    """Windows in which a digital input has a level, from its first sample to the first after it, and a note on them.

    A window that the recording's beginning or end cuts off is left out, and the note says so.

    Raises:
        UserError: there is no whole window.
    """
    assert recording.high is not None
    during = recording.high == high
    edges = np.diff(during.astype(np.int8))
    rises, falls = np.flatnonzero(edges > 0) + 1, np.flatnonzero(edges < 0) + 1
    falls = falls[1:] if during[0] else falls
    rises = rises[: len(falls)]
    if not len(rises):
        raise UserError(
            f"{recording.path}: {marker} marks no whole window (it changes {int(np.abs(edges).sum())} times); record from "
            "before the first inference to after the last"
        )
    cut = int(during[0]) + int(during[-1])
    left_out = f", {cut} more left out, as the recording begins or ends in it" if cut else ""
    shortest = int((falls - rises).min())
    few = f", the shortest of only {shortest} samples" if shortest < FEW_SAMPLES else ""
    spans = list(zip(recording.seconds[rises].tolist(), recording.seconds[falls].tolist(), strict=True))
    return spans, f" in which {marker} is {'high' if high else 'low'}{left_out}{few}"


def check_span(recording: Recording, span: Span, what: str) -> None:
    """Raise `UserError` unless a span is within the recording, and has two samples at least."""
    last = float(recording.seconds[-1])
    if not 0 <= span[0] < span[1] <= last:
        raise UserError(f"{recording.path}: {what} is {shown(span)} s; must rise, within 0 to {last:.6g} s")
    samples = int(np.count_nonzero((recording.seconds >= span[0]) & (recording.seconds <= span[1])))
    if samples < 2:
        raise UserError(f"{recording.path}: {what} {shown(span)} s has {samples} samples; needs at least 2")


def shown(span: Span) -> str:
    """A span as text."""
    return f"{span[0]:g} to {span[1]:g}"
