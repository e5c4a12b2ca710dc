"""The search space, its subnets and their shapes. No torch here, and numpy only where genes are."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa.space.search_space import SearchSpace, load_space
    from ofa.space.subnet import Block, Stage, Stem, Subnet

_HOMES = {
    "Block": "subnet",
    "SearchSpace": "search_space",
    "Stage": "subnet",
    "Stem": "subnet",
    "Subnet": "subnet",
    "load_space": "search_space",
}
__all__ = ["Block", "SearchSpace", "Stage", "Stem", "Subnet", "load_space"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ofa.space.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ofa.space' has no attribute {name!r}")
