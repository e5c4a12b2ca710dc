"""Every metric of the registry is a limit, an objective, an axis, a column of a fleet and a line of a card."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import METRICS, load_platform
from ofa.runs.run_files import RunFiles
from ofa.space.search_space import Genes
from tests.verbs import error, figures, ofa

PLATFORM = "edge-int8"
every_metric = pytest.mark.parametrize("metric", METRICS)


@pytest.fixture(scope="module")
def run(trained_run: Path) -> Path:
    """A trained run with a predictor of 24 measured subnets."""
    return trained_run


def cost(run: Path, metric: str, genes: Genes | list[int]) -> float:
    costs = load_platform(PLATFORM).costs(RunFiles.open(run).space)
    return float(costs.of(metric, np.array(genes, dtype=np.int8))[0])


def ends(run: Path, metric: str) -> tuple[float, float]:
    """The costs of the smallest and of the largest subnet."""
    space = RunFiles.open(run).space
    return cost(run, metric, space.encode(space.smallest())), cost(run, metric, space.encode(space.largest()))


def option(metric: str) -> str:
    return f"--{metric.replace('_', '-')}"


def query(capsys: pytest.CaptureFixture[str], run: Path, *words: Any) -> dict[str, Any]:
    result: dict[str, Any] = ofa(capsys, "query", run, "--platform", PLATFORM, "--no-verify", *words)
    return result


@every_metric
def test_limit_and_objective_and_card(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str) -> None:
    low, high = ends(run, metric)
    assert low < high
    bound = low + 0.01 * (high - low)
    limited = query(capsys, run, option(metric), bound, "--out", tmp_path / "limited")
    assert cost(run, metric, limited["genes"]) <= bound
    assert limited["card"]["algorithm"].endswith("optimal")
    assert limited["card"]["limits"] == {metric: bound}
    cheapest = query(capsys, run, "--minimize", metric, "--out", tmp_path / "cheapest")
    assert cost(run, metric, cheapest["genes"]) == pytest.approx(low)
    lines = {name.partition(" (")[0]: line for name, line in figures(limited["card"]).items()}
    line = lines[METRICS[metric].label]
    assert line["value"] == pytest.approx(cost(run, metric, limited["genes"]))
    assert line["unit"] == METRICS[metric].unit
    text = error(capsys, "query", run, "--platform", PLATFORM, option(metric), low / 2)
    assert METRICS[metric].under in text
    assert f"the {METRICS[metric].cheapest} " in text


@every_metric
def test_axis(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str) -> None:
    out = tmp_path / "front.svg"
    words = ("--platform", PLATFORM, "--x", metric, "--samples", 20, "--no-verify", "--out", out)
    result = ofa(capsys, "pareto", run, *words)
    assert f"{METRICS[metric].label} ({METRICS[metric].unit})" in out.read_text()
    assert (tmp_path / "front.csv").read_text().startswith(f"platform,kind,{metric},predicted_top1")
    assert result["x"] == metric
    assert result["platforms"][0]["front_points"] >= 1


@every_metric
def test_fleet(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str) -> None:
    low, high = ends(run, metric)
    devices, out = tmp_path / "devices.csv", tmp_path / "answer.csv"
    devices.write_text(f"device,platform,{metric}\nroomy,{PLATFORM},{(low + high) / 2}\ntight,{PLATFORM},{low / 2}\n")
    ofa(capsys, "query", run, "--fleet", devices, "--no-verify", "--out", out)
    with open(out, newline="") as file:
        roomy, tight = csv.DictReader(file)
    assert 0 < float(roomy[metric]) <= (low + high) / 2 == float(roomy[f"max_{metric}"])
    assert not tight["subnet"]
    assert tight["attainable"].startswith(f"{metric}=")
    subnets = json.loads((tmp_path / "answer-subnets.json").read_text())["subnets"]
    assert cost(run, metric, subnets[roomy["subnet"]]["genes"]) == pytest.approx(float(roomy[metric]))
