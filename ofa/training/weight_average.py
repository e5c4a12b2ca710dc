"""The moving average of a supernet's weights: less noisy than the weights themselves while the learning rate is high."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ofa.nets.supernet import Supernet


class WeightAverage:
    """An exponential moving average (Polyak and Juditsky, 1992), in a supernet of its own.

    Args:
        supernet: whose weights are averaged; nothing but its values is used.
        decay: share of the average that a step keeps. While young less: step `n` keeps at most (1 + n) / (10 + n).
    """

    def __init__(self, supernet: Supernet, decay: float) -> None:
        self.net = deepcopy(supernet).requires_grad_(False)
        self.decay = decay
        self._averages, self._averaged = _floats(self.net), _floats(supernet)

    def restart(self) -> None:
        """Forget the past: the weights as they are (after a sort, channels mean something else)."""
        self._keep(0.0)

    def update(self, step: int) -> None:
        """Take in the weights after step `step` since the restart."""
        self._keep(min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def _keep(self, share: float) -> None:
        torch._foreach_lerp_(self._averages, self._averaged, 1 - share)


def _floats(net: nn.Module) -> list[Tensor]:
    """Parameters and batch-norm statistics, without the counts."""
    return [value.detach() for value in net.state_dict(keep_vars=True).values() if value.is_floating_point()]
