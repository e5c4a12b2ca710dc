"""Numbers in fixed point: multiples of one power of two, which add up exactly, in any order.

A float64 holds every multiple of a power of two up to 2**53 times it. So sums of such numbers are never rounded, and the
same terms have the same sum however they are grouped: in the lookup of a gene matrix, or stage by stage in the exact search.
A subnet that costs exactly its limit is then within it wherever that is checked, and equal costs are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import frexp

import numpy as np

from latency_tables.arrays import Floats


def largest_sum(terms: Iterable[Floats]) -> float:
    """The largest magnitude that a sum of one number from each array can have; NaN (an unknown number) is left out."""
    return float(sum(np.max(np.abs(values), initial=0.0, where=~np.isnan(values)) for values in terms))


def step_for(largest: float) -> float:
    """The power of two in whose multiples sums of at most `largest` are exact; about 2**-52 of `largest`."""
    return 2.0 ** (frexp(largest)[1] - 52)


def to_fixed_point(values: Floats, step: float) -> Floats:
    """The nearest multiples of `step`; NaN stays NaN."""
    return np.asarray(np.rint(values / step) * step)


def floor_to_fixed_point(bounds: Floats, steps: Floats) -> Floats:
    """The largest multiple of each step within each bound; a cost in fixed point meets both or neither."""
    return np.asarray(np.floor(bounds / steps) * steps)
