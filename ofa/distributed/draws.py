"""Per-image random numbers that do not depend on the number of ranks.

Each rank draws for the whole batch and keeps its slice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ofa.distributed.world import WHOLE, Share


class PartGenerator(torch.Generator):
    """A generator for the images of one part of a batch; made by `for_share`."""

    share: Share = WHOLE


def for_share(generator: torch.Generator, share: Share) -> torch.Generator:
    """A fresh generator's numbers for one part of a batch."""
    if share.parts == 1:
        return generator
    part = PartGenerator(generator.device)
    part.manual_seed(generator.initial_seed())
    part.share = share
    return part


def uniform(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """One number in [0, 1) for each of `count` images, on the CPU."""
    total, part = _batch(count, generator)
    return torch.rand(total, dtype=dtype, generator=generator)[part]


def integers(below: int, count: int, generator: torch.Generator) -> Tensor:
    """One of 0 to `below` - 1 for each of `count` images, int64 on the CPU."""
    total, part = _batch(count, generator)
    return torch.randint(below, (total,), generator=generator)[part]


def keep(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """1 with `probability`, else 0, for each element; of the shape and kind of `x`, batch first."""
    total, part = _batch(len(x), generator)
    return x.new_empty(total, *x.shape[1:]).bernoulli_(probability, generator=generator)[part]


def _batch(count: int, generator: torch.Generator | None) -> tuple[int, slice]:
    """Images of the whole batch, and which of them are the `count` ones at hand."""
    share = generator.share if isinstance(generator, PartGenerator) else WHOLE
    total = count * share.parts
    return total, share.of(total)
