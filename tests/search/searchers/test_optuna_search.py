"""Optuna's samplers: any by name, a study shared by processes, studies of other problems refused."""

from __future__ import annotations

import copy
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sqlalchemy.exc import IntegrityError

from ofa.errors import UserError
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.optuna_search import OptunaSearch, find_sampler
from search.searchers.random_search import RandomSearch
from search.searchers.shared_study import SharedStudy, digest, open_shared
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
    monkeypatch.setattr("search.searchers.shared_study.RETRY_AFTER_S", 0.0)
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


WORKER = """
import sys, time
from pathlib import Path
from typing import Any
import numpy as np
import optuna
from search.searchers.optuna_search import OptunaSearch
from tests.search.searchers.test_optuna_search import Slow, problem_of
storage, folder, seed, of = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
problem = problem_of()
problem = problem_of(predictor=Slow(problem.space, seed=2))
searcher = OptunaSearch(sampler="RandomSampler", storage=storage, batch=6)
(folder / f"ready{seed}").touch()
while len(list(folder.glob("ready*"))) < of:
    time.sleep(0.01)
print(searcher.search(problem, np.random.default_rng(seed), 60).evaluations)
"""


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_processes_that_share_a_study_keep_its_budget_exactly(kind: str, tmp_path: Path) -> None:
    """They wait until all are ready; together they make the evaluations of one budget, and each sees all of them."""
    url = f"{kind}://{'/' if kind == 'sqlite' else ''}{tmp_path / 'study'}"
    root = Path(__file__).resolve().parents[3]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, url, str(tmp_path), str(seed), "3"],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    counts = [int(worker.communicate(timeout=250)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert counts == [60, 60, 60]
    study = optuna.load_study(study_name=None, storage=journal(tmp_path / "study") if kind == "journal" else url)
    assert not study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert len(done) == len({trial.user_attrs["subnet"] for trial in done}) == 60
    workers_of = [trial.user_attrs["worker"].rpartition("-")[0] for trial in done]
    by_worker = {worker: workers_of.count(worker) for worker in workers_of}
    assert len(by_worker) == 3
    assert min(by_worker.values()) >= 6


# -- claims ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
@pytest.mark.parametrize("what", ["parameter", "value", "accuracy", "digest"])
def test_a_trial_that_is_not_as_it_was_written_is_refused(kind: str, what: str, tmp_path: Path) -> None:
    url = f"{kind}://{'/' if kind == 'sqlite' else ''}{tmp_path / 'study'}"
    searcher, problem = OptunaSearch(sampler="RandomSampler", storage=url), problem_of()
    searcher.search(problem, rng(), 12)
    if kind == "journal":
        lines = [json.loads(line) for line in (tmp_path / "study").read_text().splitlines()]
        for line in lines:
            worn = {"parameter": "params", "value": "values", "accuracy": "user_attr", "digest": "user_attr"}[what]
            attribute = {"accuracy": "top1", "digest": "digest"}.get(what)
            if line.get(worn) is None or (attribute and attribute not in line[worn]):
                continue
            if what == "parameter":
                name = next(iter(line[worn]))
                line[worn][name] = (line[worn][name] + 1) % 2
            elif what == "value":
                line[worn][0] += 1e-3
            else:
                line[worn][attribute] = 0.123 if what == "accuracy" else "0" * 64
            break
        else:
            pytest.skip("this storage writes it in another way")
        (tmp_path / "study").write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        import sqlite3

        command = {
            "parameter": "UPDATE trial_params SET param_value = 1 - MIN(param_value, 1) WHERE param_id = 40",
            "value": "UPDATE trial_values SET value = value + 1e-3 WHERE trial_value_id = 3",
            "accuracy": "UPDATE trial_user_attributes SET value_json = '0.123' WHERE key = 'top1'",
            "digest": "UPDATE trial_user_attributes SET value_json = '\"0\"' WHERE key = 'digest'",
        }[what]
        with sqlite3.connect(tmp_path / "study") as base:
            assert base.execute(command).rowcount
        base.close()
    with pytest.raises(
        UserError, match=r"storage .* is damaged: trial \d+ is not as it was written; give another --storage"
    ):
        searcher.search(problem, rng(), 24)


def shared_study(path: Path, budget: int) -> SharedStudy:
    """Of one parameter, which stands for the subnet."""

    def subnets(trials: list[optuna.trial.FrozenTrial]) -> list[bytes]:
        return [str(trial.params["x"]).encode() for trial in trials]

    directions = [optuna.study.StudyDirection.MAXIMIZE]
    return open_shared(f"journal://{path}", "mine", directions, {}, "toy", subnets, budget)


def running(study: SharedStudy, *values: int) -> list[optuna.trial.FrozenTrial]:
    distribution = optuna.distributions.CategoricalDistribution(tuple(range(100)))
    return [
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params={"x": value},
            distributions={"x": distribution},
            user_attrs={"worker": f"{study.worker}-{value}"},
        )
        for value in values
    ]


def complete(study: SharedStudy, trial: optuna.trial.FrozenTrial) -> None:
    told = copy.deepcopy(trial)
    told.state, told.values = optuna.trial.TrialState.COMPLETE, [0.5]
    told.user_attrs["top1"] = 0.5
    told.user_attrs["digest"] = digest(told.params, told.user_attrs, told.values)
    study.complete(told, trial)


def test_a_claim_counts_where_the_budget_has_room_and_nobody_has_the_subnet(tmp_path: Path) -> None:
    one, other = (shared_study(tmp_path / "log", 5) for _ in range(2))
    first = running(one, 1, 2, 3)
    assert one.claim(first) == [True, True, True]
    assert other.room() == 2
    assert other.claim(running(other, 3, 4, 5, 6)) == [False, True, True, False]
    assert one.room() == other.room() == 0
    for trial in first:
        complete(one, trial)
    assert other.room() == 0
    with pytest.raises(UserError, match="stopped"), other.claims():
        raise UserError("stopped")
    assert one.room() == 2
    assert len(one.finished()) == 3


def test_claims_of_a_process_that_has_ended_are_given_back_at_once(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lost, study = shared_study(tmp_path / "log", 3), shared_study(tmp_path / "log", 3)
    lost.worker = f"{platform.node()}-{ended.pid}-abcd"
    assert lost.claim(running(lost, 1, 2)) == [True, True]
    assert study.room() == 3


def test_claims_of_another_machine_are_given_back_in_time_and_what_comes_late_is_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, study = shared_study(tmp_path / "log", 3), shared_study(tmp_path / "log", 3)
    far.worker = "far-away-1-abcd"
    late = running(far, 1, 2)
    assert far.claim(late) == [True, True]
    assert study.room() == 1
    monkeypatch.setattr("search.searchers.shared_study.CLAIM_S", -1.0)
    assert study.room() == 3
    complete(far, late[0])
    assert study.finished() == []
    assert study.room() == 3


def test_a_worker_killed_with_its_claims_leaves_the_budget_whole(tmp_path: Path) -> None:
    """Killed while it predicts its first batch; the next process makes all evaluations."""
    script = f"import os\n{WORKER}".replace(
        "searcher =", "Slow.top1 = lambda self, genes: os.kill(os.getpid(), 9)\nsearcher ="
    )
    root, url = Path(__file__).resolve().parents[3], f"journal://{tmp_path / 'study'}"
    killed = subprocess.run(
        [sys.executable, "-c", script, url, str(tmp_path), "0", "1"], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert killed.returncode == -9
    claims = optuna.load_study(study_name=None, storage=journal(tmp_path / "study")).get_trials()
    assert [trial.state.name for trial in claims] == ["RUNNING"] * 6
    problem = problem_of()
    problem = problem_of(predictor=ToyAccuracy(problem.space, seed=2))
    assert OptunaSearch(sampler="RandomSampler", storage=url, batch=6).search(problem, rng(), 60).evaluations == 60


# -- full disks ------------------------------------------------------------------------------------------------------------


def test_half_a_record_costs_the_journal_that_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    search = OptunaSearch(sampler="RandomSampler", storage=f"journal://{path}")
    search.search(problem_of(), rng(), 10)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert search.search(problem_of(), rng(), 15).evaluations == 15
    assert path.read_bytes().startswith(whole[: whole.rindex(b"\n", 0, -1) + 1])
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_goes_on_after_a_full_disk(kind: str, tmp_path: Path) -> None:
    """A process that may not make a larger file: a full disk as it sees it. In the middle of a record of the journal."""
    url = f"{kind}://{'/' if kind == 'sqlite' else ''}{tmp_path / 'study'}"
    search = OptunaSearch(sampler="RandomSampler", storage=url)
    search.search(problem_of(), rng(), 10)
    size = (tmp_path / "study").stat().st_size
    room = 5000 if kind == "journal" else 0
    script = f"""
import resource, numpy as np
from ofa.errors import UserError
from search.searchers.optuna_search import OptunaSearch
from tests.search.searchers.test_optuna_search import problem_of
resource.setrlimit(resource.RLIMIT_FSIZE, ({size + room}, {size + room}))
try:
    OptunaSearch(sampler="RandomSampler", storage={url!r}).search(problem_of(), np.random.default_rng(1), 60)
except UserError as error:
    print(error)
"""
    root = Path(__file__).resolve().parents[3]
    full = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert full.stdout.startswith(f"storage '{url}' cannot be read or written: "), full.stderr
    assert full.stdout.endswith("; what it has stays; the same command goes on with it\n")
    assert full.stdout.count("\n") == 1
    assert search.search(problem_of(), rng(), 30).evaluations == 30


@pytest.mark.parametrize("when", ["os.unlink", "os.rename", "os.fsync"])
def test_a_journal_is_unlocked_after_a_signal_in_the_middle_of_a_record(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.searchers.whole_journal import WholeJournal

    name = when.removeprefix("os.")
    given = getattr(os, name)

    def interrupted(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return given(*args, **options)

    file = WholeJournal(str(tmp_path / "log"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    monkeypatch.setattr(os, name, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            file.append_logs([{"op_code": 0}])
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert list(file.read_logs(0)) == [{"op_code": 0}]
