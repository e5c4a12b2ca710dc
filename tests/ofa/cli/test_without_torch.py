"""Verbs that measure nothing do without torch, and import scipy, optuna and matplotlib only where these are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa import load_subnet
from ofa.runs.pack import pack
from ofa.runs.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[3]
EDGE = ("--platform", "edge-int8")


HEAVY = ("torch", "scipy", "optuna", "matplotlib")


def answer(folder: Path, *words: object, used: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a verb prints in a process in which no heavy module can be imported but those used."""
    for name in set(HEAVY) - set(used):
        (folder / f"{name}.py").write_text(f"raise AssertionError('{name} is imported')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT)))}
    command = [sys.executable, "-m", "ofa.cli.main", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_poison_works(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="torch is imported"):
        answer(tmp_path, "train", "configs/demo.yaml")


def test_a_query_that_measures_nothing(trained_run: Path, tmp_path: Path) -> None:
    """Of a run and of its bundle: the same subnet with the same weights, and one that loads."""
    bundle = tmp_path / "packed.ofa"
    bundle.write_bytes(pack(RunDirectory.open(trained_run)).content)
    limit = ("--macs-m", "0.1", "--no-verify")
    for place, out in ((trained_run, "of-run"), (bundle, "of-bundle")):
        result = answer(tmp_path, "query", place, *EDGE, *limit, "--out", tmp_path / out)
        assert not result["verified"]
        assert result["card"]["input"]["classes"] == ["0", "1", "2"]
    one, other = ((tmp_path / out / "weights.safetensors").read_bytes() for out in ("of-run", "of-bundle"))
    assert one == other
    assert load_subnet(tmp_path / "of-run")(torch.zeros(1, 1, 12, 12)).shape == (1, 3)


def test_a_footprint(trained_run: Path, tmp_path: Path) -> None:
    words = (*EDGE, "--inferences", "1e6")
    for place in (trained_run, "fashion-mnist"):
        assert answer(tmp_path, "footprint", place, *words)["label"]["letter"]


def test_a_front_that_is_not_measured(trained_run: Path, tmp_path: Path) -> None:
    words = ("pareto", trained_run, *EDGE, "--out", tmp_path / "front.png", "--no-verify")
    assert not answer(tmp_path, *words, used=("matplotlib",))["verified"]


def test_platforms_and_zoo(tmp_path: Path) -> None:
    """The lists without numpy too, whose import would take a third of their time."""
    (tmp_path / "numpy.py").write_text("raise AssertionError('numpy is imported')\n")
    assert len(answer(tmp_path, "platforms")["platforms"]) > 20
    assert answer(tmp_path, "platforms", "note10")["name"] == "note10"
    names = [row["name"] for row in answer(tmp_path, "zoo")["zoo"]]
    (tmp_path / "numpy.py").unlink()
    for name in names:
        assert answer(tmp_path, "zoo", name)["front"]
