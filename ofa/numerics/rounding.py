"""Rounding to few bits, as the inputs of an array's operations are, or weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ofa.numerics.weight_noise import largest


def rounded(x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
    """Values rounded to the levels of `bits` bits between two limits, and limited to them.

    If the lower limit is at least 0, all levels are at 0 or above; otherwise as many are below 0 as above.

    Args:
        x: the values.
        bits: number of bits, with the sign.
        low: smallest value, a tensor that broadcasts with `x`.
        high: largest value.
    """
    signed = low < 0
    levels = torch.where(signed, 2 ** (bits - 1) - 1, 2**bits - 1)
    reach = torch.where(signed, torch.maximum(high, -low), high)
    step = reach.clamp(min=torch.finfo(x.dtype).tiny) / levels
    return ((x / step).round().maximum(torch.where(signed, -levels, 0))).minimum(levels) * step


def rounded_columns(weight: Tensor, bits: int) -> Tensor:
    """A layer's weights rounded to `bits` bits with their sign, up to the largest magnitude of each output channel."""
    reach = largest(weight, "column")
    return rounded(weight, bits, -reach, reach)
