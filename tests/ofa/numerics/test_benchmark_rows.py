"""The figures of a row of `benchmarks/numerics.py`, against hand-made accuracies."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import numerics

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
