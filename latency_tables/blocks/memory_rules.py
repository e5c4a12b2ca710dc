"""The rules by which runtimes use memory: what a platform's `memory` section may name. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ofa.files.bounds import Bounded, OneOf


@dataclass(frozen=True)
class Rule:
    """A way to count memory, in words for cards."""

    source: str
    exactness: str


RULES = {
    "lifetimes": Rule(
        "computed from the lifetimes of the feature maps",
        "exact for an in-order runtime; a kernel's scratch buffers are not counted",
    ),
    "tflm": Rule(
        "arena of TensorFlow Lite Micro for the file that ofa export writes, computed",
        "within 1% of its interpreter, reference kernels, 32-bit pointers; a vendor's kernels may need scratch memory",
    ),
}
"""`lifetimes`: feature maps only, residual sums and squeeze-and-excitation in place (`blocks.memory`). `tflm`: the whole
arena of TensorFlow Lite Micro, its data for each operation included, and flash of the file (`blocks.tflm_memory`)."""


@dataclass(frozen=True, kw_only=True)
class MemoryRule(Bounded):
    """The rule by which a platform's runtime uses memory."""

    rule: Annotated[str, OneOf(tuple(RULES))]
    """`lifetimes` or `tflm`."""
    source: str
    """Evidence that the runtime follows the rule."""
