"""The figures of a row of `benchmarks/numerics.py`, against hand-made accuracies."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import numerics

ROOT = Path(__file__).resolve().parents[3]
EXACT = np.array([0.80, 0.85, 0.90])


def test_a_row_of_draws() -> None:
    top1 = np.array([[0.79, 0.77, 0.78, 0.78], [0.80, 0.82, 0.83, 0.83], [0.90, 0.90, 0.80, 0.80]])
    row = numerics.row("noise", EXACT, top1)
    assert row["change_points"] == pytest.approx(100 * (top1.mean() - EXACT.mean()))
    assert row["change_range"] == pytest.approx([-5.0, -2.0])
    assert row["deviation_points"] == pytest.approx(100 * top1.std(1, ddof=1).mean())
    assert row["tau_fp32"] == pytest.approx(1.0)
    assert row["tau_halves"] == pytest.approx(1 / 3)  # the halves' means: .78 .81 .90, and .78 .83 .80
    assert "tau halves 0.33" in numerics.line(row)


def test_a_row_without_draws() -> None:
    row = numerics.row("int8", EXACT, EXACT[::-1, None])
    assert row["tau_fp32"] == pytest.approx(-1.0)
    assert row["deviation_points"] is None
    assert row["tau_halves"] is None
    assert "draw" not in numerics.line(row)


@pytest.mark.parametrize("name", ["numerics", "numerics-cifar10", "numerics-trained", "numerics-trained-800"])
def test_the_tables_of_the_docs_are_printed_from_the_results(name: str) -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    table = "\n".join(numerics.tables(document)).partition("\n\n")[0]
    assert table.count("\n") >= 3
    assert table in (ROOT / "docs" / "numerics.md").read_text()


def test_a_gain_is_paired_over_subnets_and_draws() -> None:
    def figures(trained: str, fp32: list[float], top1: list[list[float]]) -> dict[str, object]:
        return {"trained": trained, "fp32": fp32, "rows": [numerics.row("noise", np.array(fp32), np.array(top1))]}

    first = figures("exactly", [0.90, 0.80], [[0.85, 0.85], [0.75, 0.73]])
    second = figures("noisily", [0.88, 0.80], [[0.86, 0.84], [0.79, 0.77]])
    *_, line = numerics.gains_table([first, second])
    # by subnet 2 and 4 points, by draw 3.5 and 2.5
    assert line == "| noisily | noise | +3.00 | 1.00 | .50 | 81.50 | 79.50 |"


def test_a_measurement_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    settings = {"split": "test", "images": 10, "subnets": 2, "draws": 2, "relative_to": "layer"}
    out = tmp_path / "out.json"
    out.write_text(json.dumps({"settings": settings, "runs": {"run": {}}}))
    assert numerics.Document(argparse.Namespace(**settings, out=out)).content["runs"] == {"run": {}}
    with pytest.raises(SystemExit, match=r"was measured with .*; give another --out"):
        numerics.Document(argparse.Namespace(**settings | {"draws": 3}, out=out))
