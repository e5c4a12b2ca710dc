"""How blocks are timed: chains that cover a space, visits, and results that survive a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latency_tables.costs.factors import ShapeGrid
from latency_tables.on_device import timing
from latency_tables.on_device.results import COLUMNS, ENERGY, Results, VisitEnergy, read, settings_of
from latency_tables.on_device.timing import REFERENCE, VISITS, Call, Item, ProgressLine, Timed, TimingPlan, run
from latency_tables.profiling.plan import EMPTY_ITEM, Settings, SpacePlan, cover
from ofa.errors import UserError
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks
from tests.space_toys import toy_space

ITEMS = {name: Item(name, 1, 8) for name in ("a", "b", "n")}
PLAN = TimingPlan("digest", ITEMS, (("a", "b"), ("n",)), batch=2, runs=3, seed=0)
ALL_ROWS = {(c, turn, item) for c, items in enumerate(PLAN.chains) for turn in range(VISITS) for item in (REFERENCE, *items)}
QUIET = ProgressLine(show=False)


class FakeRuntime:
    """Counts calls; a call takes no time that matters."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.called: list[str] = []
        self.alive = 0
        self.most_alive = 0

    def open(self, item: Item) -> Call:
        self.opened.append(item.model)
        return lambda x: self.called.append(f"{item.model} on {x}") or item.model  # type: ignore[func-returns-value]

    def feed(self, item: Item, batch: int) -> str:
        return f"{batch} x {item.channels} x {item.size}"

    def time(self, calls: Sequence[Call], x: str, runs: int) -> Timed:
        for _ in range(runs):
            y = x
            for call in calls:
                y = call(y)
        return Timed([[10.0 * (i + 1)] * runs for i in range(len(calls))], [0.1] * runs, 7)


# -- plans -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "wide", "deep", "fmnist", "mbv3-w1.2"])
def test_chains_cover_every_block_once_or_more_and_fit_together(name: str) -> None:
    space = toy_space(name)
    grid = ShapeGrid.of(space)
    chains = list(cover(grid))
    assert {shape for chain in chains for shape in chain} == set(grid.distinct())
    for chain in chains:
        for before, after in pairwise(chain):
            last, first = before.main[-1], after.main[0]
            assert (last.out_channels, last.out_size) == (first.in_channels, first.in_size)
    assert sum(map(len, chains)) < 1.5 * len(grid.distinct())  # few are measured twice


def test_a_plan_names_every_block_and_network() -> None:
    space = toy_space("wide")
    plan = SpacePlan.of(space, Settings(fit_networks=2, test_networks=3, batch=4, runs=12))
    assert set(plan.timing.items) == {EMPTY_ITEM, *plan.blocks, *plan.networks}
    assert {name for chain in plan.timing.chains for name in chain} == set(plan.timing.items)
    assert set(plan.blocks.values()) == set(ShapeGrid.of(space).distinct())
    assert len(plan.networks) == 5
    assert (plan.timing.batch, plan.timing.runs) == (4, 3)  # 12 runs in 5 visits
    for name, shape in plan.blocks.items():
        item = plan.timing.items[name]
        (model,) = plan.models[item.model]
        assert (item.channels, item.size) == (shape.main[0].in_channels, shape.main[0].in_size)
        assert [op.kernel for op in model.main] == [op.kernel for op in shape.main]
    for name, subnet in plan.networks.items():
        item = plan.timing.items[name]
        assert plan.models[item.model] == tuple(walk_blocks(space, subnet))
        assert item.size == subnet.resolution


def test_results_of_older_kits_are_of_the_same_plan() -> None:
    """The digest is that of version 0.1.0: results that its kits measured are still read."""
    plan = SpacePlan.of(load_space("fmnist"), Settings(runs=5, fit_networks=2, test_networks=4))
    assert plan.timing.digest == "917b8e9b6385649c"


def test_a_plan_follows_from_space_and_settings_alone() -> None:
    space = toy_space("wide")
    assert SpacePlan.of(space, Settings()).timing == SpacePlan.of(space, Settings()).timing
    others = [
        SpacePlan.of(space, Settings(seed=1)),
        SpacePlan.of(space, Settings(runs=51)),
        SpacePlan.of(replace(space, classes=6), Settings()),
        SpacePlan.of(space.restrict(resolutions=[12]), Settings()),
    ]
    digests = {plan.timing.digest for plan in (SpacePlan.of(space, Settings()), *others)}
    assert len(digests) == 5


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="batch is 0; must be at least 1"):
        Settings(batch=0)
    with pytest.raises(UserError, match="test_networks is 0; must be at least 1"):
        Settings(test_networks=0)


# -- visits ----------------------------------------------------------------------------------------------------------------


def test_every_chain_is_visited_in_every_round(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    path = tmp_path / "r.csv"
    log = Results(path, PLAN, {"threads": "1"})
    run(PLAN, runtime, log, QUIET)
    log.close()
    settings, rows, end = read(path, PLAN)
    assert settings == {"threads": "1"}
    assert end == path.stat().st_size
    assert sorted(row[:3] for row in rows) == sorted(ALL_ROWS)
    assert {row[2:4]: row[4] for row in rows} == {
        (REFERENCE, 7): [0.1] * 3,
        ("a", 7): [10.0] * 3,
        ("b", 7): [20.0] * 3,
        ("n", 7): [10.0] * 3,
    }
    turns = [row[1] for row in rows]
    assert turns == sorted(turns)  # a round ends before the next one begins
    assert runtime.called[:2] in (["a on 2 x 1 x 8", "b on a"], ["n on 2 x 1 x 8"] * 2)  # a block runs on the one before
    per_visit = timing.WARM_UP + 3
    assert runtime.called.count("b on a") == VISITS * per_visit


def test_the_order_of_visits_changes_from_round_to_round(tmp_path: Path) -> None:
    items = {str(i): Item(str(i), 1, 8) for i in range(6)}
    plan = TimingPlan("digest", items, tuple((name,) for name in items), 1, 1, seed=3)
    runtime = FakeRuntime()
    log = Results(tmp_path / "r.csv", plan, {})
    run(plan, runtime, log, QUIET)
    log.close()
    rounds = {tuple(runtime.opened[i : i + 6]) for i in range(0, 6 * VISITS, 6)}
    assert len(rounds) == VISITS
    assert all(sorted(order) == sorted(items) for order in rounds)


def test_a_chain_that_was_slow_is_visited_again(tmp_path: Path) -> None:
    """Its reference says so: until it has as many calm runs as were asked for, or `MOST_VISITS` visits."""

    class Slow(FakeRuntime):
        visits = 0

        def time(self, calls: Sequence[Call], x: str, runs: int) -> Timed:
            if runs == timing.WARM_UP or len(calls) == 1:
                return Timed([[10.0] * runs for _ in calls], [0.1] * runs, 0)
            self.visits += 1
            return Timed([[10.0] * runs for _ in calls], [0.2 if self.visits <= slow else 0.1] * runs, 0)

    for slow, expected in ((0, VISITS), (1, VISITS + 1), (3, VISITS + 3), (100, timing.MOST_VISITS)):
        log = Results(tmp_path / f"{slow}.csv", PLAN, {})
        runtime = Slow()
        run(PLAN, runtime, log, QUIET)
        log.close()
        assert runtime.visits == expected
        assert len(read(tmp_path / f"{slow}.csv", PLAN)[1]) == 3 * expected + 2 * VISITS


def test_a_short_chain_has_more_runs() -> None:
    class Quick(FakeRuntime):
        def time(self, calls: Sequence[Call], x: str, runs: int) -> Timed:
            return Timed([[0.5] * runs for _ in calls], [0.1] * runs, 0)

    assert [len(times) for times in timing.visit(PLAN, Quick(), ("a", "b")).times_ms] == [20, 20]  # 20 runs of 1 ms

    class Instant(FakeRuntime):
        def time(self, calls: Sequence[Call], x: str, runs: int) -> Timed:
            return Timed([[1e-6] * runs for _ in calls], [0.1] * runs, 0)

    assert [len(times) for times in timing.visit(PLAN, Instant(), ("n",)).times_ms] == [timing.MOST_RUNS]


def test_a_clocked_call_is_timed_alone() -> None:
    seen = []
    timed = timing.clocked([lambda x: seen.append(x) or x + 1, lambda x: seen.append(x) or 0], 5, 4)  # type: ignore[func-returns-value]
    assert seen == [5, 6] * (4 + timed.preempted)
    assert [len(times) for times in timed.times_ms] == [4, 4]
    assert len(timed.reference_ms) == 4
    assert min(min(times) for times in (*timed.times_ms, timed.reference_ms)) > 0


def test_an_interrupted_run_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for interrupted, left_out in (({2, 5}, 2), (set(range(100)), 0)):
        counts = {"run": 0, "preemptions": 0}

        def call(x: int, counts: dict[str, int] = counts, interrupted: set[int] = interrupted) -> int:
            counts["run"] += 1
            counts["preemptions"] += counts["run"] in interrupted
            return x

        monkeypatch.setattr(timing, "_preemptions", lambda counts=counts: counts["preemptions"])
        timed = timing.clocked([call], 0, 6)
        assert timed.preempted == left_out
        # where it always happens, all of a limited number of runs count
        assert [len(times) for times in timed.times_ms] == [6 if left_out else 6 * timing.MOST_TRIES]


def test_progress_shows_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLine(every_s=0.0)
    progress.begin(2, 4)
    progress.step()
    progress.step()
    shown = capsys.readouterr().err
    assert "2 of 4 visits are done already; continuing" in shown
    assert "] 3/4 visits" in shown
    assert shown.endswith("4/4 visits, 0 s left   \n")


# -- results ---------------------------------------------------------------------------------------------------------------


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "r.csv"
    log = Results(path, PLAN, {"threads": "1"})
    run(PLAN, FakeRuntime(), log, QUIET)
    log.close()
    return path


class Metered(Results):
    """With an energy in each visit."""

    def append(self, chain: int, turn: int, names: Sequence[str], timed: Timed, energy: VisitEnergy | None = None) -> None:
        super().append(chain, turn, names, timed, VisitEnergy(0.25 * chain, 0.5, "RAPL, package-0"))


@pytest.mark.parametrize("cut", range(0, 190, 7))
def test_energies_of_visits_survive_a_kill_with_them(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.csv"
    log = Metered(path, PLAN, {})
    run(PLAN, FakeRuntime(), log, QUIET)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut] if cut else whole)
    log = Metered(path, PLAN, {})
    run(PLAN, FakeRuntime(), log, QUIET)
    log.close()
    _, rows, _ = read(path, PLAN)
    energies = {row[:2]: row for row in rows if row[2].startswith(ENERGY)}
    assert len(rows) == 7 * VISITS
    assert {row[:3] for row in rows if not row[2].startswith(ENERGY)} == ALL_ROWS
    assert set(energies) == {(chain, turn) for chain in range(2) for turn in range(VISITS)}
    assert all(row[2:] == (f"{ENERGY}RAPL; package-0", 0, [0.25 * chain, 0.5]) for (chain, _), row in energies.items())


@pytest.mark.parametrize("cut", range(0, 190, 7))
def test_what_a_kill_left_is_continued(measured: Path, cut: int) -> None:
    """Wherever the file ends: whole visits are kept, and only the others are measured again."""
    whole = measured.read_bytes()
    measured.write_bytes(whole[:-cut] if cut else whole)
    log = Results(measured, PLAN, {"threads": "1"})
    kept = len(log.done)
    runtime = FakeRuntime()
    run(PLAN, runtime, log, QUIET)
    log.close()
    assert kept >= 2 * VISITS - 1 - cut // 24  # a line has 24 bytes at least
    assert len(runtime.called) > 0 or kept == 2 * VISITS
    _, rows, _ = read(measured, PLAN)
    assert len(rows) == 5 * VISITS
    assert {row[:3] for row in rows} == ALL_ROWS


def signed(text: str) -> str:
    """A line with its digest, as they are written."""
    return f"{text},{hashlib.sha256(text.encode()).hexdigest()[:16]}\n"


def test_a_file_without_a_whole_first_line_is_begun_anew(measured: Path) -> None:
    measured.write_bytes(measured.read_bytes()[:20])
    log = Results(measured, PLAN, {"threads": "1"})
    log.close()
    assert log.done == {}
    assert lines_of(measured)[1] == f"{COLUMNS},digest\n"


def test_other_settings_are_refused(measured: Path) -> None:
    with pytest.raises(ValueError, match=rf"{measured}:1: threads is '1', now '2': begun with other settings"):
        Results(measured, PLAN, {"threads": "2"})
    with pytest.raises(ValueError, match=r":1: runtime is None, now 'torch'"):
        Results(measured, PLAN, {"threads": "1", "runtime": "torch"})
    with pytest.raises(ValueError, match=rf"{measured}:1: plan is not other: these are results of another kit, space"):
        Results(measured, replace(PLAN, digest="other"), {"threads": "1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,a,0,1 -2 3", r"times_ms of a: -2 is not finite and above 0"),
        ("0,1,a,0,1 nan", r"times_ms of a: nan is not finite and above 0"),
        ("0,1,a,0,1 0", r"times_ms of a: 0 is not finite and above 0"),
        ("0,1,a,0,1 inf", r"times_ms of a: inf is not finite and above 0"),
        ("0,1,a,0,1us", r"times_ms of a: '1us' is not a number"),
        ("0,1,a,0,", r"times_ms of a is empty"),
        ("0,1,z,0,1", r"item is 'z', which the plan does not have"),
        ("0,1,n,0,1", r"item is 'n', out of order; lines are missing before it"),
        ("9,1,a,0,1", r"chain is '9'; must be 0 to 1"),
        ("0,15,a,0,1", r"visit is '15'; must be 0 to 14"),
        ("0,1,a,x,1", r"preempted is 'x'; must be 0 to 999999"),
        ("0,1,energy: x,0,1", r"energy is '1'; expected joules and seconds"),
        ("0,1,energy: x,0,-1 2", r"energy is '-1 2'; must be finite, joules at least 0 and seconds above 0"),
        ("0,1,energy: x,0,1 0", r"energy is '1 0'; must be finite, joules at least 0 and seconds above 0"),
        ("0,1,energy: x,0,nan 1", r"energy is 'nan 1'; must be finite"),
        ("0,a,1", r"3 values; expected chain,visit,item,preempted,times_ms"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_key(measured: Path, text: str, message: str) -> None:
    lines = lines_of(measured)
    lines[2] = signed(text)
    measured.write_text("".join(lines))
    with pytest.raises(ValueError, match=rf"^{measured}:3: {message}"):
        read(measured, PLAN)


def test_rows_of_a_visit_have_as_many_runs(measured: Path) -> None:
    lines = lines_of(measured)
    lines[3] = signed(lines[3].rpartition(",")[0].replace(",10 10 10", ",10 10"))
    measured.write_text("".join(lines))
    with pytest.raises(ValueError, match=rf"^{measured}:4: times_ms of [an] are 2; this visit has 3 runs"):
        read(measured, PLAN)


def test_a_visit_given_twice_is_refused(measured: Path) -> None:
    lines = lines_of(measured)
    again = [line for line in lines[2:] if line.startswith("1,0,")]
    measured.write_text("".join([*lines, *again]))
    with pytest.raises(ValueError, match=rf":{len(lines) + 1}: visit 0 of chain 1 is given twice"):
        read(measured, PLAN)


def test_wrong_headers_are_refused(measured: Path) -> None:
    lines = lines_of(measured)
    measured.write_text("".join([lines[0], "item,us\n", *lines[2:]]))
    expected = r":2: columns are 'item,us'; expected 'chain,visit,item,preempted,times_ms,digest'"
    with pytest.raises(ValueError, match=expected):
        read(measured, PLAN)
    measured.write_text("".join(lines[1:]))
    with pytest.raises(ValueError, match=r":1: not the results of a profile"):
        settings_of(measured)
    measured.write_text("# {nonsense}\n")
    with pytest.raises(ValueError, match=r":1: not the results of a profile"):
        settings_of(measured)


def test_times_are_kept_to_six_digits(tmp_path: Path) -> None:
    log = Results(tmp_path / "r.csv", PLAN, {})
    log.append(1, 0, ["n"], Timed([[1.23456789, 1e-5]], [0.1, 0.2], 4))
    log.close()
    _, rows, _ = read(tmp_path / "r.csv", PLAN)
    assert rows == [(1, 0, REFERENCE, 4, [0.1, 0.2]), (1, 0, "n", 4, [1.23457, 1e-5])]
    assert json.loads(lines_of(tmp_path / "r.csv")[0][2:])["plan"] == "digest"
    assert np.isfinite(rows[1][4]).all()
