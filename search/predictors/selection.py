"""Choice among the kinds of predictor: the one that ranks held-out subnets best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats
from search.predictors.kinds import CONSTANT, KINDS, FittedPredictor
from search.predictors.protocols import StageAdditive
from search.predictors.validation import Report, cross_validate
from search.statistics import shown

AUTO = "auto"
LEAD_WITHOUT_EXACTNESS = 0.01
"""Lead in Kendall tau that a kind needs where the search on it cannot be exact (`search.exact.solve`)."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A fitted predictor, and the comparison of its kind with the others."""

    predictor: FittedPredictor
    reports: Mapping[str, Report]
    """Cross-validation of every kind that was tried."""
    why: str
    """Reason for the choice, in words."""

    @property
    def report(self) -> Report:
        """Cross-validation of the chosen kind."""
        return self.reports[self.predictor.kind]

    def lines(self) -> list[str]:
        """Lines of a table of the kinds, for users."""
        return [
            f"{kind:18} tau {shown(report.kendall_tau, '.3f')}, error {100 * report.mean_absolute_error:.3f} points,"
            f" {shown(report.within_1_std, '.0%')} within 1 std, {shown(report.within_2_std, '.0%')} within 2"
            for kind, report in self.reports.items()
        ]


def kinds_of(name: str) -> tuple[str, ...]:
    """The kinds that a name stands for; raises `UserError` for an unknown one."""
    if name != AUTO and name not in KINDS:
        raise UserError(f"kind is {name!r}; available are {AUTO}, {', '.join(KINDS)}")
    return tuple(KINDS) if name == AUTO else (name,)


def select(
    space: SearchSpace, genes: Genes, top1: Floats, kinds: Sequence[str], seed: int, scored: int | None = None
) -> Selection:
    """Cross-validate each kind on the same folds, and fit the best one to everything; `scored` as in `cross_validate`.

    Where every subnet has the same top-1 no kind could tell them apart, and the constant takes their place.

    Raises:
        UserError: too few subnets, or a top-1 outside [0, 1].
    """
    if np.ptp(top1) == 0:
        report = cross_validate(partial(CONSTANT.fit, space), genes, top1, np.random.default_rng(seed), FOLDS, scored)
        predictor = CONSTANT.fit(space, genes, top1)
        why = f"all {len(top1)} subnets are measured to have accuracy {top1[0]:g}, so the cheapest is the best"
        return Selection(predictor=predictor, reports={predictor.kind: report}, why=why)
    reports = {
        kind: cross_validate(partial(KINDS[kind].fit, space), genes, top1, np.random.default_rng(seed), FOLDS, scored)
        for kind in kinds
    }
    fitted = {kind: KINDS[kind].fit(space, genes, top1) for kind in kinds}
    known = {kind: report.kendall_tau for kind, report in reports.items()}
    tau = {kind: -1.0 if value is None else value for kind, value in known.items()}  # constant predictions come last
    handicap = {kind: 0.0 if isinstance(model, StageAdditive) else LEAD_WITHOUT_EXACTNESS for kind, model in fitted.items()}
    best = max(kinds, key=lambda kind: tau[kind] - handicap[kind])
    highest = max(kinds, key=lambda kind: tau[kind])
    if len(kinds) == 1:
        why = "as asked"
    elif best == highest:
        why = f"the highest Kendall tau in cross-validation, {shown(known[best], '.3f')}"
    else:
        ahead = f"{highest} is ahead by less than {LEAD_WITHOUT_EXACTNESS:g} and not exact"
        why = f"Kendall tau {shown(known[best], '.3f')} in cross-validation; {ahead}"
    return Selection(predictor=fitted[best], reports=reports, why=why)
