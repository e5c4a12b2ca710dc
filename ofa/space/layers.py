"""Names of a block's layers, the same in its plain module, its elastic module and in files of weights. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ofa.space.ops import CONVOLUTIONS, BlockShape, OpShape
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import walk_blocks
from ofa.space.subnet import Subnet


class NamedBlock(NamedTuple):
    """A block of a subnet (stem and head included) with the name of its module, such as `stages.0.1`."""

    name: str
    shape: BlockShape
    kernels: tuple[int, ...]
    """The kernel sizes of its stage in pixels, ascending; for stem and head, the stem's."""


def named_blocks(space: SearchSpace, subnet: Subnet) -> Iterator[NamedBlock]:
    """The blocks of a subnet in the order of `walk_blocks`, with their names."""
    shapes = walk_blocks(space, subnet)
    yield NamedBlock("stem", next(shapes), (space.stem.kernel,))
    for s, (stage, choices) in enumerate(zip(subnet.stages, space.stages, strict=True)):
        for b in range(len(stage.blocks)):
            yield NamedBlock(f"stages.{s}.{b}", next(shapes), choices.kernels)
    yield NamedBlock("head", next(shapes), (space.stem.kernel,))


def layers(shape: BlockShape) -> dict[str, OpShape]:
    """The operations of a block that hold weights, by name, in the order of `shape.ops`."""
    beside, main = ([op for op in ops if op.kind in CONVOLUTIONS] for ops in (shape.shortcut, shape.main))
    return dict(zip(("shortcut",) * len(beside) + _NAMES[shape.kind](shape, len(main)), beside + main, strict=True))


def _of_stem(shape: BlockShape, count: int) -> tuple[str, ...]:
    return (("first",), ("first", "last"), ("first", "middle", "last"))[count - 1]


def _of_mbconv(shape: BlockShape, count: int) -> tuple[str, ...]:
    gate = ("se.reduce", "se.expand") if any(op.kind == "scale" for op in shape.main) else ()
    return ("expand", "depthwise", *gate, "project")[3 + len(gate) - count :]


def _of_bottleneck(shape: BlockShape, count: int) -> tuple[str, ...]:
    return ("reduce", "middle", "project")


def _of_head(shape: BlockShape, count: int) -> tuple[str, ...]:
    kinds = [op.kind for op in shape.main]
    before = kinds.index("global_pool")
    return ("conv",) * before + ("features.0",) * (count - before - 1) + ("classifier",)


_NAMES = {"stem": _of_stem, "mbconv": _of_mbconv, "bottleneck": _of_bottleneck, "head": _of_head}
