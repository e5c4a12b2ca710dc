"""Shared by the verbs that measure a subnet as a platform computes: what is measured, as plain data, text, and on a card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError
from ofa.measure.accuracy import ACCURACIES, AccuracyMetric, Draws, paired_gain
from ofa.numerics.stated import FP32, INT8, AnalogNumerics, Numerics

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from latency_tables import Platform
    from ofa.cli.shared.options import Measured
    from ofa.measure.evaluator import SubnetEvaluator
    from ofa.space.search_space import Genes
    from ofa.space.subnet import Subnet
    from search.reports.card import AccuracyUnder

    Answers = npt.NDArray[np.bool_]

DRAWS = 8
"""Draws of an analog array's noise, unless the user says otherwise."""


@dataclass(frozen=True)
class NumericsOf:
    """The numerics of a platform, and how accuracy under them is measured."""

    platform: str
    numerics: Numerics
    runtime: str
    draws: int
    """Draws of the noise; 1 where nothing is drawn."""
    seed: int

    @classmethod
    def of(cls, platform: Platform, draws: int, seed: int) -> NumericsOf:
        """Those of a platform; raises `UserError` where they are fp32, or what measures them is not installed."""
        from ofa.deploy.accuracy_under import runtime_of

        runtime = runtime_of(platform.numerics, platform.name)
        drawn = isinstance(platform.numerics, AnalogNumerics)
        return cls(platform.name, platform.numerics, runtime, draws if drawn else 1, seed)

    @property
    def is_drawn(self) -> bool:
        """True where accuracy depends on a draw of noise."""
        return self.draws > 1

    def measure(self, evaluator: SubnetEvaluator, subnet: Subnet, split: str) -> Answers:
        """Measure a subnet; see `ofa.deploy.accuracy_under.correct_under`."""
        from ofa.deploy.accuracy_under import correct_under

        return correct_under(evaluator, subnet, self.numerics, self.draws, self.seed, split)

    def facts(self) -> dict[str, Any]:
        """The numerics as plain data."""
        from ofa.files.schema import to_plain

        drawn = {"draws": self.draws, "seed": self.seed} if self.is_drawn else {}
        return {"platform": self.platform, "numerics": to_plain(self.numerics), "runtime": self.runtime} | drawn

    def result(self, evaluator: SubnetEvaluator, split: str, fp32: Answers, answers: Answers) -> dict[str, Any]:
        """The accuracies of one subnet as plain data, from the images classified correctly.

        In fp32 these are bool[images], under these numerics bool[draws, images].
        """
        labels = evaluator.labels(split)
        counts = [evaluator.count(row, labels) for row in answers]
        change, error = paired_gain(fp32, answers.mean(0))
        found: dict[str, Any] = {"top1_change": change, "top1_change_error": error}
        for name, metric in ACCURACIES.items():
            values = [metric.value(count) for count in counts]
            if not self.is_drawn:
                found |= {name: values[0], f"{name}_error": metric.standard_error(counts[0])}
            elif None not in values:
                drawn = Draws(tuple(float(value) for value in values if value is not None))
                found |= {f"{name}_mean": drawn.mean, f"{name}_deviation": drawn.deviation, f"{name}_draws": values}
        return found


def numerics_lines(facts: dict[str, Any], words: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """A table of subnets under the numerics of a platform; rows have `subnet`, and `numerics` as `result` returns them."""
    drawn = "draws" in facts
    wide = max(len("subnet"), *(len(row["subnet"]) for row in rows))
    over = f", mean and deviation of {facts['draws']} draws, batch norm recalibrated under each" if drawn else ""
    yield f"\non {facts['platform']}: {words}{over} ({facts['runtime']})"
    yield f"{'subnet':{wide}}    top-1  {'deviation  ' if drawn else ''}change (points)"
    for row in rows:
        found = row["numerics"]
        top1 = f"{100 * found['top1_mean' if drawn else 'top1']:6.2f}%"
        deviation = f"{100 * found['top1_deviation']:9.2f}  " if drawn else ""
        change = f"{100 * found['top1_change']:+.2f} \N{PLUS-MINUS SIGN}{100 * found['top1_change_error']:.2f}"
        yield f"{row['subnet']:{wide}}  {top1}  {deviation}{change}"
    yield "change: against fp32 on the same images, with its standard error due to the sample of images"
    if drawn:
        yield "Differences between subnets below the deviation are not differences between subnets."


def not_measured(platforms: Sequence[Platform], why: str) -> tuple[AccuracyUnder, ...]:
    """The accuracy under the numerics of each platform, unknown: nothing was measured. No torch here."""
    from search.reports.card import AccuracyUnder

    return tuple(
        AccuracyUnder(platform=platform.name, numerics=_word(platform.numerics), value=None, how=why)
        for platform in platforms
        if platform.numerics != FP32
    )


@dataclass(frozen=True, eq=False)
class UnderPlatforms:
    """Measures subnets of a run as the platforms compute that do not compute in fp32; each subnet once."""

    platforms: Sequence[Platform]
    measured: Measured
    metric: AccuracyMetric
    seed: int
    _known: dict[bytes, tuple[AccuracyUnder, ...]] = field(default_factory=dict)

    def of(self, row: Genes) -> tuple[AccuracyUnder, ...]:
        """The accuracies of one subnet, int8[1, genes]; unknown, with the reason, where something for them is missing."""
        key = row.tobytes()
        if key not in self._known:
            stated = [platform for platform in self.platforms if platform.numerics != FP32]
            self._known[key] = tuple(self._on(platform, row) for platform in stated)
        return self._known[key]

    def deviation(self, row: Genes) -> float:
        """The largest deviation of a draw over the platforms; 0 where nothing is drawn, or nothing can be measured."""
        if not any(platform.numerics not in (FP32, INT8) for platform in self.platforms):
            return 0.0
        return max((under.deviation or 0.0 for under in self.of(row)), default=0.0)

    def _on(self, platform: Platform, row: Genes) -> AccuracyUnder:
        from search.reports.card import AccuracyUnder

        if not self.measured.can_measure:
            return not_measured([platform], "no validation images are here")[0]
        evaluator = self.measured.evaluator
        try:
            numerics = NumericsOf.of(platform, DRAWS, self.seed)
            answers = numerics.measure(evaluator, self.measured.space.decode(row)[0], "validation")
        except UserError as error:
            return not_measured([platform], str(error))[0]
        counts = [evaluator.count(answer, evaluator.labels()) for answer in answers]
        values = [self.metric.value(count) for count in counts]
        drawn = Draws(tuple(value for value in values if value is not None))
        images = f"{answers.shape[1]} held-out validation images{self.measured.where}"
        stated = f"simulated: {numerics.numerics}; " if numerics.is_drawn else f"measured in {numerics.runtime} "
        recalibrated = ", batch norm recalibrated under each draw" if numerics.is_drawn else ""
        return AccuracyUnder(
            platform=platform.name,
            numerics=_word(platform.numerics),
            value=drawn.mean,
            how=f"{stated}on {images}{recalibrated}",
            standard_error=None if numerics.is_drawn else self.metric.standard_error(counts[0]),
            draws=numerics.draws,
            deviation=drawn.deviation if numerics.is_drawn else None,
        )


def ranking_note(under: Sequence[AccuracyUnder]) -> dict[str, str]:
    """The entry of a card that says what was not told apart; nothing where no accuracy was drawn."""
    deviations = [one.deviation for one in under if one.deviation is not None]
    if not deviations:
        return {}
    points = f"{100 * max(deviations):.2f} points, the deviation of a draw"
    return {
        "ranked": f"candidates are compared in fp32; of those that differ by less than {points}, the one that was predicted "
        "best is taken: such a difference says nothing about two chips"
    }


def _word(numerics: Numerics) -> str:
    return numerics if isinstance(numerics, str) else "analog"
