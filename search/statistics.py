"""Statistics of measured accuracies. A value that cannot be estimated is None (in arrays NaN), never 0."""

from __future__ import annotations

import numpy as np

from search.arrays import Floats


def kendall_tau(a: Floats, b: Floats) -> float | None:
    """Kendall's tau-b, in [-1, 1]; None where one side is constant. Scipy has it too, but takes a second to import."""
    upper = np.triu_indices(len(a), 1)
    order_a, order_b = np.sign(a[:, None] - a)[upper], np.sign(b[:, None] - b)[upper]
    pairs = np.sqrt(np.count_nonzero(order_a) * np.count_nonzero(order_b))
    return float((order_a * order_b).sum() / pairs) if pairs else None


def mean_tau(taus: list[float | None]) -> float | None:
    """Mean of the known values; None where all are unknown."""
    known = [tau for tau in taus if tau is not None]
    return float(np.mean(known)) if known else None


def standard_error(top1: Floats, images: int) -> Floats:
    """Binomial standard error of accuracies measured on `images` images; it leaves out the noise of training.

    NaN where all or none of the images are classified correctly: the estimate would be 0, however few images there are.
    """
    variance = top1 * (1 - top1) / images
    return np.asarray(np.sqrt(np.where(variance > 0, variance, np.nan)))


def shown(value: float | None, form: str) -> str:
    """A value as text, formatted by `form` (`.3f`, `.0%`); `unknown` for None."""
    return "unknown" if value is None else format(value, form)
