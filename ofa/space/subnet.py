"""A subnet: one choice for everything elastic. Depth is the length of a tuple, so there are no unused genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ofa.files import schema


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its kernel size in pixels, and its hidden channels per input channel (bottleneck: per output channel)."""

    kernel: int
    expand: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its output channels, its blocks from first to last, and the choices that the blocks share."""

    width: int
    blocks: tuple[Block, ...]
    se: bool | None = None
    """True: its blocks have squeeze-and-excitation. None: the space leaves no choice."""

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)


@dataclass(frozen=True, slots=True)
class Stem:
    """The layers before the stages: output channels, number of convolutions, and (before rounding) channels between them."""

    width: int
    depth: int = 1
    hidden: int | None = None


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network out of a `SearchSpace`; `resolution` is the side of its square input in pixels."""

    resolution: int
    stem: Stem
    stages: tuple[Stage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dicts, as stored in `subnet.json`."""
        plain = dict(schema.to_plain(self))
        for stage in plain["stages"]:
            if stage["se"] is None:
                del stage["se"]  # subnets of spaces without this choice are written as by earlier versions
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any], place: str = "subnet") -> Subnet:
        """The inverse of `to_dict`; raises `UserError` on unknown or missing keys."""
        return schema.build(cls, data, place)
