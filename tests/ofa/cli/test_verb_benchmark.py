"""`ofa benchmark`: a row per installed format and precision, what is missing named, the card's prediction beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages
from ofa.deploy.formats.onnx_format import OnnxFormat
from tests.verbs import error, ofa


def test_every_installed_format_has_its_figures(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ofa(capsys, "benchmark", subnet_folder, "--images", 64, "--plot", tmp_path / "bars.svg")
    assert told["images"] == 60
    rows = {(row["format"], row["precision"]): row for row in told["rows"]}
    assert set(rows) == {("pytorch", "fp32")} | {(name, p) for name in FORMATS for p in find_format(name).precisions}
    for precision in ("fp32", "int8"):
        row = rows["onnx", precision]
        assert row["status"] == "ok"
        assert 0 < row["median_ms"] <= row["p90_ms"]
        assert row["kb"] > 1
        assert row["memory_mb"] is None or row["memory_mb"] > 0
    assert rows["onnx", "fp32"]["top1"] == rows["pytorch", "fp32"]["top1"]
    for name in FORMATS:
        if missing_packages(find_format(name)):
            assert all(rows[name, precision]["status"].startswith("needs ") for precision in find_format(name).precisions)
    assert told["card"][0]["name"] == "Latency"
    assert "onnx int8" in (tmp_path / "bars.svg").read_text()


def test_a_format_that_fails_is_a_row_and_the_others_go_on(
    subnet_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ofa.errors import UserError

    right = OnnxFormat.convert

    def no_int8(self: OnnxFormat, source: object, precision: str, *rest: object) -> object:
        if precision == "int8":
            raise UserError("cannot")
        return right(self, source, precision, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(OnnxFormat, "convert", no_int8)
    rows = ofa(capsys, "benchmark", subnet_folder, "--format", "onnx")["rows"]
    assert [row["status"] for row in rows] == ["ok", "ok", "cannot"]


def test_mistakes_are_one_line(subnet_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown; formats are" in error(capsys, "benchmark", subnet_folder, "--format", "tflight")
    assert "bars.txt" in error(capsys, "benchmark", subnet_folder, "--plot", "bars.txt")
