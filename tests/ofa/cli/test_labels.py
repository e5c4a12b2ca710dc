"""The energy label beside a subnet's card: letters, the frugalest subnet that is as accurate, and what it leaves behind."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import load_platform
from ofa import footprint
from ofa.deploy.subnet_directory import read_card
from ofa.runs.run_files import RunFiles
from search import load_predictor
from tests.verbs import figures, ofa


def query(capsys: pytest.CaptureFixture[str], run: Path, out: Path, *words: object) -> dict[str, Any]:
    result = ofa(capsys, "query", run, "--no-verify", "--out", out, *words)
    assert read_card(out) == result["card"]
    return result


def test_a_query_writes_the_label(capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path) -> None:
    result = ofa(capsys, "query", trained_run, "--platform", "edge-int8", "--latency-ms", 1, "--out", tmp_path / "net")
    (entry,) = result["card"]["labels"]
    lines = figures(result["card"])
    joules = lines["Energy per inference"]["value"] / 1000
    under = lines.get("Top-1, validation, int8 (measured)")  # where ONNX Runtime is here
    top1 = (under or lines["Top-1, validation (measured)"])["value"] / 100
    assert entry["top1_numerics"] == ("fp32" if under is None else "int8")
    assert under is not None or find_spec("onnxruntime") is None
    found = footprint.label(joules, 12 * 12, top1, 3, 0.5, 2.0)
    assert (entry["letter"], entry["shown"]) == (found.letter, found.shown)
    assert entry["index_nj"] == pytest.approx(found.index_nj)
    assert entry["top1_measured"] is True
    assert entry["images"] == 60
    assert entry["kind"] == "modelled"
    ET.parse(tmp_path / "net" / "label.svg")
    assert f"{found.shown} (ofa-1, modelled) on edge-int8" in (tmp_path / "net" / "card.md").read_text()


def test_the_frugalest_as_accurate_by_looking_at_all(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    result = ofa(capsys, "extract", trained_run, "--subnet", "largest", "--platform", "edge-int8", "--out", tmp_path / "net")
    (entry,) = result["card"]["labels"]
    run = RunFiles.open(trained_run)
    predictor, costs = load_predictor(trained_run, run.space), load_platform("edge-int8").costs(run.space)
    genes = np.unique(run.space.sample(20_000, np.random.default_rng(0)), axis=0)
    own = run.space.encode([run.space.largest()])
    enough = predictor.top1(genes) >= predictor.top1(own)[0] - 1e-9
    least = min(float(costs.energy_mj(genes[enough]).min()), float(costs.energy_mj(own)[0]))
    assert entry["ratio_to_frugalest"] == pytest.approx(float(costs.energy_mj(own)[0]) / least)
    assert entry["ratio_to_frugalest"] > 1


def test_one_that_is_only_predicted_says_so(capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path) -> None:
    result = query(capsys, trained_run, tmp_path / "net", "--platform", "edge-int8")
    (entry,) = result["card"]["labels"]
    assert entry["top1_measured"] is False
    assert "PREDICTED" in (tmp_path / "net" / "label.svg").read_text()


def test_a_label_for_each_platform_that_knows_its_energy(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    words = ["--platform", "edge-int8", "--platform", "epyc-milan-torch-1", "--platform", "analog-imc"]
    result = query(capsys, trained_run, tmp_path / "net", *words)
    assert [entry["platform"] for entry in result["card"]["labels"]] == ["edge-int8", "analog-imc"]
    drawn = {path.name for path in (tmp_path / "net").glob("*.svg")}
    assert drawn == {"label-edge-int8.svg", "label-analog-imc.svg"}


def test_a_new_subnet_leaves_no_old_label(capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path) -> None:
    query(capsys, trained_run, tmp_path / "net", "--platform", "edge-int8")
    assert (tmp_path / "net" / "label.svg").exists()
    result = query(capsys, trained_run, tmp_path / "net", "--platform", "epyc-milan-torch-1")
    assert "labels" not in result["card"]
    assert not list((tmp_path / "net").glob("*.svg"))


def test_energy_bounds_of_a_platform_that_knows_its_error(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    result = query(capsys, trained_run, tmp_path / "net", "--platform", "stm32-u575")
    (entry,) = result["card"]["labels"]
    line = figures(result["card"])["Energy per inference"]
    assert entry["p90_over_estimate"] == pytest.approx(line["p90"] / line["value"])
    assert entry["p10_over_estimate"] == pytest.approx(line["value"] / line["p90"])  # its errors are centred on the estimate
    assert "4 networks" in entry["uncertainty"]


def test_a_folder_with_nothing_but_a_label_may_be_written_to(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "label.svg").write_text("what a kill left")
    query(capsys, trained_run, tmp_path / "net", "--platform", "edge-int8")
    ET.parse(tmp_path / "net" / "label.svg")


def test_fine_tuning_changes_the_label(capsys: pytest.CaptureFixture[str], subnet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(subnet_folder, folder)
    before = read_card(folder)["labels"][0]
    words = ["finetune", folder, "--run", subnet_folder.parents[1], "--epochs", 1, "--out", tmp_path / "tuned"]
    ofa(capsys, *words)
    after = read_card(tmp_path / "tuned")["labels"][0]
    assert before["top1_measured"] is False
    assert after["top1_measured"] is True
    assert after["joules"] == before["joules"]
    assert after["ratio_to_frugalest"] is None
    assert "PREDICTED" not in (tmp_path / "tuned" / "label.svg").read_text()


def test_an_accuracy_that_is_not_top1_gets_no_letter(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    ofa(capsys, "predictor", run, "--samples", 24, "--accuracy", "balanced")
    result = query(capsys, run, tmp_path / "net", "--platform", "edge-int8")
    (entry,) = result["card"]["labels"]
    assert (entry["letter"], entry["why"]) == (None, "the top-1 is unknown")
