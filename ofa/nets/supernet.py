"""The supernet: shared weights for every subnet of a space. The subnet is an argument of `forward`, never a state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ofa.distributed import draws
from ofa.errors import UserError
from ofa.nets.activation_checkpointing import checkpointed
from ofa.nets.elastic_blocks import ELASTIC_BLOCKS, ElasticBlock, ElasticHead, ElasticStem
from ofa.nets.plain import initialise, set_norm_eps
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import hidden_channels, in_widths
from ofa.space.subnet import Subnet
from ofa.space.subspace import is_subspace


def branch_scale(x_BCHW: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Factor of a residual branch for each image, B x 1 x 1 x 1: 0 with probability `rate`, else 1 / (1 - rate)."""
    keep_B111 = draws.keep(x_BCHW[:, :1, :1, :1], 1 - rate, generator)
    return keep_B111 / (1 - rate)


class Supernet(nn.Module):
    """A network that contains every subnet of `space` (Cai et al., 2020, https://arxiv.org/abs/1908.09791).

    Args:
        space: the search space.
        generator: source of the random initial weights; torch's own generator if None.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space = space
        block = ELASTIC_BLOCKS[space.block]
        self.stem = ElasticStem(space)
        self.stages = nn.ModuleList(
            nn.ModuleList(block(space, s, b) for b in range(stage.depths[-1])) for s, stage in enumerate(space.stages)
        )
        self.head = ElasticHead(space)
        set_norm_eps(self, space.norm_eps)
        initialise(self, generator)

    def forward(
        self,
        images: Tensor,
        subnet: Subnet,
        generator: torch.Generator | None = None,
        drop_connect: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        """Logits of one subnet.

        Args:
            images: float32[batch, channels, height, width] of any size that the strides allow; the caller resizes.
            subnet: a subnet of the space.
            generator: source of randomness for dropout and drop-connect in training.
            drop_connect: in training, the probability that an image skips the last residual block; it falls linearly to 0
                towards the first one (Huang et al., arXiv:1603.09382).
            activation_checkpointing: in training, keep only the input of each block; the backward pass computes the rest.

        Returns:
            float32[batch, classes].

        Raises:
            UserError: the images do not have the space's channels, or the subnet (resolution apart) is not in the space.
        """
        # Without these checks a slice of the weights would fit silently: leading input channels, blocks, hidden channels.
        if images.shape[1] != self.space.in_channels:
            raise UserError(f"{self.space.name}: images have {images.shape[1]} channels; expected {self.space.in_channels}")
        self.space.check(subnet)
        x = self.stem(images, subnet.stem)
        done, last = 0, max(1, sum(len(stage.blocks) for stage in subnet.stages) - 1)
        for blocks, stage in zip(self.stages, subnet.stages, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            for block, choice in zip(blocks, stage.blocks, strict=False):  # shorter is shallower
                assert isinstance(block, ElasticBlock)
                rate = drop_connect * done / last if self.training and block.residual else 0.0
                scale_B111 = branch_scale(x, rate, generator) if rate else None
                compute = partial(checkpointed, block) if activation_checkpointing and self.training else block
                x = compute(x, choice, stage, scale_B111)
                done += 1
        logits: Tensor = self.head(x, generator)
        return logits

    def blocks(self) -> Iterator[tuple[int, int, ElasticBlock]]:
        """Every block of the stages, with the index of its stage and its index in that."""
        for s, stage in enumerate(self.stages):
            for b, block in enumerate(stage.children()):
                assert isinstance(block, ElasticBlock)
                yield s, b, block

    @torch.no_grad()
    def pass_inputs_through(self) -> None:
        """Zero the last norm of every residual block, so that it starts as the identity (Goyal et al., 2017)."""
        for _, _, block in self.blocks():
            block.pass_input_through()

    @torch.no_grad()
    def sort_channels(self, opened: SearchSpace | Sequence[float]) -> None:
        """Sort the hidden channels of every block in place, most important first; open subnets compute the same as before.

        Args:
            opened: the choices that are open (trained) already, as a subspace or as expand ratios (`[6]`: only the largest).

        Raises:
            UserError: no stage has an expand ratio, or `opened` is not a subspace of the supernet's space.
        """
        _check_opened(self.space, opened)
        for s, b, block in self.blocks():
            block.sort_hidden_channels(_opened_hidden_channels(self.space, opened, s, b))


def _check_opened(space: SearchSpace, opened: SearchSpace | Sequence[float]) -> None:
    if isinstance(opened, SearchSpace):
        if not is_subspace(opened, space):
            raise UserError(f"{opened.name} is not a subspace of {space.name}; give a restriction of the supernet's space")
        return
    known = sorted({expand for stage in space.stages for expand in stage.expands})
    for expand in opened:
        if expand not in known:
            raise UserError(f"{space.name}: expand ratio {expand!r} is in no stage; known are {known}")


def _opened_hidden_channels(space: SearchSpace, opened: SearchSpace | Sequence[float], stage: int, index: int) -> list[int]:
    """The numbers of hidden channels of a block in the open choices, ascending."""
    if isinstance(opened, SearchSpace):
        part, expands = opened, opened.stages[stage].expands
        pairs = [(i, o) for i in in_widths(part, stage, index) for o in part.stages[stage].widths]
    else:
        expands = tuple(expand for expand in space.stages[stage].expands if expand in opened)
        pairs = [(in_widths(space, stage, index)[-1], space.stages[stage].widths[-1])]
    return sorted({hidden_channels(space, expand, i, o) for expand in expands for i, o in pairs})
