"""Optuna's samplers: any by name, a study shared by processes, studies of other problems refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from sqlalchemy.exc import IntegrityError

from ofa.errors import UserError
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.optuna_search import OptunaSearch, find_sampler
from search.searchers.random_search import RandomSearch
from tests.search_toys import ToyAccuracy, make_problem, make_space

TWO = [Objective(), Objective("latency_ms", "toy-phone")]


def problem_of(**changes: object) -> Problem:
    return replace(make_problem(make_space(stages=3), latency_ms=11.0), **changes)  # type: ignore[arg-type]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def journal(path: Path) -> optuna.storages.JournalStorage:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def test_tpe_learns_more_than_random_sampling() -> None:
    problem = problem_of()
    learned = OptunaSearch(batch=8).search(problem, rng(), 64)
    assert learned.evaluations == 64
    assert learned.top1[0] > RandomSearch().search(problem, rng(), 64).top1[0]


@pytest.mark.parametrize("objectives", [[Objective()], TWO])
@pytest.mark.parametrize("sampler", ["NSGAIISampler", "NSGAIIISampler", "BruteForceSampler"])
def test_samplers_by_name(sampler: str, objectives: list[Objective]) -> None:
    result = OptunaSearch(sampler=sampler).search(problem_of(objectives=objectives), rng(), 20)
    assert result.evaluations == 20
    assert (problem_of().utilisation(result.genes) <= 1).all()


def test_a_wrong_sampler_lists_what_there_is() -> None:
    expected = (
        "sampler is 'Tpe'; optuna has, for categorical genes, BruteForceSampler, GPSampler, NSGAIIISampler, NSGAIISampler"
    )
    with pytest.raises(UserError, match=expected + ", RandomSampler, TPESampler$"):
        find_sampler("Tpe", 0)
    with pytest.raises(UserError, match="sampler is 'CmaEsSampler'; optuna has"):
        OptunaSearch(sampler="CmaEsSampler").search(problem_of(), rng(), 10)


def test_trials_can_be_read_in_the_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    problem = problem_of(min_top1=0.5)
    result = OptunaSearch(sampler="RandomSampler", storage=storage, study="mine").search(problem, rng(), 24)
    study = optuna.load_study(study_name="mine", storage=storage)
    assert study.user_attrs["question"]["limits"] == [["latency_ms", "toy-phone", 11.0]]
    assert study.best_value == result.top1[0]
    done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    beyond = study.get_trials(states=(optuna.trial.TrialState.PRUNED,))
    assert len({trial.user_attrs["subnet"] for trial in done}) == 24
    assert beyond
    for trial in (*done, *beyond):
        within = trial.state == optuna.trial.TrialState.COMPLETE
        assert trial.user_attrs["subnet"].startswith(
            f"{trial.params['resolution']} px, 16: k{trial.params['stages[0].blocks[0].kernel']}"
        )
        assert (trial.user_attrs["latency_ms on toy-phone"] <= 11.0) == within
        assert (trial.constraints["latency of at most 11.0 ms on toy-phone"] <= 0) == within
        assert ("top-1 of at least" in trial.constraints) == within
        assert ("top1" in trial.user_attrs) == within


def test_a_study_goes_on_where_it_was_and_only_for_the_same_problem(tmp_path: Path) -> None:
    storage, stored = f"journal://{tmp_path / 'log'}", journal(tmp_path / "log")

    def run(budget: int, study: str | None = None, **changes: object) -> object:
        return OptunaSearch(sampler="RandomSampler", storage=storage, study=study).search(
            problem_of(**changes), rng(), budget
        )

    first = run(10)
    again = run(10)
    assert np.array_equal(first.genes, again.genes)
    more = run(25)
    assert more.evaluations == 25
    assert {row.tobytes() for row in first.genes} <= {row.tobytes() for row in more.genes}
    (name,) = optuna.get_all_study_names(stored)
    assert name.startswith("toy-")
    with pytest.raises(
        UserError, match=rf"study '{name}' is of another problem: its source is '', not 'other'; give another"
    ):
        run(10, study=name, source="other")
    run(10, source="other")
    assert len(optuna.get_all_study_names(stored)) == 2
    optuna.create_study(storage=stored, study_name="foreign").optimize(lambda trial: 0.0, n_trials=1)
    with pytest.raises(UserError, match="study 'foreign' is not one of ofa; give another --study"):
        run(10, study="foreign", objectives=[Objective("latency_ms", "toy-phone")])


@pytest.mark.parametrize(
    "storage", ["nonsense", "sqlite:////no/such/folder/x.db", "journal:///no/such/folder/x", "postgresql://x"]
)
def test_storages_that_cannot_be_opened_are_named(storage: str) -> None:
    with pytest.raises(
        UserError, match=rf"storage '{storage}' cannot be opened: .*; allowed are sqlite:///FILE, journal://"
    ):
        OptunaSearch(storage=storage).search(problem_of(), rng(), 10)


def test_a_database_whose_tables_another_process_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses the one of two processes that comes second by a moment; the next attempt finds the tables."""
    attempts: list[str] = []

    class Contended(optuna.storages.RDBStorage):
        def __init__(self, url: str) -> None:
            attempts.append(url)
            if len(attempts) == 1:
                raise IntegrityError("CREATE TABLE", None, Exception("duplicate key value violates unique constraint"))
            super().__init__(url)

    monkeypatch.setattr(optuna.storages, "RDBStorage", Contended)
    monkeypatch.setattr("search.searchers.optuna_search.RETRY_AFTER_S", 0.0)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert OptunaSearch(storage=url, sampler="RandomSampler").search(problem_of(), rng(), 10).evaluations == 10
    assert attempts == [url, url]


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(UserError, match=r"cannot be opened: Failed to import DB access module.* \(.*psycopg"):
        OptunaSearch(storage="postgresql://nowhere/x").search(problem_of(), rng(), 10)


class Slow(ToyAccuracy):
    """A measurement takes its time, so that processes overlap."""

    def top1(self, genes: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        return super().top1(genes)


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    """Both wait for the other to be ready; together they make the evaluations of one budget, and both see all of them."""
    storage = f"journal://{tmp_path / 'journal'}"
    script = f"""
import sys, time
from pathlib import Path
import numpy as np
from search.searchers.optuna_search import OptunaSearch
from tests.search.searchers.test_optuna_search import Slow, problem_of
problem = problem_of()
problem = problem_of(predictor=Slow(problem.space, seed=2))
searcher = OptunaSearch(sampler="RandomSampler", storage={storage!r}, batch=6)
import optuna
folder, seed = Path({str(tmp_path)!r}), int(sys.argv[1])
(folder / f"ready{{seed}}").touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.01)
result = searcher.search(problem, np.random.default_rng(seed), 60)
print(result.evaluations)
"""
    root = Path(__file__).resolve().parents[3]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(seed)],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(2)
    ]
    counts = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    study = optuna.load_study(study_name=None, storage=journal(tmp_path / "journal"))
    done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    workers_of = [trial.user_attrs["worker"].rpartition("-")[0] for trial in done]
    by_worker = {worker: workers_of.count(worker) for worker in workers_of}
    assert len(by_worker) == 2
    assert min(by_worker.values()) >= 6
    assert 60 <= max(counts) <= len(done) <= 72  # each may have begun a last batch
