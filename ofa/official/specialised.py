"""Specialised nets of the published package: folders with `net.config`, `run.config` and the weights in `init`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError
from ofa.files.atomic import read_json
from ofa.official.architectures import to_subnet
from ofa.official.checkpoint import SUPERNETS, read_static_net
from ofa.official.net_config import arch_of_config
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Subnet

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "init"


def read_specialised(
    weights: Path, config: Path, space: SearchSpace | None = None, resolution: int | None = None
) -> tuple[SearchSpace, Subnet, nn.Module]:
    """A specialised net as a subnet of its space, and as a plain module in eval mode with its own weights.

    Args:
        weights: a file of `torch.save`.
        config: its net.config.
        space: the space of the subnet; None finds the published space that the config fits.
        resolution: side of the images in pixels; None takes it from `run.config` beside the config.

    Returns:
        The space, the subnet and the module. The space has the config's batch-norm epsilon, and its resolutions include
        that of the net, at which the supernet may never have been trained.

    Raises:
        UserError: a file is missing or damaged, the config fits no published space, or the weights are of another net.
    """
    from ofa.nets.plain import empty_net

    content = _read_config(config)
    size = _resolution(config.with_name("run.config"), resolution)
    try:
        space = _space_of(content) if space is None else space
        subnet = to_subnet(space, arch_of_config(space, content), size)
        space = replace(space, norm_eps=_norm_eps(content, space), resolutions=tuple(sorted({*space.resolutions, size})))
    except (UserError, ValueError) as error:
        raise UserError(f"{config}: {error}") from None
    module = empty_net(space, subnet)
    module.load_state_dict(read_static_net(weights, space, subnet))
    return space, subnet, module.eval()


def _read_config(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("blocks"), list):
        raise UserError(f"{path}: holds {str(content)[:40]}; expected the net.config of a published net (blocks)")
    return content


def _space_of(config: Mapping[str, Any]) -> SearchSpace:
    """The published space that a config fits."""
    for name in SUPERNETS:
        space = load_space(name)
        try:
            to_subnet(space, arch_of_config(space, config), space.resolutions[-1])
        except UserError:
            continue
        return space
    raise UserError(f"net.config: of none of the published spaces ({', '.join(SUPERNETS)}); name its space with --space")


def _resolution(run_config: Path, given: int | None) -> int:
    if given is None and not run_config.exists():
        raise UserError(f"{run_config}: no such file, so --resolution must say for how large images the net is")
    told = read_json(run_config) if given is None else given
    size = told.get("image_size") if isinstance(told, dict) else told
    if not isinstance(size, int) or isinstance(size, bool):
        raise UserError(f"{run_config}: image_size is {str(size)[:40]}; expected a whole number of pixels")
    return size


def _norm_eps(config: Mapping[str, Any], space: SearchSpace) -> float:
    told = config.get("bn")
    return float(told["eps"]) if isinstance(told, Mapping) and isinstance(told.get("eps"), (int, float)) else space.norm_eps
