"""Mean of gradients over ranks: exchanged after the last backward pass on CPUs, while it computes on GPUs.

As in PyTorch's DistributedDataParallel (Li et al., VLDB 2020), gradients are exchanged in buckets, each as soon as its
gradients are complete. There, an exchange follows every backward pass; here several subnets add to a gradient, so only the
backward pass of the last one completes it. On CPUs the exchange takes time of the cores that compute, and buckets cost more
than they hide (docs/scaling.md): there, one exchange follows the backward pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 4 * 2**20
"""Least size of a bucket; the last may be smaller."""


class Exchange:
    """Tensors whose sum over the ranks is being computed."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self.flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self.work: Any = dist.all_reduce(self.flat, async_op=True)

    def finish(self, ranks: int) -> None:
        """Wait for the sum, and replace the tensors by their mean."""
        self.work.wait()
        self.flat /= ranks
        torch._foreach_copy_(list(self.tensors), views(self.flat, self.tensors))


@contextmanager
def averaged_after(
    net: nn.Module, total: Tensor, ranks: int, contact: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """A block that runs the last backward pass; after it, all gradients of a net and `total` become means over the ranks.

    Args:
        net: the net; the same parameters have gradients on every rank.
        total: a tensor to average beside the gradients.
        ranks: number of ranks.
        contact: context in which a failed exchange becomes a message.
    """
    yield
    with contact():
        Exchange([*(value.grad for value in net.parameters() if value.grad is not None), total]).finish(ranks)


@contextmanager
def averaged_during(
    net: nn.Module, loss: Tensor, total: Tensor, ranks: int, contact: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """A block that runs the backward pass of `loss`; after it, all gradients of a net and `total` are means over the ranks.

    All ranks have the same graph, so they exchange the same buckets in the same order.

    Args:
        net: the net, perhaps with gradients of other losses.
        loss: the last of the losses.
        total: a tensor to average beside the gradients.
        ranks: number of ranks.
        contact: context in which a failed exchange becomes a message.
    """
    parameters, coming = list(net.parameters()), _leaves(loss)
    complete = [parameter.grad for parameter in parameters if parameter.grad is not None and parameter not in coming]
    buckets = deque(_buckets(parameter for parameter in reversed(parameters) if parameter in coming))
    done: set[Tensor] = set()
    with contact():
        begun = [Exchange([*complete, total])]

    def begin(parameter: Tensor) -> None:
        done.add(parameter)
        while buckets and done.issuperset(buckets[0]):
            with contact():
                begun.append(Exchange([member.grad for member in buckets.popleft() if member.grad is not None]))

    hooks = [parameter.register_post_accumulate_grad_hook(begin) for parameter in coming]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    left = [member.grad for bucket in buckets for member in bucket if member.grad is not None]
    with contact():
        if left:  # a backward pass may leave out a parameter that the loss depends on
            begun.append(Exchange(left))
        for exchange in begun:
            exchange.finish(ranks)


def views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A flat tensor as views with the shapes of `like`."""
    parts = torch.split(flat, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def _leaves(loss: Tensor) -> set[Tensor]:
    """The parameters that a loss depends on."""
    found: set[Any] = set()
    open_nodes = [loss.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node is not None and node not in found:
            found.add(node)
            open_nodes += [following for following, _ in node.next_functions]
    return {node.variable for node in found if hasattr(node, "variable")}


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in groups of at least `BUCKET_BYTES`, the last with what is left."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(member.nbytes for member in bucket) >= BUCKET_BYTES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
