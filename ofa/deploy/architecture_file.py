"""Read a subnet from a file: our own JSON, an architecture of the published package (`{ks, e, d}`), or its `net.config`.

The three are told apart by their keys. A published architecture has its resolution under `image_size`, `resolution` or `r`;
where it has none of them, the caller gives the resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ofa import official
from ofa.errors import UserError
from ofa.files.atomic import read_json
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet

ADVICE = (
    "expected a subnet.json (stages), an architecture of the published package (ks, e, d; ResNet50: d, e, w), "
    "or its net.config (blocks)"
)


def read_architecture(path: str | Path, space: SearchSpace, resolution: int | None = None) -> Subnet:
    """The subnet that a file describes.

    Args:
        path: a JSON file, or the folder of a queried subnet.
        space: the space to which it must belong.
        resolution: side of the images in pixels, for a file without one; must equal the file's own, if it has one.

    Raises:
        UserError: the file is missing, damaged or of no known format, or describes no subnet of the space.
    """
    path = Path(path)
    file = path / "subnet.json" if path.is_dir() else path
    data = read_json(file)
    if isinstance(data, Mapping) and isinstance(data.get("subnet"), Mapping):
        data = data["subnet"]
    if not isinstance(data, Mapping):
        raise UserError(f"{file}: holds {str(data)[:40]}; {ADVICE}")
    if "stages" in data:
        subnet = Subnet.from_dict(dict(data), str(file))
        if resolution not in (None, subnet.resolution):
            raise UserError(f"{file}: is for {subnet.resolution} px; the resolution given is {resolution}")
    elif "blocks" in data or "d" in data:
        size = _resolution(data, resolution, space, file)
        try:
            arch = official.arch_of_config(space, data) if "blocks" in data else data
            subnet = official.to_subnet(space, arch, size)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
    else:
        raise UserError(f"{file}: has the keys {', '.join(map(str, list(data)[:8])) or 'none'}; {ADVICE}")
    try:
        space.encode(subnet)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return subnet


def named_subnet(name: str, space: SearchSpace, resolution: int | None = None) -> Subnet:
    """`largest`, `smallest`, or the subnet that a file describes (`read_architecture`)."""
    if name in ("largest", "smallest"):
        chosen: Subnet = getattr(space, name)()
        if resolution not in (None, chosen.resolution):
            raise UserError(f"the {name} subnet of {space.name} is for {chosen.resolution} px, not {resolution}")
        return chosen
    return read_architecture(name, space, resolution)


def _resolution(data: Mapping[str, Any], given: int | None, space: SearchSpace, file: Path) -> int:
    told = next((data[key] for key in ("image_size", "resolution", "r") if key in data), None)
    told = told[0] if isinstance(told, (list, tuple)) and len(told) == 1 else told
    if told is not None and (not isinstance(told, int) or given not in (None, told)):
        raise UserError(f"{file}: is for {str(told)[:40]} px; the resolution given is {given}")
    size = given if told is None else told
    if size is None:
        allowed = ", ".join(map(str, space.resolutions))
        raise UserError(f"{file}: does not say for how large images it is; give --resolution (the space has {allowed})")
    return size
