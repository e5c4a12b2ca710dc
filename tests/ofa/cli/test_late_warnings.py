"""Warnings of other libraries do not cut through progress bars: each is told once, at the end."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa.cli.late_warnings import warned_at_the_end


def unhandled() -> logging.Logger:
    return logging.Logger("nobody.handles.this")  # outside of the tree of loggers, all of which pytest handles


def warn_elsewhere() -> None:
    warnings.warn("from a child", UserWarning, stacklevel=1)


@pytest.mark.filterwarnings("default")
def test_each_warning_is_told_once_behind_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.showwarning, logging.lastResort
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with warned_at_the_end("train"):
            for _ in range(3):
                warnings.warn("a palette\n  image", UserWarning, stacklevel=1)
            unhandled().warning("a %s", "record")
            child = multiprocessing.get_context("fork").Process(target=warn_elsewhere)
            child.start()
            child.join()
            assert capsys.readouterr().err == ""
    assert (warnings.showwarning, logging.lastResort) == before
    assert capsys.readouterr().err.splitlines() == [
        "ofa train: warning: test_late_warnings: a palette image (3 times)",
        "ofa train: warning: nobody.handles.this: a record",
        "ofa train: warning: test_late_warnings: from a child",
    ]


def fail_with_a_warning() -> None:
    with warned_at_the_end("train"):
        unhandled().warning("again")
        raise KeyError


def test_warnings_are_told_after_a_mistake_too_and_by_one_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(KeyError):
            fail_with_a_warning()
        assert capsys.readouterr().err.count("again") == lines


WARNING_CHECK = """
import sys, warnings
from ofa.cli.main import main
from ofa.data import decoding

read = decoding.read_pixels

def warning_read(*rest):
    warnings.warn("Palette images with Transparency expressed in bytes", UserWarning)
    return read(*rest)

decoding.read_pixels = warning_read
sys.exit(main(["data", "check", sys.argv[1]]))
"""


def test_pillows_warnings_come_at_the_end_of_a_verb_workers_included(tmp_path: Path) -> None:
    """Pillow warns of each such image, in whichever process decodes it."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        folder = tmp_path / "photos" / "train" / name
        folder.mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).convert("P")
            image.save(folder / f"{i}.png")
    command = [sys.executable, "-c", WARNING_CHECK, str(tmp_path / "photos")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert "Palette images with Transparency" in lines[0]


def test_a_traceback_that_a_library_logs_is_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise OSError("no room")
    except OSError:
        import traceback

        trace = traceback.format_exc()
    with warned_at_the_end("query"):
        unhandled().warning(f"It failed.\n{trace}")
    assert capsys.readouterr().err == "ofa query: warning: nobody.handles.this: It failed. OSError: no room\n"
