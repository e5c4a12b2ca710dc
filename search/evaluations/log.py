"""The log of a search: a JSONL file that can be plotted, and from which a killed search resumes.

The first line describes the search; then comes a line per batch of evaluations. A searcher draws from a seeded generator, so
the same search run again asks for the same subnets: those in the log are answered from it, the others are evaluated and
appended. The result is that of an uninterrupted search.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofa.errors import UserError
from ofa.files.atomic import append_line, atomic_write, drop_half_a_line, read_text
from ofa.files.vouched import read_vouched_line, vouched_line
from ofa.measure.accuracy import TOP1, AccuracyMetric, accuracy_named
from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.problem.problem import Problem

LOG_FORMAT = 1


def question(problem: Problem) -> dict[str, Any]:
    """A problem as plain data: two problems with equal data have equal answers.

    The costs of the smallest and of the largest subnet stand for all costs, so that a changed table is noticed.
    """
    ends = problem.domain.extremes()
    return {
        "space": problem.space.fingerprint,
        "part": None if problem.part is None else problem.part.fingerprint,
        "objectives": [str(objective) for objective in problem.objectives],
        "limits": [[limit.metric, limit.platform, limit.bound] for limit in problem.limits],
        "min_top1": problem.min_top1,
        **({} if problem.accuracy is TOP1 else {"accuracy": problem.accuracy.name}),
        "source": problem.source,
        "costs": {
            f"{metric} on {platform}": [float(f"{value:.6g}") for value in problem.cost(metric, platform, ends)]
            for metric, platform in problem.asked_costs
        },
    }


def difference(known: dict[str, Any], asked: dict[str, Any]) -> str | None:
    """Say how a stored question differs from the one asked; None when it is the same."""
    for key, value in asked.items():
        if known.get(key) != value:
            return f"its {key} is {known.get(key)!r}, not {value!r}"
    return None


class SearchLog:
    """The log of one search; made by `SearchLog.open` and given to `Searcher.search`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[bytes, float] = {}
        self.written = 0
        """Evaluations in the file."""

    @classmethod
    def open(cls, path: str | Path, problem: Problem, *, algorithm: str, seed: int, budget: int) -> SearchLog:
        """A new log, or the log of the same search, to resume it.

        Raises:
            UserError: the file is the log of another search (the message names the difference), or is damaged.
        """
        log = cls(Path(path))
        header = {"format": LOG_FORMAT, "algorithm": algorithm, "seed": seed, "budget": budget, **question(problem)}
        if not log.path.exists():
            atomic_write(log.path, vouched_line(header) + "\n")
            return log
        logged = read_log(log.path)
        if logged.accuracy is not problem.accuracy:
            words = f"{logged.accuracy.words}, not {problem.accuracy.words}"
            raise UserError(f"{log.path}: the log of a search by {words}; give another file")
        if differs := difference(logged.header, header):
            raise UserError(f"{log.path}: the log of another search: {differs}; give another file")
        log.known = {row.tobytes(): top1 for row, top1 in zip(logged.genes, logged.top1.tolist(), strict=True)}
        log.written = len(logged.genes)
        drop_half_a_line(log.path)
        return log

    def top1(self, problem: Problem, genes: Genes) -> Floats:
        """Predicted top-1, float64[n]: from the log where it has the row, else from `problem.top1`."""
        found = [self.known.get(row.tobytes()) for row in genes]
        missing = np.array([value is None for value in found], dtype=np.bool_)
        top1 = np.array([np.nan if value is None else value for value in found])
        if missing.any():
            top1[missing] = problem.top1(genes[missing])
        return top1

    def batch(self, evaluations: int, best: float | None, volume: float | None, genes: Genes, top1: Floats) -> None:
        """Append a batch, int8[batch, genes] with its top-1, unless the log has it from before an interruption.

        `evaluations` and `best` (of the first objective) are those of the search so far; `best` and `volume`, the front's,
        are None while nothing reaches `Problem.min_top1`, `volume` also with one objective or more than three.
        """
        if evaluations <= self.written:
            return
        entry = {"evaluations": evaluations, "best": best, "hypervolume": volume}
        entry |= {"genes": genes.tolist(), "top1": top1.tolist()}
        append_line(self.path, vouched_line(entry))
        self.written = evaluations


@dataclass(frozen=True, kw_only=True)
class LoggedSearch:
    """A log as arrays, for plots."""

    header: dict[str, Any]
    """Description of the search: algorithm, seed, budget, objectives, limits, ..."""
    evaluations: Indices
    """Evaluations so far, after each batch, int64[batches]."""
    best: Floats
    """Best value of the first objective so far, float64[batches]; NaN while there is none."""
    hypervolume: Floats
    """Hypervolume of the front so far, float64[batches]; NaN where there is none."""
    genes: Genes
    """Everything evaluated, in order, int8[evaluations, genes]."""
    top1: Floats
    """Predicted accuracy of each evaluation, float64[evaluations]."""
    accuracy: AccuracyMetric = TOP1
    """The predicted metric."""


def read_log(path: str | Path) -> LoggedSearch:
    """A search's log; a last line cut off by a crash is left out.

    Raises:
        UserError: there is no such file, or it is not the log of a search; the message names the line.
    """
    entries = []
    for i, line in enumerate(read_text(path).split("\n")[:-1], start=1):
        try:
            entries.append(read_vouched_line(line, f"{path}:{i}", "remove the file to start again"))
            if i > 1:
                entries[-1]["top1"] = [float(value) for value in entries[-1]["top1"]]
                entries[-1]["genes"] = np.array(entries[-1]["genes"], dtype=np.int8).reshape(len(entries[-1]["top1"]), -1)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(f"{path}:{i}: not a batch of a search ({error}); remove the file to start again") from None
    if not entries or not isinstance(entries[0], dict) or entries[0].get("format") != LOG_FORMAT:
        raise UserError(f"{path}: not a search's log of format {LOG_FORMAT}")
    header, *batches = entries
    return LoggedSearch(
        header=header,
        accuracy=accuracy_named(header.get("accuracy", TOP1.name), f"{path}:1"),
        evaluations=np.array([batch["evaluations"] for batch in batches], dtype=np.int64),
        best=np.array([batch["best"] for batch in batches], dtype=np.float64),  # null becomes NaN
        hypervolume=np.array([batch["hypervolume"] for batch in batches], dtype=np.float64),
        genes=np.concatenate([batch["genes"] for batch in batches]) if batches else np.zeros((0, 0), dtype=np.int8),
        top1=np.array([value for batch in batches for value in batch["top1"]], dtype=np.float64),
    )
