"""Interop with the published package (PyPI `ofa`): its architecture dicts and its state dicts, both ways.

Block numbers of the published package count through all stages; a supernet has every block, a static net only those of its
subnet. `SPELLINGS` are the key spellings found in published files (Cai et al., https://github.com/mit-han-lab/once-for-all).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, TypeVar

from ofa.errors import UserError
from ofa.space.ops import make_divisible
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Block, Stage, Stem, Subnet

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
        UserError: a key is missing, a list has another length, or a value is not in the space.
    """
    build = _bottleneck_subnet if space.block == "bottleneck" else _mbconv_subnet
    if not isinstance(resolution, Integral) or resolution < space.total_stride:
        raise UserError(f"arch: resolution is {resolution!r}; expected a whole number of at least {space.total_stride}")
    # Published nets run at sizes that were never trained, so only the rest must be in the space.
    genes = space.encode(replace(build(space, arch, resolution), resolution=space.resolutions[0]))
    return replace(space.decode(genes)[0], resolution=int(resolution))


def to_arch(space: SearchSpace, subnet: Subnet) -> dict[str, Any]:
    """The inverse of `to_subnet`; entries of absent blocks are the smallest choice. The resolution is under `image_size`.

    Raises:
        UserError: the subnet is not in the space, or the published format cannot say what is chosen.
    """
    space.check(subnet)
    if any(stage.shared_genes for stage in space.stages):
        raise UserError(f"{space.name}: squeeze-and-excitation is elastic here; the published format has no word for it")
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


def arch_of_config(space: SearchSpace, config: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture dict of a `net.config`, as the published package writes one for a specialised MobileNet.

    Raises:
        UserError: a ResNet's (its architecture dict has all that is needed), a block without kernel or channels, or blocks
            that are not those of the space's stages.
    """
    if space.block != "mbconv":
        raise UserError(f"net.config of a {space.block} space cannot be read; give its architecture dict (d, e, w)")
    layers = [_layer_of_config(block, i) for i, block in enumerate(config["blocks"])]
    kernels: list[Any] = []
    expands: list[Any] = []
    depths: list[int] = []
    place = 0
    for stage in space.stages:
        own: list[dict[str, Any]] = []
        while place < len(layers) and layers[place]["out_channels"] == stage.widths[-1] and len(own) < stage.depths[-1]:
            own.append(layers[place])
            place += 1
        missing = stage.depths[-1] - len(own)
        kernels += [layer["kernel_size"] for layer in own] + [stage.kernels[0]] * missing
        expands += [_expand_of(layer, stage.expands) for layer in own] + [stage.expands[0]] * missing
        depths.append(len(own))
    if place < len(layers) or 0 in depths:
        channels = [layer["out_channels"] for layer in layers]
        raise UserError(
            f"net.config: blocks of {channels} channels are not those of {space.name}, whose stages have "
            f"{[stage.widths[-1] for stage in space.stages]}"
        )
    first = _fixed_stages(space)
    skipped = sum(stage.depths[-1] for stage in space.stages[:first])
    return {"ks": kernels[skipped:], "e": expands[skipped:], "d": depths[first:]}


def _layer_of_config(block: Any, index: int) -> dict[str, Any]:
    """Kernel, channels and expand ratio of one entry of a net.config's `blocks`."""
    layer = block.get("mobile_inverted_conv") or block.get("conv") if isinstance(block, Mapping) else None
    if not isinstance(layer, Mapping) or not layer.keys() >= {"in_channels", "out_channels", "kernel_size"}:
        raise UserError(f"net.config: blocks[{index}] has no mobile_inverted_conv with channels and kernel_size")
    kernel = layer["kernel_size"]
    return {**layer, "kernel_size": kernel[0] if isinstance(kernel, list) else kernel}


def _expand_of(layer: Mapping[str, Any], choices: Sequence[float]) -> float:
    """The expand ratio whose rounded channels are the layer's; its own ratio where none is."""
    middle, channels = layer.get("mid_channels"), layer["in_channels"]
    fitting = [ratio for ratio in choices if middle and make_divisible(channels * ratio) == middle]
    ratio = float(fitting[0] if fitting else layer.get("expand_ratio") or 1)
    return int(ratio) if ratio.is_integer() else ratio


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
    # As in the package, only the largest entry brings in the stem's optional convolution: 1 does not.
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


# -- weights -------------------------------------------------------------------------------------------------------------


def convert_state_dict(theirs: Mapping[str, Tensor], space: SearchSpace, subnet: Subnet | None = None) -> dict[str, Tensor]:
    """A state dict of the published package under our names.

    Args:
        theirs: of a supernet, or of a static net; every spelling found in published files is accepted.
        space: one of the four published spaces.
        subnet: for a static net, which one it is; the result then fits `ofa.nets.plain.build_net(space, subnet)`.

    Raises:
        UserError: keys are missing, or there are some that no layer has; both are named.
    """
    by_key: dict[str, str] = {}
    for key in theirs:
        first = by_key.setdefault(_normalise(key), key)
        if first != key:
            raise UserError(f"{space.name}: keys {first!r} and {key!r} are spellings of the same entry; give one")
    names = {ours: _normalise(key) for ours, key in _names(space, subnet).items()}
    missing = [key for ours, key in names.items() if key not in by_key and not ours.endswith("num_batches_tracked")]
    known = set(names.values())
    unexpected = [original for key, original in by_key.items() if key not in known]
    if missing or unexpected:
        raise UserError(
            f"{space.name}: keys do not fit: {_listing('missing', missing)}; {_listing('unexpected', unexpected)}"
        )
    return {ours: theirs[by_key[key]] for ours, key in names.items() if key in by_key}


def to_official_state_dict(
    ours: Mapping[str, Tensor], space: SearchSpace, subnet: Subnet | None = None
) -> dict[str, Tensor]:
    """The inverse of `convert_state_dict`, spelled as the published package's own `state_dict()` does."""
    names = _names(space, subnet)
    missing, unexpected = [name for name in names if name not in ours], [name for name in ours if name not in names]
    if missing or unexpected:
        raise UserError(
            f"{space.name}: keys do not fit: {_listing('missing', missing)}; {_listing('unexpected', unexpected)}"
        )
    return {key: ours[name] for name, key in names.items()}


def _listing(what: str, keys: list[str], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{what} keys: {', '.join(keys[:most]) or 'none'}{more}"


def _normalise(key: str) -> str:
    """One spelling of a published key: dynamic layers repeat `conv`, `bn` and `linear`, static ones do not."""
    key = key.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
    return re.sub(r"\b(conv|bn|linear)(\.\1)+\b", r"\1", key)


def _names(space: SearchSpace, subnet: Subnet | None) -> dict[str, str]:
    """Our name of every state-dict entry -> the published package's, of the supernet or of a static net."""
    from ofa.nets.plain import empty_net
    from ofa.nets.supernet import Supernet

    if subnet is None:
        import torch

        with torch.device("meta"):
            entries = list(Supernet(space).state_dict())
        depths = [stage.depths[-1] for stage in space.stages]
    else:
        entries = list(empty_net(space, subnet).state_dict())
        depths = [len(stage.blocks) for stage in subnet.stages]
    starts = [sum(depths[:i]) for i in range(len(depths))]
    stem_depth = space.stem.depths[-1] if subnet is None else subnet.stem.depth
    return {entry: _their_name(space, entry, starts, stem_depth, elastic=subnet is None) for entry in entries}


def _their_name(space: SearchSpace, entry: str, starts: list[int], stem_depth: int, elastic: bool) -> str:
    part, *rest = entry.split(".")
    if part == "stem":
        layer, *rest = rest
        prefix = {"first": "input_stem.0", "middle": "input_stem.1.conv", "last": f"input_stem.{stem_depth - 1}"}[layer]
        if space.block == "mbconv":
            prefix = "first_conv"
        return _layer(prefix, rest, elastic and space.block == "bottleneck")
    if part == "head":
        layer, *rest = rest
        if layer == "classifier":
            doubled = elastic and space.block == "bottleneck"
            return ".".join(["classifier.linear", *(["linear"] if doubled else []), *rest])
        if layer == "features":
            return f"feature_mix_layer.conv.{rest[-1]}"
        return _layer("feature_mix_layer" if space.head.features is None else "final_expand_layer", rest, False)
    stage, block, layer, *rest = rest
    prefix = f"blocks.{starts[int(stage)] + int(block)}"
    if space.block == "bottleneck":
        return _layer(f"{prefix}.{BOTTLENECK_PARTS[layer]}", rest, elastic)
    if layer == "se":
        return f"{prefix}.{MBCONV_PARTS['se']}.{'.'.join(rest)}"
    return _layer(f"{prefix}.{MBCONV_PARTS[layer]}", rest, elastic and space.stages[int(stage)].expands_channels)


def _layer(prefix: str, rest: list[str], elastic: bool) -> str:
    """`conv.weight`, `norm.bias`, ... of one layer; a dynamic layer of the package repeats its parts."""
    part, entry = {"conv": "conv", "norm": "bn"}[rest[0]], rest[1]
    if entry.startswith("transform_"):
        return f"{prefix}.conv.{entry.removeprefix('transform_')}_matrix"
    return ".".join([prefix, part, *([part] if elastic else []), entry])
