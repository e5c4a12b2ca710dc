"""A message is one line that can be printed, whatever was given: values are cut, line breaks are escaped."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofa.cli.main import VERBS, main
from ofa.errors import UserError
from tests.verbs import error

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--fix is 'kernels=7'; expected others", "--fix is 'kernels=7'; expected others"),
        (f"--fix is '{'a b ' * 100}'; expected others", f"--fix is '{('a b ' * 100)[:115]}...'; expected others"),
        (f"--macs-m is {LONG}; must be finite", f"--macs-m is {LONG[:116]}...; must be finite"),
        ("the run's net is not the other run's net " * 4, "the run's net is not the other run's net " * 4),
        ("one\ntwo\x1b[2J\udcff", "one\\ntwo\\x1b[2J\\udcff"),
        ("ein Gerät, 携帯　電話", "ein Gerät, 携帯　電話"),
        (f"/{'d' * 200}/x.yaml:3: wrong", f"/{'d' * 200}/x.yaml:3: wrong"),
    ],
)
def test_a_message_is_one_line_with_its_values_cut(given: str, message: str) -> None:
    shown = str(UserError(given))
    assert shown == message
    assert str(UserError(shown)) == shown


def test_a_message_has_an_end() -> None:
    assert len(str(UserError("known are " + "a, " * 10_000))) == 4000


@pytest.mark.parametrize(
    "option", ["--macs-m", "--fix", "--minimize", "--algorithm", "--budget", "--verify", "--confidence"]
)
def test_options_of_5000_characters(capsys: pytest.CaptureFixture[str], trained_run: Path, option: str) -> None:
    for value in (LONG, f"kernels={LONG}", "x" * 5000, "macs_m=" * 800):
        capsys.readouterr()
        try:
            code = main(["query", str(trained_run), "--platform", "edge-int8", option, value])
        except SystemExit as end:  # of argparse
            code = int(str(end.code))
        captured = capsys.readouterr()
        assert code == 2, captured
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert len(captured.err) < 600


@pytest.mark.parametrize("word", ["two\nlines", "bell\x07", "latin-\udcff"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_argument_that_cannot_be_printed_is_refused(capsys: pytest.CaptureFixture[str], verb: str, word: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, word])
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "is not UTF-8" in message
    message.encode()


def test_an_unknown_verb_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["v" * 5000]) == 2
    assert len(capsys.readouterr().err) < 400


def test_a_file_of_5000_digits_is_one_short_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "timings.csv"
    file.write_text(f"space,architecture,resolution,latency_ms\nmbv3-w1.0,x{LONG},{LONG},{LONG}\n")
    assert len(error(capsys, "calibrate", "--measurements", file, "--out", tmp_path / "out.yaml")) < 600
