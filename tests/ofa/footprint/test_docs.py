"""The tables of docs/footprint.md are those that its script makes, and docs/claims.md has those of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import claims, footprint

ROOT = Path(__file__).resolve().parents[3]


def test_the_tables_are_made_by_the_script() -> None:
    text = (ROOT / "docs" / "footprint.md").read_text()
    assert claims.replaced(text, footprint.documents()) == text


def test_a_table_without_a_place_is_noticed() -> None:
    with pytest.raises(SystemExit, match="0 places for 'x'"):
        claims.replaced("nothing", {"x": []})


def test_no_table_of_the_claims_is_empty() -> None:
    found = re.findall(r"<!-- ([a-z-]+) -->\n(.*?)<!-- end -->", (ROOT / "docs" / "claims.md").read_text(), re.DOTALL)
    assert [name for name, _ in found] == ["fleet", "frugal", "break-even", "analog", "cloud"]
    assert all(body.count("\n") > 3 for _, body in found)
