"""The closed loop: on toys, and as `ofa predictor --rounds` on a tiny run that was really trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.cli.main import main
from ofa.data.batches import Data
from ofa.errors import UserError
from ofa.space.search_space import Genes, load_space
from search.arrays import Floats
from search.measurements.closed_loop import FrontTarget, Round, check_targets, closed_loop
from search.measurements.log import sample_plan
from search.pareto.front import front_order, hypervolume
from search.predictors.selection import select
from tests.search_toys import ToyAccuracy, ToyCosts, make_space

ROOT = Path(__file__).resolve().parents[3]
SPACE = load_space("fmnist")
WORDS = ("--samples", "10", "--rounds", "2", "--points", "3", "--kind", "ridge", "--platform", "edge-int8")


class Bench:
    """Measures toys, with noise that belongs to the subnet, and remembers what it was asked for."""

    def __init__(self, noise: float = 0.0) -> None:
        self.truth, self.noise = ToyAccuracy(SPACE, seed=3), noise
        self.asked: list[bytes] = []

    def __call__(self, genes: Genes) -> Floats:
        self.asked += [row.tobytes() for row in genes]
        rngs = (np.random.default_rng(row.view(np.uint8)) for row in genes)
        return self.truth.top1(genes) + self.noise * np.array([rng.normal() for rng in rngs])


def target(metric: str = "latency_ms", platform: str = "phone", seed: int = 1) -> FrontTarget:
    return FrontTarget(metric=metric, platform=platform, costs=ToyCosts(SPACE, seed=seed))


def loop(
    measure: Callable[[Genes], Floats], targets: list[FrontTarget], rounds: int = 2, points: int = 6, samples: int = 40
) -> list[Round]:
    fit = partial(select, SPACE, kinds=("ridge",), seed=0, scored=samples)
    sample = sample_plan(SPACE, samples, np.random.default_rng(0))
    return list(closed_loop(SPACE, targets, sample, measure, fit, rounds, points, seed=0))


# -- on toys -------------------------------------------------------------------------------------------------------------


def test_every_round_measures_new_subnets_of_the_predicted_front() -> None:
    bench, aim = Bench(noise=0.003), target()
    first, second, third = loop(bench, [aim])
    assert len(bench.asked) == len(set(bench.asked)) == len(third.genes)
    assert (first.new, first.predicted, first.optimism, first.error) == (40, None, None, None)
    assert np.array_equal(third.genes[: len(second.genes)], second.genes)
    assert 2 <= second.new <= 6
    assert third.top1 == pytest.approx(bench(third.genes))
    for done in (second, third):
        assert done.predicted is not None
        assert done.optimism == pytest.approx((done.predicted - done.top1[-done.new :]).mean())
        assert done.error is not None
        assert abs(done.optimism) <= done.error
        assert done.selection.predictor.samples == len(done.genes)
        assert done.selection.report.samples == 40  # always of the random sample, so that rounds compare
        assert f"round {done.number}: {done.new} measured; predicted" in done.line()
    # What was chosen lies on the front that the previous round's predictor sees.
    chosen = second.genes[-second.new :]
    cost, top1 = aim.cost(chosen), first.selection.predictor.top1(chosen)
    cloud = SPACE.sample(3000, np.random.default_rng(5))
    everything = front_order(
        np.concatenate([cost, aim.cost(cloud)]), np.concatenate([top1, first.selection.predictor.top1(cloud)])
    )
    assert np.isin(np.arange(len(chosen)), everything).all()


def test_the_measured_front_grows_and_beats_as_many_random_subnets() -> None:
    bench, aim = Bench(noise=0.002), target()
    rounds = loop(bench, [aim], rounds=3)
    volumes = [done.hypervolumes["latency_ms on phone"] for done in rounds]
    assert volumes == sorted(volumes)
    last = rounds[-1]
    sample = last.genes[:40]
    worst = float(aim.cost(sample).max()), float(last.top1[:40].min())
    assert volumes[0] == pytest.approx(hypervolume(aim.cost(sample), last.top1[:40], *worst))
    longer = sample_plan(SPACE, len(last.genes), np.random.default_rng(0))
    assert volumes[-1] > 1.02 * hypervolume(aim.cost(longer), bench(longer), *worst)
    genes, cost, top1 = aim.front(last.genes, last.top1)
    assert (np.diff(cost) > 0).all()
    assert (np.diff(top1) > 0).all()
    assert {row.tobytes() for row in genes} <= set(bench.asked)


def test_several_fronts_share_what_is_measured() -> None:
    targets = [target(), target("energy_mj"), target(platform="watch", seed=8)]
    bench = Bench(noise=0.002)
    last = loop(bench, targets, rounds=1)[-1]
    assert len(bench.asked) == len(set(bench.asked))
    assert set(last.hypervolumes) == {"latency_ms on phone", "energy_mj on phone", "latency_ms on watch"}
    assert 6 < last.new <= 18
    with pytest.raises(UserError, match="the fronts are latency_ms on phone, latency_ms on phone; each platform"):
        check_targets([target(), target()])
    assert target("macs_m").name == "macs_m"


def test_goes_the_same_way_again() -> None:
    once, again = loop(Bench(noise=0.002), [target()]), loop(Bench(noise=0.002), [target()])
    assert np.array_equal(once[-1].genes, again[-1].genes)
    assert [done.plain() for done in once] == [done.plain() for done in again]


def test_ends_when_a_front_has_nothing_left_to_measure() -> None:
    space = make_space(stages=1)
    truth = ToyAccuracy(space, seed=3)
    aim = FrontTarget(metric="latency_ms", platform="phone", costs=ToyCosts(space, seed=1))
    sample = sample_plan(space, space.count() - 1, np.random.default_rng(0))
    fit = partial(select, space, kinds=("ridge",), seed=0, scored=len(sample))
    rounds = list(closed_loop(space, [aim], sample, truth.top1, fit, 9, 6, seed=0))
    assert len(rounds) <= 2
    assert len(rounds[-1].genes) <= space.count()


# -- a trained run -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """Of which nothing has been measured."""
    return Path(shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("predictor")))


def predictor(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["predictor", str(run), *WORDS, *words, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def lines(run: Path) -> list[str]:
    return (run / "predictor" / "measurements.jsonl").read_text().splitlines()


def test_verb_measures_the_fronts_and_reports_each_round(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = predictor(run, capsys)
    entries = [json.loads(line) for line in lines(run)]
    assert result["measured_now"] == len(entries) == sum(done["measured"] for done in result["rounds"])
    assert [done["round"] for done in result["rounds"]][:2] == [0, 1]
    assert set(result["fronts"]) == {"energy_mj on edge-int8", "latency_ms on edge-int8"}
    assert set(result["rounds"][1]["hypervolume"]) == set(result["fronts"])
    assert result["rounds"][0]["predicted_error"] is None
    assert result["rounds"][1]["predicted_error"] >= abs(result["rounds"][1]["predicted_optimism"])
    measured = {tuple(entry["genes"]): entry["top1"] for entry in entries}
    for front in result["fronts"].values():
        assert all(measured[tuple(point["genes"])] == point["measured_top1"] for point in front)
    stored = json.loads((run / "predictor" / "predictor.json").read_text())
    assert stored["samples"] == len(entries)
    assert stored["rounds"] == result["rounds"]
    assert 0 <= stored["noise"]["tau_ceiling"] <= 1
    capsys.readouterr()
    assert main(["predictor", str(run), *WORDS]) == 0
    text = capsys.readouterr().out
    assert "round 1: " in text
    assert "noise ceiling      tau" in text


def test_killed_in_the_middle_it_goes_on_without_measuring_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    expected = predictor(whole, capsys)
    stop = len(lines(whole)) - 1
    assert stop > 10  # beyond the random sample
    code = f"""
import os, signal
from ofa.cli.main import main
from ofa.measure.evaluator import SubnetEvaluator
measure, calls = SubnetEvaluator.correct, []
def correct(self, *words):
    calls.append(words)
    if len(calls) > {stop}:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(self, *words)
SubnetEvaluator.correct = correct
main(["predictor", {str(run)!r}, *{WORDS!r}, "--json"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert lines(run) == lines(whole)[:stop]
    result = predictor(run, capsys)
    assert result["measured_now"] == len(lines(whole)) - stop
    assert lines(run) == lines(whole)
    assert result["rounds"] == expected["rounds"]
    assert result["fronts"] == expected["fronts"]
    assert predictor(run, capsys)["measured_now"] == 0


def test_test_data_is_never_looked_at(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    splits: list[str] = []
    read = Data._split

    def watched(self: Data, split: str) -> Any:
        splits.append(split)
        return read(self, split)

    monkeypatch.setattr(Data, "_split", watched)
    predictor(run, capsys)
    for words in (
        ("query", str(run), "--platform", "edge-int8", "--macs-m", "0.08", "--out", str(tmp_path / "net")),
        ("pareto", str(run), "--platform", "edge-int8", "--samples", "9", "--points", "3", "--out", str(tmp_path / "a.png")),
    ):
        assert main([*words, "--json"]) == 0
    assert set(splits) == {"train", "validation"}  # training images: only to recalibrate batch norm
    assert {json.loads(line)["split"] for line in lines(run)} == {"validation"}
    splits.clear()
    assert main(["evaluate", str(run), "--random", "1", "--split", "test", "--json"]) == 0
    assert "test" in splits  # the watch sees it where it is used
    capsys.readouterr()


def test_mistakes_are_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (("--kind", "forest"), "kind is 'forest'; available are auto, ridge, stage-additive, mlp"),
        (("--platform", "edge-int8"), "--platform says which fronts --rounds searches; give --rounds too"),
        (("--rounds", "-1"), "--rounds is -1; must be at least 0"),
        (("--rounds", "1", "--points", "1"), "--points is 1; must be at least 2"),
        (("--rounds", "1", "--platform", "edge-int8", "--platform", "edge-int8"), "each platform may be given once"),
    ):
        capsys.readouterr()
        assert main(["predictor", str(run), *words]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
