"""Interop with the published package (PyPI `ofa`): its architecture dicts, its net.config and its state dicts."""

from ofa.official.architectures import to_arch, to_subnet
from ofa.official.net_config import arch_of_config
from ofa.official.state_dicts import convert_state_dict, to_official_state_dict

__all__ = ["arch_of_config", "convert_state_dict", "to_arch", "to_official_state_dict", "to_subnet"]
