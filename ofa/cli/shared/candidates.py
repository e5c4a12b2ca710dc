"""The result of a search as candidates: their predicted and measured accuracy, and the choice of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latency_tables.metrics import least_number
from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.cli.shared.options import Measured
    from ofa.space.ops import BlockShape
    from ofa.space.search_space import Genes
    from search.arrays import Mask
    from search.evaluations.result import SearchResult
    from search.problem.problem import Problem
    from search.reports.card import Accuracy


@dataclass(frozen=True, eq=False)
class Candidates:
    """The subnets of a search's result, in its order."""

    problem: Problem
    result: SearchResult
    facts: dict[str, Any]
    """Facts about the predictor, as `open_predictor` returns them."""

    def predicted(self, row: int) -> Accuracy:
        """The predicted accuracy of one of them, with the predictor's own standard deviation where it has one."""
        from search.reports.card import Accuracy

        std = self.problem.predictor.std(self.result.genes[row : row + 1])
        return Accuracy(
            metric=self.problem.accuracy,
            predicted=float(self.result.top1[row]),
            predicted_std=None if std is None else float(std[0]),
            fitted_on=self.facts["samples"],
            predictor=self.facts.get("source"),
        )

    def verified(
        self,
        measured: Measured,
        count: int,
        say: Callable[[str], None],
        deviation: Callable[[Genes], float] = lambda row: 0.0,
    ) -> tuple[int, Accuracy]:
        """Measure the best predicted subnets, and choose the best measured one (among equals, the better predicted).

        Subnets count as equal if they differ by less than `deviation` of the best one, int8[1, genes]: the deviation of a
        draw of noise. Where a cost is minimised, measure from the cheapest on, and choose the first that is accurate enough.
        Without validation images, and with some of them never measured, choose the best predicted that is not known to be
        too inaccurate.

        Raises:
            UserError: none is measured to have `Problem.min_top1`.
        """
        rows = self._distinct(count)
        least, genes = self.problem.min_top1 or 0.0, self.result.genes[rows]
        known = measured.known(genes)
        if not known.all():
            return self._verified_by_memory(measured, rows, known, say)
        if self.problem.accuracy_only:
            tried = measured.top1(genes).tolist()
            best = tried.index(max(tried))
            least_equal = tried[best] - deviation(genes[best : best + 1])
            best = next(i for i, value in enumerate(tried) if i == best or value > least_equal)
        else:
            tried = []
            while len(tried) < len(genes) and max(tried, default=-1.0) < least:
                tried += measured.top1(genes[len(tried) : len(tried) + 1]).tolist()
            best = len(tried) - 1
        for i, value in enumerate(tried):
            mark = "  <- best" if i == best else ""
            say(f"  candidate {i + 1}: predicted {100 * self.result.top1[rows[i]]:.2f}%, measured {100 * value:.2f}%{mark}")
        if tried[best] < least:
            metric = self.problem.accuracy
            raise UserError(
                f"none of {len(tried)} subnets predicted to have a {metric.words} of {least:g} is measured to have it; the "
                f"best has {least_number(max(tried))}: measure more (--verify), or ask for less (--min-{metric.name})"
            )
        return rows[best], measured.told(self.predicted(rows[best]), genes[best : best + 1], len(tried))

    def _distinct(self, count: int) -> list[int]:
        """Rows of the first `count` subnets that are different nets.

        Hidden channels are multiples of 8, so several expand ratios of a narrow stage may give one net.
        """
        from ofa.space.shapes import walk_blocks

        first: dict[tuple[BlockShape, ...], int] = {}
        for row, subnet in enumerate(self.problem.space.decode(self.result.genes)):
            first.setdefault(tuple(walk_blocks(self.problem.space, subnet)), row)
            if len(first) == count:
                break
        return list(first.values())

    def _verified_by_memory(
        self, measured: Measured, rows: list[int], known: Mask, say: Callable[[str], None]
    ) -> tuple[int, Accuracy]:
        """Choose the best predicted of some rows that no earlier measurement found too inaccurate."""
        genes = [self.result.genes[row : row + 1] for row in rows]
        values = [float(measured.top1(row)[0]) if known[i] else None for i, row in enumerate(genes)]
        say(f"nothing can be measured here (no data set, no validation images); known are {known.sum()} of {len(known)}")
        least = self.problem.min_top1 or 0.0
        enough = [i for i, value in enumerate(values) if value is None or value >= least]
        if not enough:
            raise UserError(f"the {len(values)} subnets predicted best were all measured to have less than {least}")
        best = enough[0]
        accuracy = self.predicted(rows[best])
        return rows[best], accuracy if values[best] is None else measured.told(accuracy, genes[best], 1)
