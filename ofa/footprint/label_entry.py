"""The text of a label beside its letter, as plain data for a card; one entry per platform. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ofa.footprint.energy_label import Bounds, label, load_bounds

UNSTATED_FACTOR = 2.0
"""Factor up and down where a platform's error is unknown, or it says no more than the order of magnitude."""
JOULES = ((3.6e6, "kWh"), (3.6e3, "Wh"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "\N{MICRO SIGN}J"), (1e-9, "nJ"), (1e-12, "pJ"))


@dataclass(frozen=True, kw_only=True)
class Top1:
    """The accuracy that a label is for; None where unknown."""

    value: float | None
    measured: bool
    """False: only predicted, which the label says."""
    standard_error: float | None = None
    images: int | None = None
    numerics: str = "fp32"
    """Number format in which the net computed; the platform's own may cost some accuracy."""


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of one inference on a platform."""

    joules: float | None
    """None: unknown."""
    low: float
    high: float
    """The p10 and the p90 as multiples of `joules`."""
    uncertainty: str
    """Origin of the two, in words."""


def label_entry(
    *,
    on: Mapping[str, Any],
    energy: Energy,
    input_values: int,
    classes: int,
    top1: Top1,
    date: str,
    ratio: float | None = None,
    ratio_note: str = "",
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """The entry of one platform.

    Args:
        on: facts of the platform: `platform`, `device`, `runtime`, `precision`, `batch`, `kind`,
            `boundary` (what the energy is of; None: not stated), `source`.
        energy: of an inference.
        input_values: values of a native input.
        classes: number of classes.
        top1: the accuracy.
        date: day of the label, YYYY-MM-DD.
        ratio: energy over that of the frugalest subnet of the run that is at least as accurate; None: unknown.
        ratio_note: what the ratio is from, or why it is unknown.
        bounds: classes of another label; None: those in use.
    """
    entry = {
        **on,
        "joules": energy.joules,
        "p10_over_estimate": energy.low,
        "p90_over_estimate": energy.high,
        "uncertainty": energy.uncertainty,
        "input_values": input_values,
        "classes": classes,
        "ratio_to_frugalest": ratio,
        "ratio_note": ratio_note,
        "date": date,
    }
    return with_letter(entry, top1, bounds)


def with_letter(entry: Mapping[str, Any], top1: Top1, bounds: Bounds | None = None) -> dict[str, Any]:
    """The entry with the letter for this accuracy: also of a net that was trained further."""
    bounds = bounds or load_bounds()
    why, letter = "the top-1 is unknown", None
    if top1.value is not None:
        found = label(
            entry["joules"],
            entry["input_values"],
            top1.value,
            entry["classes"],
            entry["p10_over_estimate"],
            entry["p90_over_estimate"],
            bounds,
        )
        why, letter = found.why, found
    return {
        **entry,
        "id": bounds.id,
        "checksum": bounds.checksum,
        "letter": None if letter is None else letter.letter,
        "shown": None if letter is None else letter.shown,
        "index_nj": None if letter is None else letter.index_nj,
        "why": why,
        "top1": top1.value,
        "top1_measured": top1.measured,
        "top1_standard_error": top1.standard_error,
        "images": top1.images,
        "top1_numerics": top1.numerics,
    }


def sentence(entry: Mapping[str, Any]) -> str:
    """A label on one line, for cards and screens."""
    if entry["shown"] is None:
        return f"no letter on {entry['platform']}: {entry['why']}"
    top1 = "" if entry["top1_measured"] else ", accuracy only predicted"
    ratio = f"; {ratio_text(entry)}" if entry["ratio_to_frugalest"] is not None else ""
    return (
        f"{entry['shown']} ({entry['id']}, {entry['kind']}{top1}) on {entry['platform']}: "
        f"{per_1000(entry)} per 1,000 inferences{ratio}"
    )


def per_1000(entry: Mapping[str, Any]) -> str:
    """Energy of a thousand inferences, with its unit."""
    return energy_text(1000 * entry["joules"])


def ratio_text(entry: Mapping[str, Any]) -> str:
    """The ratio in words."""
    ratio = entry["ratio_to_frugalest"]
    if ratio is None:
        return f"ratio to the frugalest unknown: {entry['ratio_note']}"
    return f"{ratio:.2f} times the frugalest subnet of the run that is as accurate"


def energy_text(joules: float) -> str:
    """Energy at three digits, in a unit that suits it."""
    if joules == 0:
        return "0 J"
    size, unit = next((pair for pair in JOULES if joules >= pair[0]), JOULES[-1])
    return f"{joules / size:.3g} {unit}"
