"""What every verb shares: help, exit codes, errors in one line, JSON for machines."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
import types
import weakref
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ofa.cli.main import VERBS, main
from ofa.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
CONTRACT = {"train", "evaluate", "predictor", "query", "pareto", "platforms", "profile", "data"}


def ofa(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ofa.cli.main", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A verb `probe`, whose `run` a test replaces."""
    module = types.ModuleType("ofa.cli.verbs.probe", "Probe the command line.")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--number", type=int, default=1)

    module.EXAMPLE = "ofa probe --number 3"  # type: ignore[attr-defined]
    module.add_arguments = add_arguments  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ofa.cli.verbs.probe", module)
    monkeypatch.setitem(VERBS, "probe", "probe the command line")
    return module


def test_help_lists_every_verb() -> None:
    done = ofa("--help")
    assert done.returncode == 0
    assert set(VERBS) >= CONTRACT
    for name, text in VERBS.items():
        assert name in done.stdout
        assert text in done.stdout


def test_version() -> None:
    """That of the installed distribution, in a line of its own, as scripts and bug reports want it."""
    done = ofa("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ofa-energy {metadata.version('ofa-energy')}\n", "")
    assert "--version" in ofa("--help").stdout


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom ofa.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'scipy', 'matplotlib', 'optuna', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_verb_shows_the_help_and_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


def test_an_unknown_verb_is_named() -> None:
    done = ofa("trane")
    assert done.returncode == 2
    assert "trane" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(VERBS))
def test_each_verb_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: ofa {name}" in shown
    assert f"example:\n  ofa {name}" in shown
    assert "--json" in shown


def test_an_unknown_option_exits_2(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["probe", "--numbr", "3"])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown == "ofa probe: error: unrecognized arguments: --numbr 3 (ofa probe --help shows the options)\n"


def test_json_is_one_object_and_the_only_output(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        if not args.json:
            print("for people")
        return {"number": args.number}

    verb.run = run  # type: ignore[attr-defined]
    assert main(["probe", "--number", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"number": 3}
    assert main(["--json", "probe"]) == 0
    assert json.loads(capsys.readouterr().out) == {"number": 1}
    assert main(["probe"]) == 0
    assert capsys.readouterr().out == "for people\n"


def test_a_users_mistake_is_one_line_and_exit_2(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        raise UserError("spaces/mine.yaml: stage 2: kernel 4 is even; kernels must be odd")

    verb.run = run  # type: ignore[attr-defined]
    assert main(["probe"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "ofa probe: error: spaces/mine.yaml: stage 2: kernel 4 is even; kernels must be odd\n"


def test_our_own_mistakes_are_not_hidden(verb: types.ModuleType) -> None:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        raise KeyError("bug")

    verb.run = run  # type: ignore[attr-defined]
    with pytest.raises(KeyError, match="bug"):
        main(["probe"])


def test_a_file_that_cannot_be_opened_is_one_line(
    verb: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        return {"content": tmp_path.read_text()}

    verb.run = run  # type: ignore[attr-defined]
    assert main(["probe"]) == 2
    assert capsys.readouterr().err == f"ofa probe: error: {tmp_path}: Is a directory\n"


def test_an_interrupt_exits_130(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        raise KeyboardInterrupt

    verb.run = run  # type: ignore[attr-defined]
    assert main(["probe"]) == 130
    assert capsys.readouterr().err == "ofa probe: interrupted\n"


def test_a_real_mistake_in_a_real_process_shows_no_traceback(tmp_path: Path) -> None:
    done = ofa("platforms", "no-such-device", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("ofa platforms: error: ")
    assert done.stderr.count("\n") == 1
    assert "no-such-device" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    script = f'"{sys.executable}" -m ofa.cli.main platforms | head -c 1 >/dev/null; exit "${{PIPESTATUS[0]}}"'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def foreign(name: str, module: str, message: str = "first line\nsecond") -> Exception:
    """An exception as another library defines it."""
    made: Exception = type(name, (Exception,), {"__module__": module})(message)
    return made


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space and give the same"),
        (OSError(errno.ENOSPC, "No space left on device", "a.csv"), "a.csv: No space left on device; free"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied"),
        (MemoryError(), "out of memory: give a smaller batch_size"),
        (foreign("OutOfMemoryError", "torch"), "out of memory: first line: give a smaller"),
        (foreign("InvalidGraph", "onnxruntime.capi.onnxruntime_pybind11_state"), "onnxruntime: first line"),
        (foreign("OperationalError", "sqlalchemy.exc", "database or disk is full"), "(the disk is full)"),
        (zipfile.BadZipFile("File is not a zip file"), "zipfile: File is not a zip file"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "text that is not UTF-8"),
        (RecursionError("maximum recursion depth exceeded"), "the input is nested too deeply"),
    ],
)
def test_an_error_of_another_library_is_one_line(
    verb: types.ModuleType, error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: argparse.Namespace) -> None:
        raise error

    verb.run = run  # type: ignore[attr-defined]
    assert main(["probe"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("ofa probe: error: ")
    assert line in text
    assert text.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback(verb: types.ModuleType) -> None:
    verb.run = lambda _: {}["nothing"]  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        main(["probe"])


def test_sigterm_while_a_module_is_imported_is_no_missing_module(
    verb: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: argparse.Namespace) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:  # as the interpreter does with an exception in the middle of a C extension's start
            raise ImportError("initialization failed") from None

    verb.run = run  # type: ignore[attr-defined]
    assert main(["probe"]) == 143
    assert capsys.readouterr().err == "ofa probe: terminated; the same command resumes where it can\n"


def test_sigterm_is_one_line_and_its_own_exit_code(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: argparse.Namespace) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    verb.run = run  # type: ignore[attr-defined]
    before = signal.getsignal(signal.SIGTERM)
    assert main(["probe"]) == 143
    assert capsys.readouterr().err == "ofa probe: terminated; the same command resumes where it can\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_callback_of_a_weak_reference_is_not_lost(
    verb: types.ModuleType, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    reached = []

    def told(_: object) -> None:
        reached.append(True)
        os.kill(os.getpid(), number)

    def run(_: argparse.Namespace) -> None:
        kept = types.ModuleType("kept")
        reference = weakref.ref(kept, told)
        del kept  # what is raised in `told` is dropped here
        time.sleep(5)
        raise AssertionError(reference)

    verb.run = run  # type: ignore[attr-defined]
    before, hook = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    try:
        assert main(["probe"]) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached
    assert capsys.readouterr().err.count("\n") == 1
    assert sys.unraisablehook is hook
