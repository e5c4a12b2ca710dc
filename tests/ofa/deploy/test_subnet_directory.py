"""A subnet's folder is one: no file of another subnet is taken for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofa.deploy.subnet_directory import read_card
from ofa.errors import UserError
from tests.verbs import error
from tests.verbs import ofa as run_ofa


def test_the_card_of_another_subnet_is_refused(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("largest", "smallest"):
        run_ofa(capsys, "extract", trained_run, "--subnet", name, "--out", tmp_path / name)
    card = tmp_path / "largest" / "card.json"
    card.write_bytes((tmp_path / "smallest" / "card.json").read_bytes())
    with pytest.raises(UserError, match=f"^{card}: the card of another subnet: its digest is not the one in subnet.json"):
        read_card(tmp_path / "largest")
    words = ["finetune", tmp_path / "largest", "--run", trained_run, "--epochs", "1"]
    assert "the card of another subnet" in error(capsys, *words)  # and no epoch is trained before
    assert "the card of another subnet" in error(
        capsys, "finetune", tmp_path / "largest", "--run", trained_run, "--epochs", "1"
    )


def test_a_result_of_another_kind_is_refused(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", trained_run.parent / "tiny.yaml", "--run", trained_run]
    run_ofa(capsys, *words)
    result = trained_run / "result.json"
    before = result.read_bytes()
    try:
        result.write_bytes((trained_run / "data.json").read_bytes())
        message = error(capsys, *words)
        assert "result.json: another file is in its place: key 'split' is missing; delete it to have it measured" in message
    finally:
        result.write_bytes(before)
