"""Search by any of optuna's samplers, in a study that several processes may share and optuna-dashboard can open.

It uses optuna's ask-and-tell interface in batches: the sampler proposes a batch of subnets, those within the limits are
evaluated in one call, and the sampler is told all results. Every gene is a categorical parameter named like its choice
(`stages[2].blocks[0].kernel`). Blocks beyond a stage's depth have parameters too, because most samplers need a fixed set of
parameters, but these change nothing: trials of the same subnet share one evaluation. The sampler gets limits as constraints
(`Trial.set_constraint`); a trial beyond them is reported as pruned, without being evaluated.

The sampler works on a study in memory. With a storage, finished trials are added to the study there (`shared_study`), and
trials that other processes have added are read. That is a few writes per trial; a live trial would take one per gene.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.evaluations.archive import Archive
from search.evaluations.log import SearchLog, question
from search.evaluations.result import SearchResult
from search.problem.feasibility import feasible_seeds, violation
from search.problem.objectives import ACCURACY
from search.problem.problem import Problem
from search.searchers.shared_study import DIGEST_ATTRIBUTE, OTHER, WORKER_ATTRIBUTE, SharedStudy, digest, open_shared

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, Trial

    from ofa.space.subnet import Subnet

WAIT_S = 0.05
"""Seconds between two reads of a study whose last evaluations other processes have claimed."""
NOT_CATEGORICAL = ("CmaEsSampler", "QMCSampler")
"""Samplers that draw categorical parameters at random."""


@dataclass(frozen=True)
class OptunaSearch:
    """Let an optuna sampler propose the subnets."""

    name: ClassVar[str] = "optuna"
    sampler: str = "TPESampler"
    """Name of a class in `optuna.samplers`."""
    storage: str | None = None
    """URL of the study's storage: `sqlite:///FILE`, `journal://FILE`, `postgresql://...`; in memory by default."""
    study: str | None = None
    """The study's name; by default the space's name and a digest of the question."""
    batch: int = 16
    """Trials asked for at once."""
    patience: int = 20
    """Batches without anything new to evaluate before the search ends."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """See `Searcher.search`. A study in a storage is continued until it has `budget` evaluations, from all processes.

        Raises:
            Infeasible: no subnet meets the limits.
            UserError: unknown sampler, a storage that cannot be opened, or a study of another problem.
        """
        archive = Archive(problem, budget, log, any_objective=True)
        seeds = feasible_seeds(problem, rng)
        with _quiet():
            trials = _Trials(problem, archive, self._own(problem, rng))
            trials.shared = self._shared(problem, trials, budget)
            if not trials.read():  # begin with feasible subnets: under tight limits a sampler may never find one
                for row in seeds[rng.permutation(len(seeds))[: min(self.batch, budget)]]:
                    trials.study.enqueue_trial(trials.parameters(row))
            barren = 0
            with nullcontext() if trials.shared is None else trials.shared.claims():
                while archive.left > 0 and barren < self.patience and archive.evaluations < problem.domain.count:
                    before, room = archive.evaluations, trials.room()
                    if room:
                        trials.run(min(self.batch, room))
                    else:
                        time.sleep(WAIT_S)
                    trials.read()
                    barren = 0 if archive.evaluations > before or not room else barren + 1
            return archive.result(self.name)

    def _own(self, problem: Problem, rng: np.random.Generator) -> Study:
        """The study in memory."""
        import optuna

        sampler = find_sampler(self.sampler, int(rng.integers(2**31)))
        return optuna.create_study(sampler=sampler, directions=_directions(problem))

    def _shared(self, problem: Problem, trials: _Trials, budget: int) -> SharedStudy | None:
        """The study in the storage."""
        if self.storage is None:
            return None
        asked = question(problem)
        return open_shared(self.storage, self.study, _directions(problem), asked, problem.space.name, trials.subnets, budget)


def _directions(problem: Problem) -> list[StudyDirection]:
    from optuna.study import StudyDirection

    return [StudyDirection.MAXIMIZE if sign < 0 else StudyDirection.MINIMIZE for sign in problem.signs]


def find_sampler(name: str, seed: int) -> BaseSampler:
    """One of optuna's samplers by the name of its class; raises `UserError` listing the names."""
    import optuna

    known: dict[str, Any] = {}
    for candidate in optuna.samplers.__all__:
        kind = getattr(optuna.samplers, candidate)
        if not inspect.isclass(kind) or inspect.isabstract(kind) or candidate in NOT_CATEGORICAL:
            continue
        parameters = inspect.signature(kind).parameters
        if "seed" in parameters and all(p.default is not p.empty for p in parameters.values()):
            known[candidate] = kind
    if name not in known:
        raise UserError(f"sampler is {name!r}; optuna has, for categorical genes, {', '.join(sorted(known))}")
    sampler: BaseSampler = known[name](seed=seed)
    return sampler


@dataclass
class _Trials:
    """Conversion between a study's trials and subnets."""

    problem: Problem
    archive: Archive
    study: Study
    """The sampler's study, in memory."""
    shared: SharedStudy | None = None
    """The study in the storage, if there is one."""
    known: dict[bytes, float] = field(default_factory=dict)
    """Top-1 of the subnets evaluated by any process."""
    _here: set[str] = field(default_factory=set)
    """Keys of the trials that both studies have."""

    def __post_init__(self) -> None:
        from optuna.distributions import CategoricalDistribution

        domain, space = self.problem.domain, self.problem.space
        self.levels = {  # per gene with a choice: its column, and the level of each choice
            gene.name: (column, {gene.choices[level]: level for level in domain.table[column, :count].tolist()})
            for column, (gene, count) in enumerate(zip(space.genes, domain.counts.tolist(), strict=True))
            if count > 1
        }
        self.distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(tuple(choices)) for name, (_, choices) in self.levels.items()
        }

    def parameters(self, row: Genes) -> dict[str, Any]:
        """The parameters of a row of genes, by optuna's names; those of absent blocks have any allowed value."""
        by_level = {name: {level: choice for choice, level in choices.items()} for name, (_, choices) in self.levels.items()}
        return {
            name: by_level[name].get(int(row[column]), next(iter(choices)))
            for name, (column, choices) in self.levels.items()
        }

    def genes(self, trials: list[Trial] | list[FrozenTrial]) -> Genes:
        """The canonical subnets of trials, int8[n, genes]."""
        rows = np.repeat(self.problem.domain.table[None, :, 0], len(trials), axis=0)
        for row, trial in zip(rows, trials, strict=True):
            params = trial.params
            for name, (column, choices) in self.levels.items():
                level = choices.get(params.get(name))
                if level is None:
                    raise UserError(f"trial {trial.number} stands for no subnet ({name} is {params.get(name)!r}); {OTHER}")
                row[column] = level
        return self.problem.space.canonical(rows)

    def subnets(self, trials: list[FrozenTrial]) -> list[bytes]:
        """Key of each trial's subnet: the bytes of its genes."""
        return [row.tobytes() for row in self.genes(trials)]

    def room(self) -> int:
        """Evaluations that are left, and that no other process has claimed."""
        return self.archive.left if self.shared is None else min(self.archive.left, self.shared.room())

    def read(self) -> bool:
        """Read the trials that other processes have added since the last call; returns whether the storage has any trial."""
        from optuna.trial import TrialState

        if self.shared is None:
            return False
        finished = self.shared.finished()
        foreign = [trial for trial in finished if trial.user_attrs[WORKER_ATTRIBUTE] not in self._here]
        self._here.update(trial.user_attrs[WORKER_ATTRIBUTE] for trial in foreign)
        self.study.add_trials(foreign)
        done = [trial for trial in foreign if trial.state == TrialState.COMPLETE]
        if done:
            genes = self.genes(done)
            top1 = [float(trial.user_attrs[ACCURACY]) for trial in done]
            self.known |= {row.tobytes(): value for row, value in zip(genes, top1, strict=True)}
            fresh = self.archive.new(genes)
            self.archive.add(fresh, np.array([self.known[row.tobytes()] for row in fresh]))
        return bool(finished)

    def run(self, count: int) -> None:
        """Ask the sampler for trials, evaluate the new feasible subnets among them, tell it the results."""
        trials = [self.study.ask(self.distributions) for _ in range(count)]
        genes = self.genes(trials)
        beyond = self._describe(trials, genes)
        asked = self.archive.new_places(genes).tolist()
        claims = {i: self.study._storage.get_trial(trials[i]._trial_id) for i in asked}
        if self.shared is not None and claims:
            granted = self.shared.claim(list(claims.values()))
            claims = {i: claim for (i, claim), ours in zip(claims.items(), granted, strict=True) if ours}
        fresh = genes[list(claims)]
        top1 = self.archive.add(fresh)
        self.known |= {row.tobytes(): value for row, value in zip(fresh, top1.tolist(), strict=True)}
        told = [self._tell(trial, genes[i : i + 1], beyond[i]) for i, trial in enumerate(trials)]
        self._here.update(trial.user_attrs[WORKER_ATTRIBUTE] for trial in told)
        if self.shared is not None:
            for i, claim in claims.items():
                self.shared.complete(told[i], claim)
            self.shared.add([trial for trial, out in zip(told, beyond, strict=True) if out])

    def _describe(self, trials: list[Trial], genes: Genes) -> list[bool]:
        """Store subnet and costs as attributes of each trial; returns, for each, whether it exceeds a limit."""
        utilisation = self.problem.utilisation(genes)
        costs = {f"{m} on {p}": self.problem.cost(m, p, genes).tolist() for m, p in self.problem.asked_costs}
        worker = "alone" if self.shared is None else self.shared.worker
        for i, (trial, subnet) in enumerate(zip(trials, self.problem.space.decode(genes), strict=True)):
            trial.set_user_attr("subnet", _readable(subnet))
            trial.set_user_attr(WORKER_ATTRIBUTE, f"{worker}-{trial.number}")
            for name, values in costs.items():
                trial.set_user_attr(name, values[i])
            for limit, used in zip(self.problem.limits, utilisation[i].tolist(), strict=True):
                trial.set_constraint(str(limit), used - 1)
        return [excess > 0 for excess in violation(self.problem, genes)]

    def _tell(self, trial: Trial, row: Genes, beyond: bool) -> FrozenTrial:
        from optuna.trial import TrialState

        if beyond:
            trial.set_user_attr(DIGEST_ATTRIBUTE, digest(trial.params, trial.user_attrs, None))
            return self.study.tell(trial, state=TrialState.PRUNED)
        top1 = self.known.get(row.tobytes())
        if top1 is None:  # another process makes this evaluation, or the last one
            return self.study.tell(trial, state=TrialState.FAIL)
        trial.set_user_attr(ACCURACY, top1)
        if self.problem.min_top1 is not None:
            trial.set_constraint("top-1 of at least", self.problem.least_top1 - top1)
        values: list[float] = self.problem.values(row, np.array([top1]))[0].tolist()
        trial.set_user_attr(DIGEST_ATTRIBUTE, digest(trial.params, trial.user_attrs, values))
        return self.study.tell(trial, values)


def _readable(subnet: Subnet) -> str:
    """A subnet in a line, for the dashboard: `160 px, 16: k3e1, 24: k3e4 k5e6, ...`: width, kernels and expand ratios."""
    stages = [
        f"{s.width}{' se' if s.se else ''}: {' '.join(f'k{b.kernel}e{b.expand:g}' for b in s.blocks)}" for s in subnet.stages
    ]
    return ", ".join([f"{subnet.resolution} px", *stages])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence optuna's line per trial, and its warnings that a sampler is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
