"""A name out of a file never leads out of a folder, and no cell of a CSV runs as a formula."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from latency_tables import load_platform
from ofa.errors import UserError
from ofa.files.csv_table import safe_cell
from ofa.files.names import check_name, made_name

SHIPPED = Path(__file__).resolve().parents[3] / "latency_tables" / "platforms"
BAD = ("", ".", "..", "...", "a/b", "../../../x", "/etc/passwd", "a\\b", "a b", "a\n", "a\0", "ä", "x" * 65, "~", "=cmd|x")


@pytest.mark.parametrize("name", BAD)
def test_a_platform_whose_name_is_no_plain_one_is_refused(tmp_path: Path, name: str) -> None:
    text = yaml.safe_load((SHIPPED / "edge-int8.yaml").read_text()) | {"name": name}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match=r"p.yaml:\d+: name is .*; allowed are 1 to 64 letters"):
        load_platform(tmp_path / "p.yaml")


@pytest.mark.parametrize("text", [*BAD, "my device (2).final", ".hidden"])
def test_a_name_made_of_any_text_is_allowed(text: str) -> None:
    check_name(made_name(text))


def test_every_shipped_platform_has_an_allowed_name() -> None:
    for path in SHIPPED.glob("*.yaml"):
        check_name(load_platform(path.stem).name)


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_would_be_a_formula_is_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert safe_cell("phone-7") == "phone-7"


def test_a_device_named_like_a_formula_is_text_in_the_answer(trained_run: Path, tmp_path: Path) -> None:
    from ofa.cli.main import main

    (tmp_path / "fleet.csv").write_text("device,platform,latency_ms\n=1+2,edge-int8,1000\n")
    out = tmp_path / "answer.csv"
    assert main(["query", str(trained_run), "--fleet", str(tmp_path / "fleet.csv"), "--out", str(out), "--json"]) == 0
    with open(out, newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["device"] == "'=1+2"
