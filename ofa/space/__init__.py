"""The search space, its subnets and their shapes. No torch here."""

from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Block, Stage, Stem, Subnet

__all__ = ["Block", "SearchSpace", "Stage", "Stem", "Subnet", "load_space"]
