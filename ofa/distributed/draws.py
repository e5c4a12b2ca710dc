"""Per-image random numbers that do not depend on the number of ranks.

Each rank draws for the whole batch and keeps its slice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ofa.distributed.world import WHOLE, Share


class PartGenerator(torch.Generator):
    """A generator for a rank's share of a batch; made by `for_share`."""

    share: Share = WHOLE


def for_share(generator: torch.Generator, share: Share) -> torch.Generator:
    """A generator with the same seed as a fresh `generator`, from which the functions below draw only for `share`."""
    if share.parts == 1:
        return generator
    part = PartGenerator(generator.device)
    part.manual_seed(generator.initial_seed())
    part.share = share
    return part


def uniform(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """A random number in [0, 1) for each of `count` images, on the CPU."""
    total, part = _batch(count, generator)
    return torch.rand(total, dtype=dtype, generator=generator)[part]


def integers(below: int, count: int, generator: torch.Generator) -> Tensor:
    """A random whole number from 0 to `below` - 1 for each of `count` images, int64 on the CPU."""
    total, part = _batch(count, generator)
    return torch.randint(below, (total,), generator=generator)[part]


def keep(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """A random mask with shape, type and device of `x` (batch first): 1 with `probability`, else 0."""
    total, part = _batch(len(x), generator)
    return x.new_empty(total, *x.shape[1:]).bernoulli_(probability, generator=generator)[part]


def _batch(count: int, generator: torch.Generator | None) -> tuple[int, slice]:
    """Number of images in the whole batch, and the slice of it that holds the `count` images of this rank."""
    share = generator.share if isinstance(generator, PartGenerator) else WHOLE
    total = count * share.parts
    return total, share.of(total)
