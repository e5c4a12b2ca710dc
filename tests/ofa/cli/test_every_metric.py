"""Every metric of the registry is a limit, an objective, an axis, a column of a fleet and a line of a card."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import METRICS, load_platform
from ofa.runs.run_files import RunFiles
from ofa.space.search_space import Genes
from ofa.space.shapes import walk
from tests.verbs import error, figures, ofa

ROOT = Path(__file__).resolve().parents[3]
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


NEW_METRIC = """
import json, sys
from latency_tables import METRICS, Metric
from latency_tables.costs.computations import COMPUTATIONS, Computation
from ofa.cli.main import main

METRICS["ops_n"] = Metric(
    label="Operations",
    unit="n",
    meaning="operations, a number",
    under="has under",
    cheapest="smallest has",
    on_platform=False,
)
COMPUTATIONS["ops_n"] = Computation(block=lambda platform, shape, _: float(len(shape.ops)), source=lambda _: "counted")
sys.exit(max(main(words) for words in json.loads(sys.argv[1])))
"""


def test_a_new_metric_is_an_entry_and_its_computation(run: Path, tmp_path: Path) -> None:
    """Added by the two dictionaries alone, in a process of its own, it is everything that the others are."""
    space = RunFiles.open(run).space
    fewest = sum(1 for _ in walk(space, space.smallest()))
    devices = tmp_path / "devices.csv"
    devices.write_text(f"platform,ops_n\n{PLATFORM},{fewest}\n{PLATFORM},{fewest - 1}\n")
    base = [str(run), "--platform", PLATFORM, "--no-verify", "--out"]
    words = [
        ["query", *base, str(tmp_path / "limited"), "--ops-n", str(fewest)],
        ["query", *base, str(tmp_path / "cheapest"), "--minimize", "ops_n"],
        ["pareto", *base, str(tmp_path / "front.svg"), "--x", "ops_n", "--samples", "20"],
        ["query", str(run), "--fleet", str(devices), "--no-verify", "--out", str(tmp_path / "answer.csv")],
    ]
    done = subprocess.run([sys.executable, "-c", NEW_METRIC, json.dumps(words)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for name in ("limited", "cheapest"):
        line = figures(json.loads((tmp_path / name / "card.json").read_text()))["Operations"]
        assert line == {"name": "Operations", "value": fewest, "unit": "n", "source": "counted", "uncertainty": "exact"}
    assert "Operations (n)" in (tmp_path / "front.svg").read_text()
    with open(tmp_path / "answer.csv", newline="") as file:
        within, beyond = csv.DictReader(file)
    assert float(within["ops_n"]) == fewest
    assert beyond["attainable"] == f"ops_n={float(fewest)}"
