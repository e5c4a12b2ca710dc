"""The choices of the stem, the stages and the head of a search space. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Any, TypedDict

from ofa.errors import SHOWN
from ofa.files.bounds import FINITE, AtLeast, AtMost, Bounded, Fraction, OneOf
from ofa.space.activations import ACTIVATIONS

MOST_CHOICES = 127  # a gene is an int8
MOST_CHANNELS, MOST_BLOCKS, MOST_PIXELS, MOST_KERNEL, MOST_EXPAND = 65_536, 256, 16_384, 255, 256
"""Far beyond any network: a number in a file beyond them is a mistake, and arrays of that size would fill the memory."""
FIELD_OF_GENE = {"width": "widths", "depth": "depths", "se": "se", "kernel": "kernels", "expand": "expands"}
"""The field of `StageSpace` that holds the choices of a gene."""
LISTS = ("kernels", "depths", "expands", "se")
"""Fields that a subspace restricts by listing values. Widths differ from stage to stage, so it restricts their number."""


class Choices(TypedDict, total=False):
    """Choices that stay open in a subspace; a dimension that is missing or None stays as it is."""

    kernels: Sequence[int] | None
    """Kernel sizes in pixels."""
    depths: Sequence[int] | None
    """Numbers of blocks per stage."""
    expands: Sequence[float] | None
    se: Sequence[bool] | None
    widths: int | None
    """Number of widths of the stem and of each stage that stay open, counted from the widest."""
    resolutions: Sequence[int] | None
    """Sides of the input in pixels."""


@dataclass(frozen=True)
class _ChoicesBound:
    """Bound of a list of choices: positive, ascending, distinct, at most `most`, and few enough for an int8 gene."""

    most: float
    may_be_empty: bool = False

    def complaint(self, name: str, value: Sequence[float], verb: str) -> str | None:
        """Name the list, or the wrong choice in it."""
        if not value:
            return None if self.may_be_empty else f"{name} is empty; at least one choice is needed"
        if list(value) != sorted(set(value)):
            return f"{name} are {_shown(value)}; choices must be ascending and distinct"
        for choice in value:
            if not 0 < choice < inf:
                return f"{name} has {choice}; choices must be positive and finite"
            if choice > self.most:
                return f"{name} has {choice}; at most {self.most:,} is allowed"
        return None if len(value) <= MOST_CHOICES else f"{name} has {len(value)} choices; at most {MOST_CHOICES} are allowed"

    def as_json(self) -> dict[str, Any]:
        """The same rules as JSON schema, which cannot state the order."""
        least = {} if self.may_be_empty else {"minItems": 1}
        items = {"exclusiveMinimum": 0, "maximum": self.most}
        return least | {"maxItems": MOST_CHOICES, "uniqueItems": True, "items": items}


def _shown(choices: Sequence[Any]) -> str:
    """A list as messages show it: its beginning, where it is long."""
    text = str(list(choices))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]}...]"


class _KernelBound:
    """Bound of a kernel size: odd and positive."""

    def complaint(self, name: str, value: int, verb: str) -> str | None:
        """Refuse even and negative sizes."""
        if value % 2 == 0:
            return f"kernel {value} is even; kernels must be odd"
        return None if value > 0 else f"kernel {value} is negative; kernels must be at least 1"

    def as_json(self) -> dict[str, Any]:
        """The same rules as JSON schema."""
        return {"minimum": 1, "not": {"multipleOf": 2}}


class _SwitchBound:
    """Bound of the list of values that a switch may take."""

    allowed = ((False,), (True,), (False, True))

    def complaint(self, name: str, value: tuple[bool, ...], verb: str) -> str | None:
        """Refuse other lists."""
        if value in self.allowed:
            return None
        return f"{name} {verb} {_shown(value)}; allowed are true, false, and the list [false, true] to choose from"

    def as_json(self) -> dict[str, Any]:
        """The allowed lists as JSON schema."""
        return {"enum": [list(choices) for choices in self.allowed]}


CHANNELS = _ChoicesBound(MOST_CHANNELS)
Widths = Annotated[tuple[int, ...], CHANNELS]
Depths = Annotated[tuple[int, ...], _ChoicesBound(MOST_BLOCKS)]
Resolutions = Annotated[tuple[int, ...], _ChoicesBound(MOST_PIXELS)]
Channels = Annotated[int, AtLeast(1), AtMost(MOST_CHANNELS)]
Kernel = Annotated[int, _KernelBound()]
Stride = Annotated[int, OneOf((1, 2))]
ActivationName = Annotated[str, OneOf(tuple(name for name, activation in ACTIVATIONS.items() if activation.in_spaces))]


@dataclass(frozen=True, kw_only=True)
class StemSpace(Bounded):
    """The choices of the stem, the layers before the stages."""

    widths: Widths
    """Choices of its output channels."""
    hidden_widths: Annotated[tuple[int, ...], _ChoicesBound(MOST_CHANNELS, may_be_empty=True)] = ()
    """Choices of the channels inside a deep stem, before rounding to a multiple of 8; empty where it is not deep."""
    depths: Depths = (1,)
    """Choices of its number of convolutions: 1; or 2 and 3, a deep stem as in ResNet-D, whose middle one is residual."""
    kernel: Kernel = 3
    """Kernel size in pixels."""
    stride: Stride = 2
    """Stride of the first convolution."""
    activation: ActivationName = "relu"
    """Activation after each convolution."""
    pool: bool = False
    """A 3x3 max pool of stride 2 at the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depths == (1,):
            if self.hidden_widths:
                raise ValueError("hidden_widths are given but the stem has one convolution; depths must be 2 or 3")
        elif set(self.depths) <= {2, 3}:
            wrong = CHANNELS.complaint("hidden_widths", self.hidden_widths, "is")
            if wrong is not None:
                raise ValueError(wrong)
        else:
            raise ValueError(f"depths are {_shown(self.depths)}; allowed are [1], or values out of 2 and 3")

    def restrict(self, widths: int | None, every_depth: bool) -> StemSpace:
        """The stem with only its `widths` widest widths (None: all), and with every depth or only the largest."""
        kept = slice(-widths if widths else None, None)
        depths = self.depths if every_depth else self.depths[-1:]
        return replace(self, widths=self.widths[kept], hidden_widths=self.hidden_widths[kept], depths=depths)


@dataclass(frozen=True, kw_only=True)
class StageSpace(Bounded):
    """The choices of one stage."""

    widths: Widths
    """Choices of the output channels of its blocks."""
    depths: Depths
    """Choices of its number of blocks."""
    kernels: Annotated[tuple[Kernel, ...], _ChoicesBound(MOST_KERNEL)]
    """Choices of kernel sizes, in pixels."""
    expands: Annotated[tuple[Annotated[float, FINITE], ...], _ChoicesBound(MOST_EXPAND)]
    """Choices of expand ratios: hidden channels over input channels (mbconv) or over output channels (bottleneck). The
    blocks of a stage whose only expand ratio is 1 have no expansion convolution."""
    stride: Stride = 1
    """Stride of the first block."""
    activation: ActivationName = "relu"
    """Activation inside its blocks, and for bottlenecks also after the sum."""
    se: bool | Annotated[tuple[bool, ...], _SwitchBound()] = False
    """Squeeze-and-excitation after the depthwise convolution (mbconv only); `[false, true]`: a choice, one for the stage."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "expands", tuple(map(float, self.expands)))  # 3 and 3.0 are one choice, one fingerprint
        super().__post_init__()

    @property
    def stage_genes(self) -> tuple[str, ...]:
        """Names of the genes chosen once for the stage (attributes of `subnet.Stage`): width, depth, then shared genes."""
        return ("width", "depth", "se") if isinstance(self.se, tuple) else ("width", "depth")

    @property
    def block_genes(self) -> tuple[str, ...]:
        """Names of the genes chosen for each block: the fields of `subnet.Block`, in order."""
        return ("kernel", "expand")

    @property
    def shared_genes(self) -> tuple[str, ...]:
        """The stage genes that change the inside of all its blocks alike: all but width and depth."""
        return self.stage_genes[2:]

    def choices(self, gene: str) -> tuple[Any, ...]:
        """The choices of a stage gene or block gene, ascending."""
        return self._list(FIELD_OF_GENE[gene])

    @property
    def lists(self) -> dict[str, tuple[Any, ...]]:
        """The choices in `LISTS`, by field."""
        return {name: self._list(name) for name in LISTS}

    def _list(self, name: str) -> tuple[Any, ...]:
        choices = getattr(self, name)
        return choices if isinstance(choices, tuple) else (choices,)

    @property
    def expands_channels(self) -> bool:
        """True where its mbconv blocks start with an expansion convolution."""
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
        """The stage with other lists of choices, by field; a field that is fixed (not a list) stays as it is."""
        lists: dict[str, Any] = {name: choices for name, choices in kept.items() if isinstance(getattr(self, name), tuple)}
        return replace(self, **lists)


@dataclass(frozen=True, kw_only=True)
class HeadSpace(Bounded):
    """The layers after the stages; nothing here is elastic."""

    width: Channels | None = None
    """Output channels of a 1x1 convolution with batch norm before the average pool; None: no such layer."""
    features: Channels | None = None
    """Output channels of a 1x1 convolution without norm after the average pool; None: no such layer."""
    activation: ActivationName = "relu"
    """Activation after each of its convolutions."""
    dropout: Fraction = 0.0
    """Dropout rate before the classifier, in training."""


def lists_in(choices: Choices) -> dict[str, Sequence[Any]]:
    """The lists of `LISTS` that are given, by name."""
    given: dict[str, Any] = {name: choices.get(name) for name in LISTS}
    return {name: values for name, values in given.items() if values is not None}
