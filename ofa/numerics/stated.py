"""The numerics that a platform states, as its YAML has them. No torch here.

numerics: int8

numerics:
analog: {weight_noise: 0.02, relative_to: column, activation_bits: 8, source: a measurement or a publication}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ofa.errors import UserError
from ofa.files.bounds import AtLeast, AtMost, Bounded, Fraction, OneOf

FP32, INT8 = "fp32", "int8"
RANGES = ("column", "layer")
"""Groups of weights that share a largest conductance: those of an output channel, or all of a layer."""
BITS: dict[str, tuple[int, int | None]] = {"int8": (8, 8), "int4_weights": (4, None)}
"""Bits of weights and of the inputs of operations (None: not rounded), by the name of a fake quantisation in training."""
Bits = Annotated[int, AtLeast(2), AtMost(16)]


@dataclass(frozen=True, kw_only=True)
class Analog(Bounded):
    """An analog array: weights that are programmed with noise, and feature maps of few bits between its operations."""

    weight_noise: Fraction
    """Standard deviation of a programmed weight, as a fraction of the largest one; 0.02: 2%."""
    relative_to: Annotated[str, OneOf(RANGES)] = "column"
    """Weights whose largest magnitude that fraction refers to: those of a `column` (an output channel) or of a `layer`."""
    activation_bits: Bits | None = None
    """Bits of the inputs of an array operation; None: not rounded."""
    source: str
    """Origin of these numbers: the measurement or the publication, and what is assumed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source.strip():
            raise ValueError("source is empty; say where the noise was measured or published, or that it is assumed")

    def __str__(self) -> str:
        rounded = "" if self.activation_bits is None else f", {self.activation_bits}-bit activations"
        return f"analog, weight noise {100 * self.weight_noise:g}% of the {self.relative_to}'s largest{rounded}"


@dataclass(frozen=True, kw_only=True)
class AnalogNumerics:
    """Numerics of a platform that computes on an analog array."""

    analog: Analog

    def __str__(self) -> str:
        return str(self.analog)


Numerics = str | AnalogNumerics
"""`fp32`, `int8`, or those of an analog array."""


def numerics_of(precision: str | None) -> str:
    """The numerics of a digital device with a number format: `int8`, or `fp32` for those that keep the accuracy."""
    return INT8 if precision == INT8 else FP32


def check_measurable(numerics: Numerics, platform: str) -> None:
    """Raise `UserError` where the numerics of a platform are those in which accuracy is measured anyway."""
    if numerics == FP32:
        raise UserError(
            f"platform {platform}: its numerics are fp32, in which accuracy is measured anyway; "
            "give one whose file says `numerics: int8` or `numerics: {analog: ...}`"
        )
