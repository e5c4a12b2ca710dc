"""The parts of a search space: what is elastic about stem, stages and head. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypedDict

from ofa.space.activations import ACTIVATIONS

MOST_CHOICES = 127  # a gene is an int8
FIELDS = {"width": "widths", "depth": "depths", "se": "se", "kernel": "kernels", "expand": "expands"}
"""The field of a stage that holds the choices of a gene."""
LISTS = ("kernels", "depths", "expands", "se")
"""Choices of a stage that are named by their values; widths, which differ from stage to stage, are counted instead."""


class Choices(TypedDict, total=False):
    """What stays open in a subspace; a dimension that is missing or None stays as it is."""

    kernels: Sequence[int] | None
    """Sizes in pixels."""
    depths: Sequence[int] | None
    """Blocks per stage."""
    expands: Sequence[float] | None
    se: Sequence[bool] | None
    widths: int | None
    """How many of each stage's (and the stem's) widths, counted from the widest."""
    resolutions: Sequence[int] | None
    """Input sides in pixels."""


@dataclass(frozen=True, kw_only=True)
class StemSpace:
    """The choices before the stages."""

    widths: tuple[int, ...]
    """Output channels."""
    hidden_widths: tuple[int, ...] = ()
    """Nominal channels of the inner convolutions of a deep stem, rounded to a multiple of 8; empty for a single one."""
    depths: tuple[int, ...] = (1,)
    """Number of convolutions: 1, or 2 and 3 (ResNet-D's stem, of which the middle one is residual)."""
    kernel: int = 3
    stride: int = 2
    activation: str = "relu"
    pool: bool = False
    """A 3x3 max pool of stride 2 at the end."""

    def __post_init__(self) -> None:
        check_choices("widths", self.widths)
        check_choices("depths", self.depths)
        check_kernel(self.kernel)
        check_activation(self.activation)
        if self.stride not in (1, 2):
            raise ValueError(f"stride is {self.stride}; allowed are 1 and 2")
        if self.depths == (1,):
            if self.hidden_widths:
                raise ValueError("hidden_widths are given but the stem has one convolution; depths must be 2 or 3")
        elif set(self.depths) <= {2, 3}:
            check_choices("hidden_widths", self.hidden_widths)
        else:
            raise ValueError(f"depths are {list(self.depths)}; allowed are [1], or values out of 2 and 3")

    def restrict(self, widths: int | None, every_depth: bool) -> StemSpace:
        """The stem with its widest `widths` choices (None: all), and with every depth or only its largest."""
        kept = slice(-widths if widths else None, None)
        depths = self.depths if every_depth else self.depths[-1:]
        return replace(self, widths=self.widths[kept], hidden_widths=self.hidden_widths[kept], depths=depths)


@dataclass(frozen=True, kw_only=True)
class StageSpace:
    """The choices of one stage."""

    widths: tuple[int, ...]
    """Output channels of its blocks."""
    depths: tuple[int, ...]
    """Number of blocks."""
    kernels: tuple[int, ...]
    expands: tuple[float, ...]
    """Hidden channels over input channels (mbconv) or over output channels (bottleneck). A stage whose only expand ratio is
    1 has no expansion convolution."""
    stride: int = 1
    """Stride of the first block."""
    activation: str = "relu"
    se: bool | tuple[bool, ...] = False
    """Squeeze-and-excitation after the depthwise convolution (mbconv only); a list: chosen for the stage as a whole."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "expands", tuple(map(float, self.expands)))  # 3 and 3.0 are one choice, one fingerprint
        for name in ("widths", "depths", "kernels", "expands"):
            check_choices(name, getattr(self, name))
        for kernel in self.kernels:
            check_kernel(kernel)
        check_activation(self.activation)
        if isinstance(self.se, tuple) and self.se not in ((False,), (True,), (False, True)):
            raise ValueError(f"se is {list(self.se)}; allowed are true, false, and the list [false, true] to choose from")
        if self.stride not in (1, 2):
            raise ValueError(f"stride is {self.stride}; allowed are 1 and 2")

    @property
    def stage_genes(self) -> tuple[str, ...]:
        """What is chosen once for the stage: width, depth, then what its blocks share; the fields of `subnet.Stage`."""
        return ("width", "depth", "se") if isinstance(self.se, tuple) else ("width", "depth")

    @property
    def block_genes(self) -> tuple[str, ...]:
        """What is chosen for each block: the fields of `subnet.Block`, in their order."""
        return ("kernel", "expand")

    @property
    def shared_genes(self) -> tuple[str, ...]:
        """The stage genes that say what is inside each of its blocks: all but width and depth."""
        return self.stage_genes[2:]

    def choices(self, gene: str) -> tuple[Any, ...]:
        """The choices of a stage gene or block gene, ascending."""
        return self._list(FIELDS[gene])

    @property
    def lists(self) -> dict[str, tuple[Any, ...]]:
        """The choices in `LISTS`, by field."""
        return {name: self._list(name) for name in LISTS}

    def _list(self, name: str) -> tuple[Any, ...]:
        choices = getattr(self, name)
        return choices if isinstance(choices, tuple) else (choices,)

    @property
    def expands_channels(self) -> bool:
        """Whether its mbconv blocks start with an expansion convolution."""
        return self.expands != (1.0,)

    def restrict(self, listed: Mapping[str, Sequence[Any]], widths: int | None) -> StageSpace:
        """The stage with only some choices open, and always its largest.

        Args:
            listed: for some of `LISTS` the values to keep; values that the stage does not have are ignored.
            widths: how many widths to keep, counted from the widest; None: all.
        """
        kept = {"widths": self.widths[-widths if widths else None :]}
        for name, values in listed.items():
            choices = self.lists[name]
            kept[name] = tuple(choice for choice in choices if choice in values or choice == choices[-1])
        return self.keep(kept)

    def keep(self, kept: Mapping[str, tuple[Any, ...]]) -> StageSpace:
        """The stage with other lists of choices, by field; a choice that is no list, but fixed, stays as it is."""
        lists: dict[str, Any] = {name: choices for name, choices in kept.items() if isinstance(getattr(self, name), tuple)}
        return replace(self, **lists)


@dataclass(frozen=True, kw_only=True)
class HeadSpace:
    """What comes after the stages."""

    width: int | None = None
    """Channels of a 1x1 convolution with batch norm before the average pool; none if absent."""
    features: int | None = None
    """Channels of a 1x1 convolution without norm after the average pool; none if absent."""
    activation: str = "relu"
    dropout: float = 0.0
    """Before the classifier, in training."""

    def __post_init__(self) -> None:
        check_activation(self.activation)
        for name in ("width", "features"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; must be at least 0 and below 1")


def lists_in(choices: Choices) -> dict[str, Sequence[Any]]:
    """Those of `LISTS` that are given, by name."""
    given: dict[str, Any] = {name: choices.get(name) for name in LISTS}
    return {name: values for name, values in given.items() if values is not None}


def check_choices(name: str, choices: Sequence[float]) -> None:
    """Raise `ValueError` unless choices are positive, finite, ascending, distinct and few enough for an int8 gene."""
    if not choices:
        raise ValueError(f"{name} is empty; at least one choice is needed")
    if list(choices) != sorted(set(choices)):
        raise ValueError(f"{name} are {list(choices)}; choices must be ascending and distinct")
    for choice in choices:
        if not 0 < choice < inf:
            raise ValueError(f"{name} has {choice}; choices must be positive and finite")
    if len(choices) > MOST_CHOICES:
        raise ValueError(f"{name} has {len(choices)} choices; at most {MOST_CHOICES} are allowed")


def check_kernel(kernel: int) -> None:
    """Raise `ValueError` unless a kernel is odd and positive."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel {kernel} is even; kernels must be odd")
    if kernel < 1:
        raise ValueError(f"kernel {kernel} is negative; kernels must be at least 1")


def check_activation(activation: str) -> None:
    """Raise `ValueError` unless an activation is known."""
    allowed = [name for name, known in ACTIVATIONS.items() if known.in_spaces]
    if activation not in allowed:
        raise ValueError(f"activation is {activation!r}; allowed are {', '.join(allowed)}")
