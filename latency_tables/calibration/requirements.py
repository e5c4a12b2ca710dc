"""Requirements of a calibration on measured networks: enough, different enough, repeats that agree. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from latency_tables.calibration.operations_csv import ListedNetwork
from latency_tables.calibration.timings_csv import Timing
from ofa.errors import UserError

LEAST_NETWORKS = 4
"""Fewest distinct networks."""
LEAST_MACS_RATIO = 1.3
"""Least ratio of the largest network's MACs to the smallest's."""
MOST_DISAGREEMENT = 0.2
"""Largest relative difference between two measurements of one network."""

Measured = TypeVar("Measured", Timing, ListedNetwork)


def merge_repeats(rows: Iterable[Measured], key: Callable[[Measured], Hashable]) -> list[Measured]:
    """One row per network, told apart by `key`, with the mean latency and the mean of the energies that are known.

    Raises:
        UserError: two latencies, or two energies, of one network contradict each other.
    """
    groups: dict[Hashable, list[Measured]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    merged = []
    for group in groups.values():
        metered = [row for row in group if row.energy_mj is not None]
        latency_ms = _agreed(group, "latency_ms")
        energy_mj = _agreed(metered, "energy_mj") if metered else None
        merged.append(replace((metered or group)[0], latency_ms=latency_ms, energy_mj=energy_mj))
    return merged


def check_networks(macs: Sequence[int], advice: str) -> None:
    """Raise `UserError`, with advice, where networks of these MACs cannot identify a model's terms."""
    if len(macs) < LEAST_NETWORKS:
        raise UserError(f"{len(macs)} distinct networks; at least {LEAST_NETWORKS} are needed, better 10: {advice}")
    if max(macs) < LEAST_MACS_RATIO * min(macs):
        raise UserError(
            f"the networks are too alike: {min(macs) / 1e6:.0f} to {max(macs) / 1e6:.0f} million multiply-accumulates; the "
            f"largest must have at least {LEAST_MACS_RATIO} times the smallest's: {advice}"
        )


def with_energy(rows: Sequence[Timing] | Sequence[ListedNetwork]) -> npt.NDArray[np.bool_]:
    """True for networks with an energy, bool[networks]; raises `UserError` where some have one, but too few."""
    known = np.array([row.energy_mj is not None for row in rows])
    if 0 < known.sum() < LEAST_NETWORKS:
        raise UserError(f"energy_mj is given for {known.sum()} networks; at least {LEAST_NETWORKS} are needed, or none")
    return known


def _agreed(rows: Sequence[Measured], column: str) -> float:
    """Mean of a column over the rows of one network; raises `UserError` where two differ by too much."""
    values = [float(getattr(row, column)) for row in rows]
    low, high = values.index(min(values)), values.index(max(values))
    if values[high] > (1 + MOST_DISAGREEMENT) * values[low]:
        raise UserError(
            f"{rows[high].place}: {column} is {values[high]:g} but the same network has {values[low]:g} in "
            f"{rows[low].place}; they may differ by {MOST_DISAGREEMENT:.0%}"
        )
    return float(np.mean(values))
