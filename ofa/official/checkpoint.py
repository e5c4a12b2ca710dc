"""Read checkpoint files of the published package, check them against a space, and recognise which supernet they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ofa.errors import UserError
from ofa.official.state_dicts import convert_state_dict
from ofa.official.torch_file import read_state_dict
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Subnet

if TYPE_CHECKING:
    from torch import Tensor

SUPERNETS = {
    "mbv3-w1.0": "ofa_mbv3_d234_e346_k357_w1.0",
    "mbv3-w1.2": "ofa_mbv3_d234_e346_k357_w1.2",
    "proxyless-w1.3": "ofa_proxyless_d234_e346_k357_w1.3",
    "resnet50": "ofa_resnet50_d0-1-2_e0.2-0.25-0.35_w0.65-0.8-1.0",
}
"""Name of each published supernet's file, by its space."""


def read_supernet(path: str | Path, space: SearchSpace | None = None) -> tuple[SearchSpace, dict[str, Tensor]]:
    """A published supernet's space, and its weights under our names, float32.

    Args:
        path: the file, in any spelling of its keys.
        space: its space; None recognises the published space by keys and shapes.

    Raises:
        UserError: the file holds no state dict, a damaged one, or one of another space (named if it is published).
    """
    theirs = read_state_dict(path)
    if space is None:
        name = _recognised(theirs)
        if name is None:
            raise UserError(f"{path}: none of the published supernets ({', '.join(SUPERNETS)}); name its space with --space")
        space = load_space(name)
    try:
        return space, _checked(theirs, space, None)
    except UserError as error:
        other = _recognised(theirs)
        if other in (None, space.name):
            raise UserError(f"{path}: {error}") from None
        raise UserError(f"{path}: holds the supernet of {other}, not of {space.name}; give --space {other}") from None


def read_static_net(path: str | Path, space: SearchSpace, subnet: Subnet) -> dict[str, Tensor]:
    """The weights of a published specialised net under our names, float32; raises `UserError` for any other file."""
    theirs = read_state_dict(path)
    try:
        return _checked(theirs, space, subnet)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _checked(theirs: Mapping[str, Tensor], space: SearchSpace, subnet: Subnet | None) -> dict[str, Tensor]:
    """A complete state dict under our names, float32; `UserError` where an entry has another shape or is not finite."""
    import torch

    ours, wanted = convert_state_dict(theirs, space, subnet), _wanted(space, subnet)
    for key, value in ours.items():
        if value.shape != wanted[key].shape or value.is_floating_point() != wanted[key].is_floating_point():
            kind, expected = str(value.dtype).removeprefix("torch."), list(wanted[key].shape)
            raise UserError(f"{space.name}: {key} is {kind}{list(value.shape)}; expected {expected}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"{space.name}: {key} has values that are not finite; download the file again")
    counts = {key: torch.zeros((), dtype=torch.int64) for key in wanted if key not in ours}  # some files lack them
    return {key: value.float() if value.is_floating_point() else value for key, value in (ours | counts).items()}


def _wanted(space: SearchSpace, subnet: Subnet | None) -> dict[str, Tensor]:
    """The entries of a net's state dict under our names, as meta tensors (shapes without values)."""
    import torch

    from ofa.nets.plain import empty_net
    from ofa.nets.supernet import Supernet

    with torch.device("meta"):
        return Supernet(space).state_dict() if subnet is None else empty_net(space, subnet, "meta").state_dict()


def _recognised(theirs: Mapping[str, Tensor]) -> str | None:
    """Name of the space whose published supernet has these keys and shapes; None if none has."""
    for name in SUPERNETS:
        space = load_space(name)
        try:
            ours = convert_state_dict(theirs, space)
        except UserError:
            continue
        wanted = _wanted(space, None)
        if all(value.shape == wanted[key].shape for key, value in ours.items()):
            return name
    return None
