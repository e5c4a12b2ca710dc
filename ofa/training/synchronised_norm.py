"""Batch norm over a batch that several ranks share, with the same result as on one rank that has all of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.distributed.world import World
from ofa.measure.recalibration import batch_statistics
from ofa.nets.elastic_layers import ElasticNorm


def synchronise_norms(net: nn.Module, world: World) -> None:
    """Replace every batch norm of a supernet or a plain net by one that normalises over all ranks; tensors are shared."""
    if world.size == 1:
        return
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SynchronisedNorm(child, world))


class SynchronisedNorm(ElasticNorm):
    """A batch norm of the leading channels whose mean and variance in training are over the images of all ranks."""

    def __init__(self, norm: nn.BatchNorm2d, world: World) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_from(norm)
        self.world = world

    def load_from(self, norm: nn.BatchNorm2d) -> None:
        """Use the tensors of another norm; they are shared, not copied."""
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Shape is kept."""
        if not self.training:
            return super().forward(x_BCHW)
        n = x_BCHW.shape[1]
        y: Tensor
        y, mean, var = _Normalise.apply(  # type: ignore[no-untyped-call]
            x_BCHW, self.weight[:n], self.bias[:n], self.eps, self.world
        )
        assert self.running_mean is not None
        assert self.running_var is not None
        count = self.world.size * x_BCHW.numel() // n
        momentum = self.momentum or 0.0
        with torch.no_grad():
            self.running_mean[:n].lerp_(mean, momentum)
            self.running_var[:n].lerp_(var * (count / max(1, count - 1)), momentum)
        return y


class _Normalise(torch.autograd.Function):
    """Normalisation over all ranks: forward exchanges two numbers per channel, backward two (Ioffe and Szegedy, 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, world: World) -> tuple[Tensor, ...]:
        means, variances = world.stack(torch.stack(batch_statistics(x.to(weight.dtype)))).unbind(1)  # each: ranks x channels
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)  # every rank has as many images
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.world = eps, world
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, mean, var = ctx.saved_tensors
        grad = grads[0]
        # The gradient as if the statistics were constants (CUDA needs saved statistics, even if empty, for channels-last)
        # ...
        none = mean.new_empty(0)
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, none, none, False, ctx.eps, [True, True, True]
        )
        # ... plus that through the statistics: means over the whole batch of the gradient, and of gradient x normalised x.
        count = x.numel() // x.shape[1]
        of_bias, of_weight = ctx.world.stack(torch.stack((grad_bias, grad_weight))).mean(0) / count
        normalised = F.batch_norm(x, mean, var, None, None, False, 0.0, ctx.eps)
        through = torch.addcmul(of_bias[:, None, None], normalised, of_weight[:, None, None])
        scale = weight * torch.rsqrt(var + ctx.eps)
        return grad_x.addcmul_(through, scale[:, None, None], value=-1.0), grad_weight, grad_bias, None, None
