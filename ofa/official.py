"""Interop with the published package (PyPI `ofa`): its architecture dicts and its state dicts, both ways.

Block numbers of the published package count through all stages; a supernet has every block, a static net only those of its
subnet. `SPELLINGS` are the key spellings found in published files (Cai et al., https://github.com/mit-han-lab/once-for-all).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ofa.errors import UserError
from ofa.space import SearchSpace
from ofa.subnet import Block, Stage, Stem, Subnet

Tensor = TypeVar("Tensor")

MBCONV_PARTS = {
    "expand": "conv.inverted_bottleneck",
    "depthwise": "conv.depth_conv",
    "se": "conv.depth_conv.se.fc",
    "project": "conv.point_linear",
}
BOTTLENECK_PARTS = {"reduce": "conv1", "middle": "conv2", "project": "conv3", "shortcut": "downsample"}


# -- architectures -------------------------------------------------------------------------------------------------------


def to_subnet(space: SearchSpace, arch: Mapping[str, Any], resolution: int) -> Subnet:
    """An architecture dict of the published package as a `Subnet` of one of the four published spaces.

    Args:
        space: the space; MobileNetV3 and ProxylessNAS take `ks`, `e`, `d`; ResNet50 takes `d`, `e`, `w`.
        arch: lists over all blocks of the supernet (`ks`, `e`) and over its stages (`d`, `w`); a scalar stands for all.
            As in the package, a depth beyond a stage's blocks means all of them (ProxylessNAS's last stage has one).
        resolution: side of the input in pixels.

    Raises:
        UserError: a key is missing, a list is too short, or a value is not in the space.
    """
    subnet = _bottleneck_subnet(space, arch, resolution) if space.block == "bottleneck" else _mbconv_subnet(space, arch, resolution)
    _check_choices(space, subnet)
    return subnet


def to_arch(space: SearchSpace, subnet: Subnet) -> dict[str, Any]:
    """The inverse of `to_subnet`; entries of absent blocks are the smallest choice. The resolution is under `image_size`."""
    if space.block == "bottleneck":
        widths = [space.stem.hidden_widths.index(subnet.stem.hidden or 0), space.stem.widths.index(subnet.stem.width)]
        widths += [s.widths.index(choice.width) for s, choice in zip(space.stages, subnet.stages, strict=True)]
        depths = [2 if subnet.stem.depth == 3 else 0]
        depths += [len(choice.blocks) - s.depths[0] for s, choice in zip(space.stages, subnet.stages, strict=True)]
        arch: dict[str, Any] = {"d": depths, "e": _spread(space, subnet, "expand", 0), "w": widths}
    else:
        first = _fixed_stages(space)
        depths = [len(stage.blocks) for stage in subnet.stages[first:]]
        kernels, expands = _spread(space, subnet, "kernel", first), _spread(space, subnet, "expand", first)
        arch = {"ks": kernels, "e": [int(e) if e == int(e) else e for e in expands], "d": depths}
    return arch | {"image_size": subnet.resolution}


def _fixed_stages(space: SearchSpace) -> int:
    """The published MobileNets count their first, fixed block apart."""
    return 0 if space.stages[0].expands_channels else 1


def _spread(space: SearchSpace, subnet: Subnet, name: str, first: int) -> list[Any]:
    values = []
    for stage, choice in zip(space.stages[first:], subnet.stages[first:], strict=True):
        present = [getattr(block, name) for block in choice.blocks]
        values += present + [getattr(stage, f"{name}s")[0]] * (stage.depths[-1] - len(present))
    return values


def _mbconv_subnet(space: SearchSpace, arch: Mapping[str, Any], resolution: int) -> Subnet:
    first = _fixed_stages(space)
    stages = [
        Stage(s.widths[-1], (Block(s.kernels[-1], s.expands[-1]),) * s.depths[-1]) for s in space.stages[:first]
    ]
    elastic = space.stages[first:]
    slots = sum(stage.depths[-1] for stage in elastic)
    kernels, expands = _entry(arch, "ks", slots), _entry(arch, "e", slots)
    depths = _entry(arch, "d", len(elastic))
    start = 0
    for stage, depth in zip(elastic, depths, strict=True):
        stop = start + min(depth, stage.depths[-1])
        pairs = zip(kernels[start:stop], expands[start:stop], strict=True)
        stages.append(Stage(stage.widths[-1], tuple(Block(int(k), float(e)) for k, e in pairs)))
        start += stage.depths[-1]
    return Subnet(resolution, Stem(space.stem.widths[-1]), tuple(stages))


def _bottleneck_subnet(space: SearchSpace, arch: Mapping[str, Any], resolution: int) -> Subnet:
    slots = sum(stage.depths[-1] for stage in space.stages)
    expands = _entry(arch, "e", slots)
    depths, widths = _entry(arch, "d", len(space.stages) + 1), _entry(arch, "w", len(space.stages) + 2)
    for i, index in enumerate(widths):
        if index not in range(len(space.stem.widths)):
            raise UserError(f"arch: w[{i}] is {index!r}; allowed are 0 to {len(space.stem.widths) - 1}")
    stem = Stem(space.stem.widths[widths[1]], 3 if depths[0] > 0 else 2, space.stem.hidden_widths[widths[0]])
    stages, start = [], 0
    for stage, extra, width in zip(space.stages, depths[1:], widths[2:], strict=True):
        chosen = expands[start : start + stage.depths[0] + extra]
        blocks = tuple(Block(stage.kernels[-1], float(e)) for e in chosen)
        stages.append(Stage(stage.widths[width], blocks))
        start += stage.depths[-1]
    return Subnet(resolution, stem, tuple(stages))


def _entry(arch: Mapping[str, Any], key: str, length: int) -> list[Any]:
    if key not in arch:
        raise UserError(f"arch: key {key!r} is missing; it has {', '.join(map(repr, arch))}")
    value = arch[key]
    values = list(value) if isinstance(value, (list, tuple)) else [value] * length
    if len(values) != length:
        raise UserError(f"arch: {key!r} has {len(values)} entries; expected {length}")
    return values


def _check_choices(space: SearchSpace, subnet: Subnet) -> None:
    """Everything but the resolution must be in the space: published nets run at sizes that were never trained."""
    from dataclasses import replace

    space.encode(replace(subnet, resolution=space.resolutions[0]))
