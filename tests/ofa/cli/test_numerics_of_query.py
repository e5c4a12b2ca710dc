"""The card of a queried subnet has its accuracy as the platform computes, and noise does not rank candidates."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ofa.cli.shared.candidates import Candidates
from ofa.cli.shared.numerics import NumericsOf
from ofa.deploy.accuracy_under import correct_in_int8, correct_under
from ofa.deploy.formats import catalogue
from ofa.errors import UserError
from ofa.measure.accuracy import TOP1
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from tests.verbs import error, figures, ofa

INT8 = "Top-1, validation, int8"
ANALOG = "Top-1, validation, analog"


def chosen(run: Path, answer: dict[str, Any]) -> Any:
    return RunDirectory.open(run).space.decode(np.array([answer["genes"]]))[0]


def test_an_int8_platform(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ofa(capsys, "query", trained_run, "--platform", "edge-int8", "--out", tmp_path / "net")
    line = figures(answer["card"])[f"{INT8} (measured)"]
    right = correct_in_int8(evaluator_of_run(RunDirectory.open(trained_run)), chosen(trained_run, answer))
    assert line["value"] == pytest.approx(100 * right.mean())
    assert "ONNX Runtime" in line["source"]
    assert "60 held-out validation images" in line["source"]
    assert "ranked" not in answer["card"]
    assert f"| {INT8} (measured) |" in (tmp_path / "net" / "card.md").read_text()


def test_without_its_runtime_it_is_unknown_and_the_query_answers(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "version_of", lambda _: None)
    answer = ofa(capsys, "query", trained_run, "--platform", "edge-int8", "--out", tmp_path / "net")
    line = figures(answer["card"])[INT8]
    assert line["value"] is None
    assert "pip install 'ofa-energy[onnx]'" in line["source"]
    assert "evaluate: error: format onnx" in error(capsys, "evaluate", trained_run, "--numerics", "edge-int8")


def test_an_analog_platform_and_a_fine_tuning(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    words = "query", run, "--platform", "analog-imc", "--out", run / "queries" / "net", "--seed", 3
    answer = ofa(capsys, *words, "--platform", "edge-int8")
    found = figures(answer["card"])
    assert f"{INT8} on edge-int8 (measured)" in found
    line = found[f"{ANALOG} on analog-imc (mean of 8 draws)"]
    from latency_tables import load_platform

    numerics = NumericsOf.of(load_platform("analog-imc"), draws=8, seed=3)
    rows = correct_under(evaluator_of_run(RunDirectory.open(run)), chosen(run, answer), numerics.numerics, 8, 3)
    top1 = rows.mean(1)
    assert line["value"] == pytest.approx(100 * top1.mean())
    assert f"\N{PLUS-MINUS SIGN}{100 * top1.std(ddof=1):.2f} points (1 deviation of a draw)" == line["uncertainty"]
    assert f"differ by less than {100 * top1.std(ddof=1):.2f} points" in answer["card"]["ranked"]

    tuned = ofa(capsys, "finetune", run / "queries" / "net", "--epochs", 1)
    from ofa.deploy.subnet_directory import read_card

    card = read_card(tuned["out"])
    assert not [name for name in figures(card) if name.startswith((INT8, ANALOG))]
    assert "ranked" not in card


def test_extract_tells_it_too(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "extract", trained_run, "--subnet", "largest", "--platform", "edge-int8", "--out", tmp_path / "net"
    line = figures(ofa(capsys, *words)["card"])[f"{INT8} (measured)"]
    space = RunDirectory.open(trained_run).space
    right = correct_in_int8(evaluator_of_run(RunDirectory.open(trained_run)), space.largest())
    assert line["value"] == pytest.approx(100 * right.mean())
    assert "1 standard error" in line["uncertainty"]


def test_what_is_not_measured_is_unknown(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "query", trained_run, "--platform", "analog-imc", "--no-verify", "--out", tmp_path / "net"
    card = ofa(capsys, *words)["card"]
    line = figures(card)[ANALOG]
    assert line["value"] is None
    assert line["source"] == "unknown: nothing was measured"
    assert "ranked" not in card
    on_fp32 = ofa(capsys, "query", trained_run, "--platform", "epyc-milan-ort-1", "--out", tmp_path / "net")["card"]
    assert not [name for name in figures(on_fp32) if INT8 in name or ANALOG in name]


@pytest.mark.parametrize(
    ("deviation", "best"), [(0.0, 2), (0.004, 2), (0.02, 1), (0.2, 0)], ids=["exact", "small", "some", "all"]
)
def test_candidates_closer_than_the_deviation_are_equals(
    deviation: float, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three candidates with an accuracy of .80, .89 and .90, predicted in this order."""
    top1 = np.array([0.80, 0.89, 0.90])
    genes = np.arange(3, dtype=np.int8)[:, None]
    measured = SimpleNamespace(
        top1=lambda rows: top1[rows[:, 0]],
        known=lambda rows: np.ones(len(rows), bool),
        told=lambda accuracy, row, count: (int(row[0, 0]), count),
    )
    problem = SimpleNamespace(
        min_top1=None, accuracy_only=True, accuracy=TOP1, predictor=SimpleNamespace(std=lambda rows: None)
    )
    result = SimpleNamespace(genes=genes, top1=np.array([0.92, 0.91, 0.90]))
    asked = []

    def deviation_of(row: Any) -> float:
        asked.append(int(row[0, 0]))
        return deviation

    monkeypatch.setattr(Candidates, "_distinct", lambda self, count: list(range(count)))
    candidates = Candidates(problem, result, {"samples": 3})  # type: ignore[arg-type]
    found: Any = candidates.verified(measured, 3, lambda _: None, deviation_of)  # type: ignore[arg-type]
    assert found == (best, (best, 3))
    assert asked == [2]


def test_numerics_of_an_fp32_platform_are_refused() -> None:
    from latency_tables import load_platform

    with pytest.raises(UserError, match="its numerics are fp32"):
        NumericsOf.of(load_platform("note10"), draws=8, seed=0)
