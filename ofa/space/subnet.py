"""One choice out of a search space. Depth is the length of a tuple, so an unused gene cannot exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ofa.files import schema


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its kernel size in pixels and the ratio of hidden to (input or output) channels."""

    kernel: int
    expand: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: output channels and its blocks, first to last."""

    width: int
    blocks: tuple[Block, ...]

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)


@dataclass(frozen=True, slots=True)
class Stem:
    """What comes before the stages: output channels; convolutions; nominal channels of the inner ones, if any."""

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
        return dict(schema.to_plain(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any], place: str = "subnet") -> Subnet:
        """The inverse of `to_dict`; raises `UserError` on unknown or missing keys."""
        return schema.build(cls, data, place)
