"""Architecture dicts of the published package (PyPI `ofa`), read and written.

Block numbers of the published package count through all stages, absent blocks included (Cai et al.,
https://github.com/mit-han-lab/once-for-all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from ofa.errors import UserError
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Block, Stage, Stem, Subnet


def to_subnet(space: SearchSpace, arch: Mapping[str, Any], resolution: int) -> Subnet:
    """An architecture dict of the published package as a `Subnet` of one of the four published spaces.

    Args:
        space: the space; MobileNetV3 and ProxylessNAS take `ks`, `e`, `d`; ResNet50 takes `d`, `e`, `w`.
        arch: lists over all blocks of the supernet (`ks`, `e`) and over its stages (`d`, `w`); a scalar stands for all.
            As in the package, a depth larger than a stage's number of blocks means all of its blocks (the last stage of
            ProxylessNAS has one).
        resolution: side of the input in pixels.

    Raises:
        UserError: a key is missing, a list has another length, or a value is not in the space.
    """
    build = _bottleneck_subnet if space.block == "bottleneck" else _mbconv_subnet
    if not isinstance(resolution, Integral) or resolution < space.total_stride:
        raise UserError(f"arch: resolution is {resolution!r}; expected a whole number of at least {space.total_stride}")
    # Published nets run at resolutions that were never trained, so all but the resolution must be in the space.
    genes = space.encode(replace(build(space, arch, resolution), resolution=space.resolutions[0]))
    return replace(space.decode(genes)[0], resolution=int(resolution))


def to_arch(space: SearchSpace, subnet: Subnet) -> dict[str, Any]:
    """The inverse of `to_subnet`: absent blocks get the smallest choice, the resolution is under the key `image_size`.

    Raises:
        UserError: the subnet is not in the space, or the published format cannot express it.
    """
    space.check(subnet)
    if any(stage.shared_genes for stage in space.stages):
        raise UserError(f"{space.name}: squeeze-and-excitation is elastic here; the published format cannot express that")
    if space.block == "bottleneck":
        widths = [space.stem.hidden_widths.index(subnet.stem.hidden or 0), space.stem.widths.index(subnet.stem.width)]
        widths += [s.widths.index(choice.width) for s, choice in zip(space.stages, subnet.stages, strict=True)]
        depths = [2 if subnet.stem.depth == 3 else 0]
        depths += [len(choice.blocks) - s.depths[0] for s, choice in zip(space.stages, subnet.stages, strict=True)]
        arch: dict[str, Any] = {"d": depths, "e": _spread(space, subnet, "expand", 0), "w": widths}
    else:
        first = fixed_stages(space)
        depths = [len(stage.blocks) for stage in subnet.stages[first:]]
        kernels, expands = _spread(space, subnet, "kernel", first), _spread(space, subnet, "expand", first)
        arch = {"ks": kernels, "e": [int(e) if e == int(e) else e for e in expands], "d": depths}
    return arch | {"image_size": subnet.resolution}


def fixed_stages(space: SearchSpace) -> int:
    """Number of fixed stages before the elastic ones, which the published architecture dict of a MobileNet leaves out."""
    return 0 if space.stages[0].expands_channels else 1


def _spread(space: SearchSpace, subnet: Subnet, name: str, first: int) -> list[Any]:
    values = []
    for stage, choice in zip(space.stages[first:], subnet.stages[first:], strict=True):
        present = [getattr(block, name) for block in choice.blocks]
        values += present + [getattr(stage, f"{name}s")[0]] * (stage.depths[-1] - len(present))
    return values


def _mbconv_subnet(space: SearchSpace, arch: Mapping[str, Any], resolution: int) -> Subnet:
    first = fixed_stages(space)
    stages = [Stage(s.widths[-1], (Block(s.kernels[-1], s.expands[-1]),) * s.depths[-1]) for s in space.stages[:first]]
    elastic = space.stages[first:]
    slots = sum(stage.depths[-1] for stage in elastic)
    kernels, expands = _entry(arch, "ks", slots), _entry(arch, "e", slots)
    depths = _entry(arch, "d", len(elastic), whole=True)
    start = 0
    for i, (stage, depth) in enumerate(zip(elastic, depths, strict=True)):
        if depth < stage.depths[0]:
            raise UserError(f"arch: d[{i}] is {depth}; allowed are {list(stage.depths)}")
        stop = start + min(depth, stage.depths[-1])
        pairs = zip(kernels[start:stop], expands[start:stop], strict=True)
        stages.append(Stage(stage.widths[-1], tuple(Block(k, e) for k, e in pairs)))
        start += stage.depths[-1]
    return Subnet(resolution, Stem(space.stem.widths[-1]), tuple(stages))


def _bottleneck_subnet(space: SearchSpace, arch: Mapping[str, Any], resolution: int) -> Subnet:
    slots = sum(stage.depths[-1] for stage in space.stages)
    expands = _entry(arch, "e", slots)
    depths = _entry(arch, "d", len(space.stages) + 1, whole=True)
    widths = _entry(arch, "w", len(space.stages) + 2, whole=True)
    extras = [stage.depths[-1] - stage.depths[0] for stage in space.stages]
    for i, (depth, most) in enumerate(zip(depths, [max(extras), *extras], strict=True)):
        _check_range(f"d[{i}]", depth, most)
    parts = [space.stem.hidden_widths, space.stem.widths, *(stage.widths for stage in space.stages)]
    for i, (index, choices) in enumerate(zip(widths, parts, strict=True)):
        _check_range(f"w[{i}]", index, len(choices) - 1)
    # As in the package, only the largest entry adds the stem's optional convolution; 1 does not.
    stem_depth = 3 if depths[0] == max(extras) else 2
    stem = Stem(space.stem.widths[widths[1]], stem_depth, space.stem.hidden_widths[widths[0]])
    stages, start = [], 0
    for stage, extra, width in zip(space.stages, depths[1:], widths[2:], strict=True):
        chosen = expands[start : start + stage.depths[0] + extra]
        blocks = tuple(Block(stage.kernels[-1], e) for e in chosen)
        stages.append(Stage(stage.widths[width], blocks))
        start += stage.depths[-1]
    return Subnet(resolution, stem, tuple(stages))


def _entry(arch: Mapping[str, Any], key: str, length: int, whole: bool = False) -> list[Any]:
    if key not in arch:
        raise UserError(f"arch: key {key!r} is missing; it has {', '.join(map(repr, arch))}")
    value = arch[key]
    values = list(value) if isinstance(value, (list, tuple)) else [value] * length
    if len(values) != length:
        raise UserError(f"arch: {key!r} has {len(values)} entries; expected {length}")
    for i, entry in enumerate(values):
        if isinstance(entry, bool) or not isinstance(entry, Integral if whole else Real):
            raise UserError(f"arch: {key}[{i}] is {entry!r}; expected a {'whole ' if whole else ''}number")
    return values


def _check_range(place: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise UserError(f"arch: {place} is {value}; allowed are 0 to {most}")
