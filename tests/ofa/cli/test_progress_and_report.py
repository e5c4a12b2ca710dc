"""Verbs that show progress on a terminal alone, and those that say how to get the report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from ofa.cli.main import main

RUN = ("fashion-mnist", "--no-verify")


def test_a_query_says_how_to_get_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", *RUN, "--platform", "edge-int8", "--out", str(tmp_path / "net")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "ofa report" in line)
    words = shlex.split(line.partition(": ")[2])
    assert words == ["ofa", "report", "fashion-mnist", "--platform", "edge-int8", "--out", "report.html"]


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_of_pareto_and_fleet_are_for_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    devices = tmp_path / "devices.csv"
    devices.write_text("platform,device,energy_mj\nedge-int8,a,0.02\nedge-int8,b,0.03\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert main(["query", *RUN, "--fleet", str(devices), "--out", str(tmp_path / "answer.csv")]) == 0
    assert ("fleet: 100%" in capsys.readouterr().err) == terminal
    assert main(["pareto", *RUN, "--platform", "edge-int8", "--samples", "10", "--out", str(tmp_path / "front.png")]) == 0
    assert ("fronts: 100%" in capsys.readouterr().err) == terminal
