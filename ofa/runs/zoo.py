"""The zoo: bundles of trained supernets that ship with the package, by name wherever a run is given. No torch here.

An existing file or folder wins over a name; `zoo:NAME` is always the zoo, `./NAME` never. A name has neither a slash nor the
ending of a bundle.
"""

from __future__ import annotations

from pathlib import Path

from ofa.errors import UserError
from ofa.files.bundle import SUFFIX, Place

PREFIX = "zoo:"
_SHIPPED = Path(__file__).resolve().parents[1] / "bundles"


def zoo_names() -> list[str]:
    """Names of the supernets that ship."""
    return sorted(path.stem for path in _SHIPPED.glob(f"*{SUFFIX}"))


def zoo_file(name: str) -> Path:
    """The bundle of a name, with or without `zoo:`; raises `UserError` where there is none."""
    plain = name.removeprefix(PREFIX)
    if plain not in zoo_names():
        raise UserError(f"the zoo has no {plain!r}; it has {', '.join(zoo_names()) or 'nothing'}")
    return _SHIPPED / f"{plain}{SUFFIX}"


def find_run(given: str | Place) -> Place:
    """The place of a run, given as a path or by its name in the zoo."""
    if not isinstance(given, str):
        return given
    in_zoo = given.startswith(PREFIX) or (given in zoo_names() and not Path(given).exists())
    return zoo_file(given) if in_zoo else Path(given)
