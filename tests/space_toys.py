"""Small spaces for tests: every kind of elasticity, few subnets."""

from __future__ import annotations

from itertools import product
from typing import Any

from ofa.files import shipped
from ofa.space.search_space import HeadSpace, SearchSpace, StageSpace, StemSpace, load_space
from ofa.space.subnet import Block, Stage, Stem, Subnet

SHIPPED = shipped.names("spaces")


def tiny_space(**changes: Any) -> SearchSpace:
    """3840 subnets, with every kind of gene; `changes` replace fields of the space."""
    facts: dict[str, Any] = {
        "name": "tiny",
        "block": "mbconv",
        "stem": StemSpace(widths=(8, 16), hidden_widths=(8, 12), depths=(2, 3)),
        "stages": (
            StageSpace(widths=(8,), depths=(1,), kernels=(3,), expands=(1.0,)),
            StageSpace(widths=(16, 24), depths=(1, 3), kernels=(3, 5), expands=(2.0,)),
            StageSpace(widths=(24,), depths=(1, 2), kernels=(3,), expands=(2.0, 4.0, 6.0), stride=2),
        ),
        "head": HeadSpace(),
        "resolutions": (16, 24),
        "classes": 4,
    }
    return SearchSpace(**(facts | changes))


def every_subnet(space: SearchSpace) -> list[Subnet]:
    """All of a small space, enumerated without its genes."""
    stages = []
    for stage in space.stages:
        blocks = [Block(kernel, expand) for kernel in stage.kernels for expand in stage.expands]
        shared = stage.se if isinstance(stage.se, tuple) else (None,)
        chosen = [made for depth in stage.depths for made in product(blocks, repeat=depth)]
        stages.append([Stage(width, made, se) for width in stage.widths for se in shared for made in chosen])
    hidden = space.stem.hidden_widths or (None,)
    stems = [Stem(w, d, h) for w in space.stem.widths for d in space.stem.depths for h in hidden]
    return [Subnet(r, stem, chosen) for r in space.resolutions for stem in stems for chosen in product(*stages)]


def wide_space(**changes: Any) -> SearchSpace:
    """mbconv blocks with elastic stem and stage widths, squeeze-excite, three kernels, a whole head."""
    facts: dict[str, Any] = {
        "name": "wide",
        "block": "mbconv",
        "in_channels": 2,
        "stem": StemSpace(widths=(8, 16), activation="h_swish"),
        "stages": (
            StageSpace(widths=(16,), depths=(1, 2), kernels=(3, 5), expands=(1.0,), activation="relu"),
            StageSpace(widths=(16, 24), depths=(1, 2), kernels=(3, 5, 7), expands=(2.0, 3.0, 6.0), stride=2, se=True),
            StageSpace(widths=(24, 32), depths=(2,), kernels=(3, 5), expands=(3.0, 6.0), activation="swish", se=True),
        ),
        "head": HeadSpace(width=48, features=40, activation="h_swish", dropout=0.2),
        "resolutions": (12, 16),
        "classes": 5,
    }
    return SearchSpace(**(facts | changes))


def deep_space(**changes: Any) -> SearchSpace:
    """Bottleneck blocks with elastic kernels and widths, a deep stem with a pool: ResNet's shape, small."""
    facts: dict[str, Any] = {
        "name": "deep",
        "block": "bottleneck",
        "stem": StemSpace(widths=(16, 24), hidden_widths=(8, 16), depths=(2, 3), pool=True),
        "stages": (
            StageSpace(widths=(24, 32), depths=(1, 2), kernels=(3, 5), expands=(0.25, 0.5, 1.0)),
            StageSpace(widths=(32, 48), depths=(2, 3), kernels=(3,), expands=(0.25, 0.5), stride=2),
        ),
        "head": HeadSpace(dropout=0.1),
        "resolutions": (24, 32),
        "classes": 5,
    }
    return SearchSpace(**(facts | changes))


def gated_space(**changes: Any) -> SearchSpace:
    """288 subnets; squeeze-excite is chosen in two stages, of which one has no expansion, and fixed in the third."""
    facts: dict[str, Any] = {
        "name": "gated",
        "block": "mbconv",
        "in_channels": 1,
        "stem": StemSpace(widths=(8,), stride=1),
        "stages": (
            StageSpace(widths=(8,), depths=(1,), kernels=(3, 5), expands=(1.0,), se=(False, True)),
            StageSpace(widths=(16, 24), depths=(1, 2), kernels=(3,), expands=(2.0, 4.0), stride=2, se=(False, True)),
            StageSpace(widths=(24,), depths=(1,), kernels=(3,), expands=(2.0, 3.0, 6.0), stride=2, se=True),
        ),
        "head": HeadSpace(width=32),
        "resolutions": (8,),
        "classes": 3,
    }
    return SearchSpace(**(facts | changes))


def toy_space(name: str) -> SearchSpace:
    """One of the shipped spaces or of the small ones here, by name."""
    toys = {"tiny": tiny_space, "wide": wide_space, "deep": deep_space, "gated": gated_space}
    return toys[name]() if name in toys else load_space(name)


PROFILED = """\
name: tiny
block: mbconv
in_channels: 1
classes: 3
resolutions: [8, 12]
stem: {widths: [8], stride: 2}
stages:
  - {widths: [8], depths: [1, 2], kernels: [3], expands: [2, 3], se: true}
head: {width: 16}
"""
"""YAML of a space whose blocks are measured in a second."""
