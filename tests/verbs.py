"""Calling verbs in tests: what they return, or the one line that a mistake leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ofa.cli.main import main


def ofa(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    result: dict[str, Any] = json.loads(captured.out)
    return result


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a user's mistake leaves on stderr."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def figures(card: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {figure["name"]: figure for figure in card["figures"]}
