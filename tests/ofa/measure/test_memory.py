"""A limit on the memory of a process: caches are fitted into what it leaves, and one line tells where that is not enough."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from ofa import load_space
from ofa.cli.main import main
from ofa.measure import memory
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.memory import MB, USUAL, WITHOUT_STARTS, Caches, MemoryLimit, resident_bytes, working_bytes
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.trainer import Trainer
from tests.tiny import write_recipe

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def held(monkeypatch: pytest.MonkeyPatch, mb: float) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: int(mb * MB))


@linux
def test_new_pages_are_resident() -> None:
    before = resident_bytes()
    with mmap.mmap(-1, 100 * MB) as pages:  # not of the heap, which may have room left by other tests
        pages[:: mmap.PAGESIZE] = bytes(-(-len(pages) // mmap.PAGESIZE))
        assert 90 * MB < resident_bytes() - before < 110 * MB


@linux
def test_caches_share_what_a_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    held(monkeypatch, 300)
    assert MemoryLimit().caches(USUAL, 0) == USUAL
    assert MemoryLimit(700).caches(USUAL, 100 * MB) == Caches(images=150 * MB, all_images=150 * MB, starts=100 * MB)
    assert MemoryLimit(1e6).caches(USUAL, 0) == USUAL
    assert MemoryLimit(700).caches(WITHOUT_STARTS, 0).starts == 0
    assert MemoryLimit(350).caches(USUAL, 100 * MB) == Caches(images=0, all_images=0, starts=0)


@linux
def test_the_line_comes_once_and_only_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    limit = MemoryLimit(500, lines.append)
    held(monkeypatch, 499)
    limit.check("a step of training")
    assert not lines
    held(monkeypatch, 612.4)
    for _ in range(3):
        limit.check("a step of training")
    assert lines == [
        "--memory-mb 500 cannot be met: 612 MB are held in a step of training, whatever is cached; smaller batches "
        "(batch_size, evaluation.batch_size) or activation_checkpointing take less"
    ]


def test_a_batch_takes_as_much_as_its_images_and_their_resolution() -> None:
    space = load_space("cifar")
    whole = working_bytes(space, 250)
    assert working_bytes(space, 500) == 2 * whole
    assert working_bytes(space.restrict(resolutions=[24]), 250) < whole
    assert 140 * MB < whole < 560 * MB  # a forward pass of the largest subnet took 141 MB, and more is held beside it


@linux
def test_measurements_are_the_same_without_caches(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.open(trained_run)
    subnets = [run.space.largest(), run.space.smallest()]
    lines: list[str] = []
    held(monkeypatch, 300)
    bounded = evaluator_of_run(run, memory=MemoryLimit(200, lines.append))
    assert bounded.top1(subnets).tolist() == evaluator_of_run(run).top1(subnets).tolist()
    assert not bounded._cache
    assert len(lines) == 1


@linux
def test_caches_are_emptied_after_a_list_under_a_limit(trained_run: Path) -> None:
    evaluator = evaluator_of_run(RunDirectory.open(trained_run), memory=MemoryLimit(1e5))
    evaluator.correct(evaluator.supernet.space.largest())
    assert evaluator._cache
    evaluator.top1([evaluator.supernet.space.largest()])
    assert not evaluator._cache


def test_a_training_shares_no_first_blocks_between_epochs(tmp_path: Path) -> None:
    """Its few subnets have little in common, and their outputs would take a gigabyte."""
    evaluator: SubnetEvaluator = Trainer(
        RunDirectory.create(tmp_path / "run", *load_recipe(write_recipe(tmp_path))), quiet=True
    ).evaluator
    evaluator.correct(evaluator.supernet.space.largest())
    assert evaluator._starts.bytes_kept() == 0


@linux
@pytest.mark.parametrize("words", [("train", "recipe.yaml", "--quiet"), ("evaluate", "run"), ("predictor", "run")])
def test_wrong_limits_are_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for value, text in (("0.5", "0.5; must be at least 1"), ("nan", "nan; must be at least 1")):
        assert main([*words, "--memory-mb", value, "--device", "cpu"]) == 2
        assert capsys.readouterr().err == f"ofa {words[0]}: error: --memory-mb is {text}\n"


@linux
def test_a_verb_goes_on_beyond_its_limit(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained_run), "--memory-mb", "50", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "largest" in out
    lines = [line for line in err.replace("\r", "\n").splitlines() if "warning" in line]
    assert len(lines) == 1
    assert lines[0].startswith("ofa evaluate: warning: --memory-mb 50 cannot be met: ")
