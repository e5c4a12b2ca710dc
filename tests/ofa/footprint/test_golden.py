"""The published cases of footprints: what their printed inputs give, and where they contradict themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.footprint_cases import agrees, computed

ROOT = Path(__file__).resolve().parents[3]
CASES: list[dict[str, Any]] = json.loads((ROOT / "tests" / "golden" / "footprint.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_it_is_reproduced_from_its_inputs(case: dict[str, Any]) -> None:
    got = computed(case["id"], case["inputs"])
    for name, wanted in case["expected"].items():
        assert agrees(got[name], wanted, case["rel_tol"]), (name, got[name], wanted)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_published_value_is_met_as_closely_as_it_was_printed(case: dict[str, Any]) -> None:
    got = computed(case["id"], case["inputs"])
    for name, printed in case["published"].items():
        value = got.get(f"page_{name}", got[name])
        assert abs(value - printed) <= case["published_tol"] * printed + case["published_abs"], name


def test_there_are_71_and_none_is_the_same_as_another() -> None:
    assert len({case["id"] for case in CASES}) == 71


def test_a_wrong_figure_is_seen() -> None:
    assert not agrees(1.001, 1.0, 1e-6)
    assert not agrees(None, 3, 0)
    assert not agrees([1.0, 2.0], [1.0], 1e-6)


@pytest.mark.reference
def test_the_copy_has_what_was_collected(reference: Path) -> None:
    collected = json.loads((reference / "footprint" / "golden.json").read_text())["cases"]
    assert [{key: case[key] for key in CASES[0]} for case in collected] == CASES
