"""Activation checkpointing (Chen et al., arXiv:1604.06174): less memory, more time, the same gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(block: nn.Module, *inputs: Any) -> Tensor:
    """Output of `block` for `inputs`; only the inputs are stored, and the backward pass computes the block again.

    The block must not draw random numbers. Its batch norms see the batch twice, but update their statistics once.
    """
    out: Tensor = checkpoint(
        block,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _same_statistics(block)),
    )
    return out


@contextmanager
def _same_statistics(block: nn.Module) -> Iterator[None]:
    """Keep batch norms from updating their running statistics."""
    norms = [child for child in block.modules() if isinstance(child, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
