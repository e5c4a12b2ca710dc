"""Once-for-all networks: an elastic supernet, its subnets and its training.

`from ofa import Supernet, extract, ...` imports torch on first use; `from ofa import load_space` does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa.deploy.subnet_directory import load_subnet
    from ofa.errors import UserError
    from ofa.measure.recalibration import recalibrate_batch_norm
    from ofa.nets.extraction import extract
    from ofa.nets.supernet import Supernet
    from ofa.space import SearchSpace, Subnet, load_space

_HOMES = {
    "SearchSpace": "space",
    "Subnet": "space",
    "Supernet": "nets.supernet",
    "UserError": "errors",
    "extract": "nets.extraction",
    "load_space": "space",
    "load_subnet": "deploy.subnet_directory",
    "recalibrate_batch_norm": "measure.recalibration",
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
