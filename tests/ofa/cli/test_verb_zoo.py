"""The zoo: bundles that ship, by name wherever a run is; and what those that ship must have."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ofa.cli.main import main
from ofa.errors import UserError
from ofa.runs import zoo
from ofa.runs.pack import pack
from ofa.runs.run_directory import RunDirectory
from ofa.runs.run_files import RunFiles
from ofa.training.result import report_result
from search import load_predictor
from tests.verbs import error, ofa

MOST_BYTES, MOST_BYTES_TOGETHER = 6_000_000, 16_000_000
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shipped(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles with one in it."""
    folder = tmp_path_factory.mktemp("zoo")
    shutil.copytree(trained_run, folder / "run")
    run = RunDirectory.open(folder / "run")
    report_result(run, progress=False)
    (folder / "bundles").mkdir()
    (folder / "bundles" / "little.ofa").write_bytes(pack(run, licence="free").content)
    return folder / "bundles"


@pytest.fixture
def toy_zoo(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The zoo is that folder, and the working directory an empty one."""
    monkeypatch.setattr(zoo, "_SHIPPED", shipped)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_list_and_a_card(toy_zoo: Path, capsys: Capture) -> None:
    (row,) = ofa(capsys, "zoo")["zoo"]
    assert (row["name"], row["data"]["licence"], row["recipe"]["epochs"]) == ("little", "free", 6)
    assert row["recipe"]["phases"] == ["largest", "kernel", "depth", "width"]
    assert 0 <= row["top1"]["smallest"] <= 1
    assert row["top1"]["subnets"] == 3
    assert row["macs_m"]["smallest"] < row["macs_m"]["largest"]
    assert row["training"]["train_seconds"] > 0
    shown = ofa(capsys, "zoo", "little")
    assert {key: shown[key] for key in row} == row
    macs, top1 = ([point[key] for point in shown["front"]] for key in ("macs_m", "predicted_top1"))
    assert len(macs) >= 2
    assert (macs, top1) == (sorted(macs), sorted(top1))
    for words in (["zoo"], ["zoo", "little"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert "little" in text
        assert "free" in text
        assert f"{100 * row['top1']['largest']:.1f}%" in text


def test_a_name_is_taken_wherever_a_run_is(toy_zoo: Path, capsys: Capture) -> None:
    limit = ("--platform", "edge-int8", "--macs-m", "0.1")
    by_name = ofa(capsys, "query", "little", *limit, "--out", "net", "--no-verify")
    assert by_name["card"]["run"] == "little.ofa"
    ofa(capsys, "pareto", "zoo:little", "--platform", "edge-int8", "--out", "front.svg", "--no-verify")
    ofa(capsys, "extract", "little", "--subnet", "smallest", "--out", "smallest")
    assert error(capsys, "query", "little", *limit).startswith("ofa query: error: --out is missing")


def test_a_path_wins_over_a_name(toy_zoo: Path, trained_run: Path) -> None:
    assert str(RunFiles.open("little").path).endswith("little.ofa")
    with pytest.raises(UserError, match="little: no run directory"):
        RunFiles.open("./little")
    Path("little").symlink_to(trained_run)
    assert RunFiles.open("little").path == Path("little")
    assert str(RunFiles.open("zoo:little").path).endswith("little.ofa")


def test_its_predictor_is_loaded_by_name_and_from_its_file(toy_zoo: Path, shipped: Path) -> None:
    space = RunFiles.open("little").space
    genes = space.sample(5, np.random.default_rng(0))
    by_name, from_file = (load_predictor(path, space).top1(genes) for path in ("little", shipped / "little.ofa"))
    assert (by_name == from_file).all()


def test_unknown_names_are_one_line(toy_zoo: Path, capsys: Capture) -> None:
    assert "the zoo has no 'big'; it has little" in error(capsys, "zoo", "big")
    assert "the zoo has no '../little'; it has little" in error(capsys, "zoo", "../little")
    line = error(capsys, "query", "big", "--platform", "edge-int8", "--no-verify")
    assert "big: no run directory" in line
    assert line.endswith(", or take one of the zoo: little\n")


def test_an_empty_zoo_says_so(toy_zoo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(zoo, "_SHIPPED", toy_zoo)
    assert main(["zoo"]) == 0
    assert capsys.readouterr().out == "no trained supernet ships with this version\n"


def test_what_ships_is_small_and_complete(capsys: Capture, tmp_path: Path) -> None:
    rows = ofa(capsys, "zoo")["zoo"]
    assert sum(row["bytes"] for row in rows) <= MOST_BYTES_TOGETHER
    for row in rows:
        assert row["bytes"] <= MOST_BYTES
        assert row["data"]["licence"] or not any(row["kept_images"].values()), "images of an unknown licence"
        assert len(ofa(capsys, "zoo", row["name"])["front"]) > 2
        words = ("--platform", "edge-int8", "--no-verify", "--out", tmp_path / row["name"])
        assert not ofa(capsys, "query", row["name"], *words)["verified"]
