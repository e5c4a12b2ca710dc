"""Errors of other libraries are one line; those of this program keep their traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ofa.cli.foreign_errors import line_of
from tests.verbs import error
from tests.verbs import ofa as run_ofa


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trial_user_attributes SET value_json = '{' || value_json",
        "UPDATE trial_user_attributes SET value_json = 'NaN' WHERE key = 'top1'",
        "DELETE FROM trial_user_attributes WHERE key = 'top1'",
        "DELETE FROM trial_user_attributes WHERE key = 'worker'",
    ],
)
def test_a_damaged_study_is_one_line(
    trained_run: Path, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A change in the database, which only optuna looks at."""
    file = tmp_path / "study.db"
    words = ["query", trained_run, "--platform", "edge-int8", "--macs-m", "0.1", "--out", tmp_path / "q", "--no-verify"]
    words += ["--algorithm", "optuna", "--sampler", "RandomSampler", "--budget", "6", "--storage", f"sqlite:///{file}"]
    run_ofa(capsys, *words)
    database = sqlite3.connect(file)
    with database:
        changed = database.execute(damage).rowcount
    database.close()
    assert changed > 0
    message = error(capsys, *words)
    assert message.startswith("ofa query: error: storage 'sqlite:///")
    assert "is damaged" in message
    assert "give another --storage or --study" in message


def test_a_mistake_of_this_program_keeps_its_traceback() -> None:
    with pytest.raises(KeyError) as mistake:
        {}["absent"]
    assert line_of(mistake.value) is None
