"""Options of the verbs that take the recording of an external meter, and the energy that is in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.energy.recordings.inference import InferenceEnergy

DETAILS = (
    *("boundary", "marker", "window", "inferences_per_window", "volts", "channel", "time_unit", "idle_w", "idle_window"),
)
"""Options that say what a recording's file does not."""


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """A meter's file, and all that it does not say."""
    group = parser.add_argument_group("energy from a meter's recording (docs/energy.md)")
    group.add_argument(
        "--recording", type=Path, metavar="FILE", help="CSV of a Nordic PPK2, Joulescope, Monsoon, Otii, or time_s,power_w"
    )
    group.add_argument("--boundary", metavar="WORDS", help="what the meter feeds: mains, board, module, core rail, battery")
    group.add_argument("--marker", metavar="D0", help="digital input that is high during inference (D0=0: low)")
    group.add_argument(
        "--window", action="append", metavar="FROM:TO", help="seconds of the recording that are inference; may be repeated"
    )
    group.add_argument("--inferences-per-window", type=int, metavar="N", help="(default: 1; alone: the whole recording's)")
    group.add_argument("--volts", type=float, metavar="V", help="voltage of the supply, where the file has a current alone")
    group.add_argument("--channel", metavar="NAME", help="output of the meter, where the file has several")
    group.add_argument("--time-unit", metavar="s|ms|us", help="unit of the times, against what the header says")
    group.add_argument("--idle-w", type=float, metavar="W", help="idle power to subtract (default: none is)")
    group.add_argument("--idle-window", metavar="FROM:TO", help="seconds without inference, whose mean power is subtracted")


def recorded(args: argparse.Namespace) -> InferenceEnergy | None:
    """The energy of an inference in the recording that is given; None without one.

    Raises:
        UserError: an option contradicts another or the file, or the file is damaged.
    """
    given = [name for name in DETAILS if getattr(args, name) is not None]
    if args.recording is None:
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} says what a recording means; give --recording FILE too")
        return None
    if args.boundary is None:
        raise UserError(
            f"--recording {args.recording} needs --boundary: what the meter feeds (mains, board, core rail, ...)"
        )

    from ofa.energy.recordings.inference import Question, inference_energy

    question = Question(
        boundary=args.boundary,
        per_window=args.inferences_per_window,
        windows_s=[_span(text, "--window") for text in args.window or ()],
        marker=args.marker,
        volts=args.volts,
        channel=args.channel,
        time_unit=args.time_unit,
        idle_w=args.idle_w,
        idle_s=None if args.idle_window is None else _span(args.idle_window, "--idle-window"),
    )
    return inference_energy(args.recording, question)


def _span(text: str, option: str) -> tuple[float, float]:
    start, colon, end = text.partition(":")
    try:
        return float(start), float(end if colon else "")
    except ValueError:
        raise UserError(f"{option} is {text!r}; expected FROM:TO in seconds, as 1.5:2") from None
