"""The energy label of a subnet whose inference a meter recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ofa.footprint.label_entry import Top1, with_letter

if TYPE_CHECKING:
    from ofa.energy.recordings.inference import InferenceEnergy
    from ofa.footprint.energy_label import Bounds


def recorded_label(label: Mapping[str, Any], top1: Top1, found: InferenceEnergy, bounds: Bounds) -> dict[str, Any]:
    """A platform's label with the energy that was recorded, and the letter for it; its p10 and p90 are of the windows."""
    energy = {
        "kind": "metered",
        "boundary": found.boundary,
        "source": found.source,
        "joules": found.joules,
        "p10_over_estimate": found.low_j / found.joules,
        "p90_over_estimate": found.high_j / found.joules,
        "uncertainty": f"p10, p90 of {found.windows} windows" if found.windows > 1 else "a single window",
        "ratio_to_frugalest": None,
        "ratio_note": "the other subnets of the run were not recorded",
    }
    return with_letter({**label, **energy}, top1, bounds)
