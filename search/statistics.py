"""Statistics of measured accuracies. What cannot be known from the numbers given is None (in arrays NaN), never 0."""

from __future__ import annotations

import numpy as np

from search.arrays import Floats


def kendall_tau(a: Floats, b: Floats) -> float | None:
    """Kendall's tau-b, in [-1, 1]; None where one side is constant. In scipy too, but its import takes a second."""
    upper = np.triu_indices(len(a), 1)
    order_a, order_b = np.sign(a[:, None] - a)[upper], np.sign(b[:, None] - b)[upper]
    pairs = np.sqrt(np.count_nonzero(order_a) * np.count_nonzero(order_b))
    return float((order_a * order_b).sum() / pairs) if pairs else None


def mean_tau(taus: list[float | None]) -> float | None:
    """Mean of those that are known; None where none is."""
    known = [tau for tau in taus if tau is not None]
    return float(np.mean(known)) if known else None


def standard_error(top1: Floats, images: int) -> Floats:
    """Binomial standard error of accuracies measured on some images; it does not count the noise of training.

    NaN where all or none of the images are right: the estimate would be 0, however few they are.
    """
    variance = top1 * (1 - top1) / images
    return np.asarray(np.sqrt(np.where(variance > 0, variance, np.nan)))


def shown(value: float | None, form: str) -> str:
    """A figure for people, formatted as `form` (`.3f`, `.0%`)."""
    return "unknown" if value is None else format(value, form)
