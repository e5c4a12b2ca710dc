"""The log of a search: what it holds, and that a search killed by SIGKILL goes on from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.measure.accuracy import BALANCED
from search.evaluations.log import SearchLog, read_log
from search.evaluations.result import SearchResult
from search.plots.history import draw_history
from search.problem.limits import Limit
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.evolution.evolution import Evolution
from search.searchers.nsga2 import Nsga2
from tests.search_toys import ToyAccuracy, make_problem, make_space

BUDGET = 400


def problem_of(**changes: object) -> Problem:
    return replace(make_problem(make_space(stages=3), latency_ms=12.0), **changes)  # type: ignore[arg-type]


def search(path: Path, problem: Problem, budget: int = BUDGET, seed: int = 0) -> SearchResult:
    log = SearchLog.open(path, problem, algorithm="evolution", seed=seed, budget=budget)
    return Evolution().search(problem, np.random.default_rng(seed), budget, log)


def test_a_killed_search_resumes_without_evaluating_again(tmp_path: Path) -> None:
    """A real SIGKILL in the middle of writing a batch: half a line is left, and dropped."""
    path, marks = tmp_path / "search.jsonl", tmp_path / "evaluated"
    script = f"""
import os, signal
from pathlib import Path
from tests.search.evaluations.test_search_log import Marking, problem_of, search
class Dying(Marking):
    def top1(self, genes):
        if self.count() >= 150:
            with open({str(path)!r}, "a") as file:
                file.write('{{"evaluations": 9')
            os.kill(os.getpid(), signal.SIGKILL)
        return super().top1(genes)
problem = problem_of()
search(Path({str(path)!r}), problem_of(predictor=Dying(problem.space, {str(marks)!r})))
"""
    root = Path(__file__).resolve().parents[3]
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    problem = problem_of()
    marking = Marking(problem.space, str(marks))
    before = marking.count()
    assert len(read_log(path).genes) == before >= 150
    resumed = search(path, problem_of(predictor=marking))
    whole = Evolution().search(problem, np.random.default_rng(0), BUDGET)
    assert np.array_equal(resumed.genes, whole.genes)
    assert resumed.history == whole.history
    assert marking.count() == whole.evaluations > before  # every subnet once, over both processes
    assert len(np.unique(read_log(path).genes, axis=0)) == whole.evaluations


class Marking(ToyAccuracy):
    """Leaves a byte in a file for every subnet it evaluates."""

    def __init__(self, space: object, path: str) -> None:
        super().__init__(space, seed=2)  # type: ignore[arg-type]
        self.path = path

    def count(self) -> int:
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def top1(self, genes: np.ndarray) -> np.ndarray:
        with open(self.path, "ab") as file:
            file.write(b"." * len(genes))
        return super().top1(genes)


def test_the_log_of_a_front_has_its_hypervolume(tmp_path: Path) -> None:
    problem = problem_of(objectives=[Objective(), Objective("latency_ms", "toy-phone")])
    log = SearchLog.open(tmp_path / "log", problem, algorithm="nsga2", seed=0, budget=BUDGET)
    result = Nsga2().search(problem, np.random.default_rng(0), BUDGET, log)
    logged = read_log(tmp_path / "log")
    assert list(zip(logged.evaluations.tolist(), logged.hypervolume.tolist(), strict=True)) == list(result.history)
    assert logged.best[-1] == result.top1[0]
    assert np.array_equal(logged.top1, problem.top1(logged.genes))
    assert len(logged.genes) == result.evaluations
    assert logged.header["objectives"] == ["accuracy", "latency on toy-phone"]


def test_batches_before_an_accurate_subnet_have_no_best(tmp_path: Path) -> None:
    problem = problem_of(objectives=[Objective("latency_ms", "toy-phone")], min_top1=0.72)
    log = SearchLog.open(tmp_path / "log", problem, algorithm="nsga2", seed=0, budget=BUDGET)
    Nsga2(population=4).search(problem, np.random.default_rng(0), BUDGET, log)
    logged = read_log(tmp_path / "log")
    found = np.isfinite(logged.best)
    assert not found[0]
    assert found[-1]
    assert np.isnan(logged.hypervolume).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "its seed is 0, not 1"),
        ({"budget": 500}, "its budget is 400, not 500"),
        (
            {"limits": [Limit("latency_ms", 13.0, "toy-phone")]},
            r"its limits is \[\['latency_ms', 'toy-phone', 12.0\]\], not",
        ),
        ({"source": "b"}, "its source is '', not 'b'"),
        ({"min_top1": 0.5}, "its min_top1 is None, not 0.5"),
        ({"part": make_space(stages=3).restrict(kernels=[5])}, "its part is None, not"),
        ({"costs": make_problem(make_space(stages=3)).costs | {"x": 0}}, None),
    ],
)
def test_the_log_of_another_search_is_refused(tmp_path: Path, changes: dict[str, object], message: str | None) -> None:
    path = tmp_path / "log"
    search(path, problem_of())
    settings = {"budget": BUDGET, "seed": 0} | {key: changes[key] for key in ("budget", "seed") if key in changes}
    problem = problem_of(**{key: value for key, value in changes.items() if key not in settings})
    if message is None:
        search(path, problem, **settings)  # type: ignore[arg-type]
    else:
        with pytest.raises(UserError, match=rf"log: the log of another search: {message}.*; give another file"):
            search(path, problem, **settings)  # type: ignore[arg-type]


def test_a_table_that_has_changed_is_noticed(tmp_path: Path) -> None:
    search(tmp_path / "log", problem_of())
    costs = problem_of().costs["toy-phone"]
    costs.table *= 1.001  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"its costs is \{'latency_ms on toy-phone': \["):
        search(tmp_path / "log", problem_of(costs={"toy-phone": costs}))


def test_damaged_logs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(UserError, match="log: no such file"):
        read_log(path)
    search(path, problem_of())
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"genes": 3}', *lines[2:]]) + "\n")
    with pytest.raises(UserError, match="log:2: not a batch of a search"):
        read_log(path)
    path.write_text("{}\n")
    with pytest.raises(UserError, match="log: not a search's log of format 1"):
        read_log(path)
    path.write_text("")
    with pytest.raises(UserError, match="log: not a search's log of format 1"):
        read_log(path)


def test_logs_of_two_metrics_of_accuracy_are_kept_apart(tmp_path: Path) -> None:
    top1, balanced = problem_of(), problem_of(accuracy=BALANCED)
    search(tmp_path / "top1", top1)
    search(tmp_path / "balanced", balanced)
    assert "accuracy" not in read_log(tmp_path / "top1").header  # as versions before wrote it
    assert read_log(tmp_path / "balanced").accuracy is BALANCED
    with pytest.raises(UserError, match="top1: the log of a search by top-1, not balanced accuracy; give another file"):
        search(tmp_path / "top1", balanced)
    with pytest.raises(UserError, match="balanced: the log of a search by balanced accuracy, not top-1; give another file"):
        search(tmp_path / "balanced", top1)
    logs = {name: read_log(tmp_path / name) for name in ("top1", "balanced")}
    with pytest.raises(UserError, match="balanced: is of balanced accuracy; top1 is of top-1"):
        draw_history(logs, "A title")
    alone = draw_history({"balanced": logs["balanced"]}, "A title")
    assert alone.axes[0].get_ylabel() == "Best predicted balanced accuracy so far (%)"
