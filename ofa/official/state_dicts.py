"""State dicts of the published package (PyPI `ofa`), read and written; every spelling of a key in published files is known.

Block numbers of the published package count through all stages; a supernet has every block, a static net only those of its
subnet (Cai et al., https://github.com/mit-han-lab/once-for-all).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from ofa.errors import UserError
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet

Tensor = TypeVar("Tensor")

MBCONV_PARTS = {
    "expand": "conv.inverted_bottleneck",
    "depthwise": "conv.depth_conv",
    "se": "conv.depth_conv.se.fc",
    "project": "conv.point_linear",
}
BOTTLENECK_PARTS = {"reduce": "conv1", "middle": "conv2", "project": "conv3", "shortcut": "downsample"}


def convert_state_dict(theirs: Mapping[str, Tensor], space: SearchSpace, subnet: Subnet | None = None) -> dict[str, Tensor]:
    """A state dict of the published package under our names.

    Args:
        theirs: of a supernet, or of a static net; every spelling found in published files is accepted.
        space: one of the four published spaces.
        subnet: for a static net, which one it is; the result then fits `ofa.nets.plain.build_net(space, subnet)`.

    Raises:
        UserError: keys are missing, or belong to no layer; the message names both.
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


def _listing(what: str, keys: list[str], most: int = 2) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{what} keys: {', '.join(keys[:most]) or 'none'}{more}"


def _normalise(key: str) -> str:
    """A published key without repetitions: dynamic layers repeat `conv`, `bn` and `linear`, static ones do not."""
    key = key.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
    return re.sub(r"\b(conv|bn|linear)(\.\1)+\b", r"\1", key)


def _names(space: SearchSpace, subnet: Subnet | None) -> dict[str, str]:
    """The published package's name of every state-dict entry, by our name, for the supernet or for a static net."""
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
    """The published key of a layer's `conv.weight`, `norm.bias`, ...; dynamic layers repeat `conv` and `bn`."""
    part, entry = {"conv": "conv", "norm": "bn"}[rest[0]], rest[1]
    if entry.startswith("transform_"):
        return f"{prefix}.conv.{entry.removeprefix('transform_')}_matrix"
    return ".".join([prefix, part, *([part] if elastic else []), entry])
