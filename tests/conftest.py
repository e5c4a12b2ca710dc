"""Fixtures shared by all tests: where material outside the repository lies, or a skip."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# One thread: tests are small, and a subprocess must round as its parent does. Set before torch is imported anywhere.
os.environ["OMP_NUM_THREADS"] = "1"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """Published tables, predictors, measurements and golden figures; use with the marker `reference`."""
    return _shared("reference")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets that are too large for the repository."""
    return _shared("data")


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run, really trained, with a predictor of 24 measured subnets."""
    from ofa.cli.main import main
    from ofa.runs.recipe import load_recipe
    from ofa.runs.run_directory import RunDirectory
    from ofa.training.trainer import Trainer
    from tests.tiny import write_recipe

    folder = tmp_path_factory.mktemp("trained")
    recipe, space = load_recipe(write_recipe(folder))
    directory = RunDirectory.create(folder / "run", recipe, space)
    Trainer(directory, quiet=True).train()
    assert main(["predictor", str(directory.path), "--samples", "24", "--json"]) == 0
    return directory.path


@pytest.fixture(scope="session")
def subnet_folder(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a subnet that a query wrote, inside a copy of the tiny run."""
    from ofa.cli.main import main

    run = tmp_path_factory.mktemp("queried") / "run"
    shutil.copytree(trained_run, run)
    words = ["query", run, "--platform", "edge-int8", "--latency-ms", 1000, "--no-verify", "--out", run / "queries" / "net"]
    assert main([*map(str, words), "--json"]) == 0
    return run / "queries" / "net"
