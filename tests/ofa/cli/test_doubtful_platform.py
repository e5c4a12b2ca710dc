"""A platform whose estimates `ofa calibrate` would refuse is not used without a word: `gap9`, beside one that is sound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ofa.cli.main import main

DOUBTFUL, SOUND = "gap9", "stm32-l4r5"
WARNING = "platform gap9: latency_ms is off by 52% on average on 4 networks that were not fitted; ofa calibrate refuses"


def run_verb(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    """Both streams of a verb that ends well."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize(("platform", "warned"), [(DOUBTFUL, True), (SOUND, False)])
def test_query(platform: str, warned: bool, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("query", trained_run, "--platform", platform, "--no-verify", "--out", tmp_path / "net")
    assert (f"warning: {WARNING}" in run_verb(capsys, *words)[1]) is warned
    assert (WARNING in (tmp_path / "net" / "card.md").read_text()) is warned
    out, err = run_verb(capsys, *words, "--json")
    assert (f"warning: {WARNING}" in err) is warned
    assert any(text.startswith(WARNING) for text in json.loads(out)["warnings"]) is warned


@pytest.mark.parametrize(("platform", "warned"), [(DOUBTFUL, True), (SOUND, False)])
def test_pareto(platform: str, warned: bool, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "front.svg"
    words = ("pareto", trained_run, "--platform", platform, "--samples", 20, "--no-verify", "--out", figure)
    out, err = run_verb(capsys, *words, "--json")
    assert (f"warning: {WARNING}" in err) is warned
    (part,) = json.loads(out)["platforms"]
    assert any(text.startswith(WARNING) for text in part["warnings"]) is warned
    # The figure goes where no warning does. Its axis is energy, whose error is another one.
    assert ("gap9 is off by 74%: order of magnitude only" in figure.read_text()) is warned
    run_verb(capsys, *words, "--x", "memory_kb")  # which is exact
    assert "off by" not in figure.read_text()


@pytest.mark.parametrize(("platform", "warned"), [(DOUBTFUL, True), (SOUND, False)])
def test_fleet(platform: str, warned: bool, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = tmp_path / "devices.csv"
    fleet.write_text(f"device,platform,latency_ms\ndoor,{platform},1e9\n")
    words = ("query", trained_run, "--fleet", fleet, "--no-verify", "--out", tmp_path / "out.csv")
    out, err = run_verb(capsys, *words, "--json")
    assert (f"warning: {WARNING}" in err) is warned
    assert any(text.startswith(WARNING) for text in json.loads(out)["warnings"]) is warned


@pytest.mark.parametrize(("platform", "warned"), [(DOUBTFUL, True), (SOUND, False)])
def test_extract(platform: str, warned: bool, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net"
    _, err = run_verb(capsys, "extract", trained_run, "--subnet", "smallest", "--platform", platform, "--out", out)
    assert (f"warning: {WARNING}" in err) is warned
    assert (WARNING in (out / "card.md").read_text()) is warned
