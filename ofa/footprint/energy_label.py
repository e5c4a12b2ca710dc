"""The energy label: a letter from A to G for the energy of an inference over the size of its task.

index = energy of one inference / (native input values x informedness), in nJ; informedness = (top1 - 1/K) / (1 - 1/K), the
share of decisions better than chance (Powers 2011, arXiv 2010.16061). Like the index of a display, which is power over area
(Regulation (EU) 2019/2013), it is energy over what is done. Bounds are fixed in a file with an id and a checksum, so a
letter never changes when other nets appear; new bounds get a new id.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import log
from pathlib import Path

from ofa.errors import UserError
from ofa.footprint.checks import number, whole

ID = "ofa-1"
"""The label in use."""
TOLERANCE = 1e-9
"""Relative distance below a bound within which a value counts as on it, and gets the worse letter."""
DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True)
class Bounds:
    """The classes of a label."""

    id: str
    letters: tuple[str, ...]
    upper_nj: tuple[float, ...]
    """The bound between each letter and the next, in nJ; the last letter has none."""
    checksum: str
    """SHA-256 of the file's content."""

    def letter(self, index_nj: float) -> str:
        """The letter of an index."""
        return self.letters[bisect_right(self.upper_nj, index_nj * (1 + TOLERANCE))]

    @property
    def factor(self) -> float:
        """Ratio of one bound to the one before."""
        return self.upper_nj[1] / self.upper_nj[0]


@dataclass(frozen=True, kw_only=True)
class Label:
    """The label of a net on a device."""

    index_nj: float | None
    """Energy per native input value and informedness, in nJ; None where there is no letter."""
    letter: str | None
    """The letter of the upper bound (p90); None where there is none."""
    letters: str | None
    """The letters of the lower (p10) and of the upper bound (p90), which may be the same."""
    informedness: float
    """Share of decisions that is better than chance."""
    why: str = ""
    """Reason why there is no letter."""
    id: str = ID

    @property
    def shown(self) -> str | None:
        """The letters as they are printed: `D`, or `C-D` where the bounds are in two classes."""
        if self.letters is None:
            return None
        return self.letters[0] if self.letters[0] == self.letters[1] else "-".join(self.letters)


def label(
    joules: float | None,
    input_values: float,
    top1: float,
    classes: int,
    low: float = 1.0,
    high: float = 1.0,
    bounds: Bounds | None = None,
) -> Label:
    """The label of a net.

    Args:
        joules: energy of one inference on the device; None: unknown.
        input_values: values of a native input: height x width x channels of the stored image, not of the subnet's input.
        top1: accuracy, in [0, 1].
        classes: number of classes, at least 2.
        low: lower bound (p10) of the energy, as a multiple of `joules`.
        high: upper bound (p90), likewise; the letter is that of this one.
        bounds: the classes; None: those of `ID`.

    Returns:
        The label; without a letter where the energy is unknown, or the accuracy not above chance.
    """
    values = number("input_values", input_values, least=1)
    chance = 1 / whole("classes", classes, 2)
    informedness = (number("top1", top1, most=1) - chance) / (1 - chance)
    lower, upper = number("low", low, above=0), number("high", high, above=0)
    if lower > upper:
        raise UserError(f"low is {low:g} and high {high:g}; low must not be above high")
    why = "the energy is unknown" if joules is None else ""
    energy = None if joules is None else number("joules", joules, above=0)
    if not why and informedness <= 0:
        why = f"top-1 of {top1:g} is not above chance (1 of {classes})"
    if energy is None or why:
        return Label(index_nj=None, letter=None, letters=None, informedness=informedness, why=why)
    bounds = bounds or load_bounds()
    index_nj = 1e9 * energy / (values * informedness)
    letters = bounds.letter(lower * index_nj), bounds.letter(upper * index_nj)
    return Label(index_nj=index_nj, letter=letters[1], letters="".join(letters), informedness=informedness, id=bounds.id)


def steps(factor: float, bounds: Bounds | None = None) -> float:
    """Classes that a change of energy by a factor is worth."""
    return log(number("factor", factor, above=0)) / log((bounds or load_bounds()).factor)


def load_bounds(path: Path | None = None) -> Bounds:
    """The classes in a label's file; None: the one in use, which ships.

    Raises:
        UserError: it is missing, damaged, without checksum, or its classes do not cover everything from 0 up.
    """
    return _shipped_bounds() if path is None else _read_bounds(path)


@cache
def _shipped_bounds() -> Bounds:
    return _read_bounds(DATA / f"label-{ID}.json")


def _read_bounds(place: Path) -> Bounds:
    from ofa.files.atomic import read_json  # late, so that `from ofa import footprint` takes no time
    from ofa.files.vouched import read_vouched_json

    found = read_vouched_json(place, "install the package again", ("id", "bounds_nj"))
    digest = read_json(place).get("sha256")
    if digest is None:
        raise UserError(f"{place}: has no checksum (sha256); a label's bounds are fixed, so its file must vouch for itself")
    given = found["bounds_nj"]
    try:
        letters = tuple(given)
        ends = [(float(low), None if high is None else float(high)) for low, high in given.values()]
    except (TypeError, ValueError, AttributeError):
        raise UserError(f"{place}: bounds_nj: expected a letter and its two bounds each, got {str(given)[:80]}") from None
    upper = tuple(high for _, high in ends if high is not None)
    covering = len(ends) >= 3 and ends[0][0] == 0 and ends[-1][1] is None and len(upper) == len(ends) - 1
    if not all(len(letter) == 1 for letter in letters):
        raise UserError(f"{place}: bounds_nj: classes are {', '.join(letters)}; a class has one letter")
    joined = all(high == low for (_, high), (low, _) in pairwise(ends))
    if not (covering and joined and all(0 < low < high for low, high in pairwise(upper))):
        raise UserError(
            f"{place}: bounds_nj: must rise from 0, each class beginning where the one before ends, the last open"
        )
    return Bounds(str(found["id"]), letters, upper, str(digest))
