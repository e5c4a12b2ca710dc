"""Once-for-all networks: an elastic supernet, its subnets, its training.

`from ofa import Supernet, extract, ...` imports torch on first use; `from ofa import load_space` does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa.batch_norm import recalibrate_batch_norm
    from ofa.errors import UserError
    from ofa.extraction import extract
    from ofa.space.search_space import SearchSpace, load_space
    from ofa.space.subnet import Subnet
    from ofa.subnet_directory import load_subnet
    from ofa.supernet import Supernet

_HOMES = {
    "SearchSpace": "space",
    "Subnet": "subnet",
    "Supernet": "supernet",
    "UserError": "errors",
    "extract": "extraction",
    "load_space": "space",
    "load_subnet": "subnet_directory",
    "recalibrate_batch_norm": "batch_norm",
}
__all__ = [
    "SearchSpace",
    "Subnet",
    "Supernet",
    "UserError",
    "extract",
    "load_space",
    "load_subnet",
    "recalibrate_batch_norm",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ofa.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ofa' has no attribute {name!r}")
