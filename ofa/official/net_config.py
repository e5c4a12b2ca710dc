"""The `net.config` of the published package (PyPI `ofa`): a specialised net, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ofa.errors import UserError
from ofa.official.architectures import fixed_stages
from ofa.space.kinds import KINDS
from ofa.space.parts import StageSpace
from ofa.space.search_space import SearchSpace

FAMILIES = {"MobileNetV3": "mbconv", "ProxylessNASNets": "mbconv", "ResNets": "bottleneck"}
"""Kind of a net's blocks, by the name of the net in its config."""
CHANNELS = {"in_channels", "out_channels", "kernel_size"}


def arch_of_config(space: SearchSpace, config: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture dict of a `net.config`, which the published package writes for a specialised net.

    Raises:
        UserError: the net is of another kind, a block has no kernel or channels, or the blocks do not fit the space's
            stages.
    """
    kind = FAMILIES.get(str(config.get("name")), space.block)
    if kind != space.block or not isinstance(config["blocks"], list):
        raise UserError(f"net.config: is of a {str(config.get('name'))[:40]}; {space.name} has blocks of kind {space.block}")
    layers = [_layer(block, i) for i, block in enumerate(config["blocks"])]
    own, place = [], 0
    for stage in space.stages:
        end = place
        while end < min(len(layers), place + stage.depths[-1]) and _continues(stage, layers[place], layers[end]):
            end += 1
        own.append(layers[place:end])
        place = end
    if place < len(layers) or [] in own:
        channels = [layer["out_channels"] for layer in layers]
        allowed = [stage.widths[-1] if len(stage.widths) == 1 else list(stage.widths) for stage in space.stages]
        raise UserError(
            f"net.config: blocks of {channels} channels are not those of {space.name}, whose stages have {allowed}"
        )
    first = fixed_stages(space)
    pairs = list(zip(space.stages, own, strict=True))[first:]
    kernels = [k for stage, of in pairs for k in _filled([layer["kernel_size"] for layer in of], stage, stage.kernels[0])]
    expands = [e for stage, of in pairs for e in _filled([_expand(space, x, stage) for x in of], stage, stage.expands[0])]
    if space.block == "mbconv":
        return {"ks": kernels, "e": expands, "d": [len(of) for _, of in pairs]}
    hidden, width, depth = _stem(space, config.get("input_stem"))
    widths = [stage.widths.index(of[0]["out_channels"]) for stage, of in pairs]
    depths = [len(of) - stage.depths[0] for stage, of in pairs]
    return {"d": [depth, *depths], "e": expands, "w": [hidden, width, *widths]}


def _continues(stage: StageSpace, first: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    """True where a layer belongs to the stage whose first layer is `first`."""
    return first["out_channels"] in stage.widths and layer["out_channels"] == first["out_channels"]


def _filled(values: list[Any], stage: StageSpace, absent: Any) -> list[Any]:
    return values + [absent] * (stage.depths[-1] - len(values))


def _layer(block: Any, index: int) -> dict[str, Any]:
    """Kernel, channels and expand ratio of one entry of a net.config's `blocks`."""
    layer = None
    if isinstance(block, Mapping):
        layer = block.get("mobile_inverted_conv") or block.get("conv") or block
    if not isinstance(layer, Mapping) or not layer.keys() >= CHANNELS:
        raise UserError(f"net.config: blocks[{index}] has no mobile_inverted_conv with channels and kernel_size")
    kernel = layer["kernel_size"]
    return {**layer, "kernel_size": kernel[0] if isinstance(kernel, list) and kernel else kernel}


def _expand(space: SearchSpace, layer: Mapping[str, Any], stage: StageSpace) -> float:
    """The stage's expand ratio that gives the layer's hidden channels; the layer's own ratio if none does."""
    middle, kind = layer.get("mid_channels"), KINDS[space.block]
    channels = layer["in_channels"], layer["out_channels"]
    if not all(isinstance(count, int) for count in channels):
        raise UserError(f"net.config: a block has {channels[0]!r} and {channels[1]!r} channels; expected whole numbers")
    fitting = [ratio for ratio in stage.expands if middle and kind.hidden_channels(ratio, *channels) == middle]
    ratio = fitting[0] if fitting else layer.get("expand_ratio") or 1
    return int(ratio) if isinstance(ratio, float) and ratio.is_integer() else ratio


def _stem(space: SearchSpace, layers: Any) -> tuple[int, int, int]:
    """Indices of a ResNet stem's hidden and output width, and 2 if it has the optional convolution, else 0."""
    try:
        first, *middle, last = layers
        inside, out = space.stem.hidden_widths, space.stem.widths
        return inside.index(first["out_channels"]), out.index(last["out_channels"]), 2 if middle else 0
    except (TypeError, ValueError, KeyError):
        raise UserError(
            f"net.config: input_stem is {str(layers)[:60]}; expected 2 or 3 convolutions of {list(space.stem.hidden_widths)}"
            f" channels and, the last, {list(space.stem.widths)}"
        ) from None
