"""Commands of `ofa` in processes of their own, without the seconds that it takes to import torch.

`Launcher` starts one interpreter that imports everything; for each command it forks a child, which inherits the modules.
So a command can be killed, limited and timed as from a shell, in milliseconds. Run as a program, this file is that
interpreter: it reads a JSON line per request and answers with one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("ofa", "latency_tables", "search")
LIBRARIES = ("optuna", "sqlalchemy.dialects.sqlite", "PIL.Image", "matplotlib.backends.backend_agg", "onnx")
TRACEBACK = 70
"""Exit code of a child whose command raised what no user should see."""
HANG_S = 120.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One each: a process with threads must not fork, and rounding must not depend on their number."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int | None
    """Exit code, minus the signal that killed it; None: cut off after `HANG_S`."""
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)


@dataclass
class Launcher:
    """Starts commands; `close` ends it."""

    folder: Path
    """For what commands print."""
    _process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        root = Path(__file__).resolve().parents[2]
        environment = os.environ | {name: "1" for name in THREADS} | {"PYTHONPATH": str(root), "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=environment,
        )
        self._count = 0

    def run(self, argv: list[str], cwd: Path, fault: dict[str, Any] | None = None, hang_s: float = HANG_S) -> Outcome:
        """Start a command and wait for its end."""
        return self.wait(self.start(argv, cwd, fault), hang_s)

    def start(self, argv: list[str], cwd: Path, fault: dict[str, Any] | None = None) -> int:
        """Start `ofa ARGV` (or `tests.reliability.MODULE:FUNCTION ...`) in a folder; the child's number.

        Args:
            argv: words, without the program's name.
            cwd: its current directory.
            fault: what befalls it, see `tests.reliability.faults`.
        """
        self._count += 1
        request = {"argv": argv, "cwd": str(cwd), "fault": fault or {}, "to": str(self.folder / str(self._count))}
        pid: int = self._ask({"start": request})
        self._to = {**getattr(self, "_to", {}), pid: request["to"]}
        return pid

    def wait(self, pid: int, hang_s: float = HANG_S) -> Outcome:
        """Wait for a child's end; one that does not end in time is killed."""
        code = self._ask({"wait": pid, "seconds": hang_s})
        if code is None:
            os.kill(pid, signal.SIGKILL)
            self._ask({"wait": pid, "seconds": 60})
        place = Path(self._to.pop(pid))
        texts = []
        for ending in (".out", ".err"):
            file = place.with_suffix(ending)  # missing where the child was killed before it had opened it
            texts.append(file.read_text(errors="replace") if file.exists() else "")
            file.unlink(missing_ok=True)
        return Outcome(code, *texts)

    def close(self) -> None:
        """End the interpreter."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve() -> None:
    """Answer requests until there are none."""
    _import_everything()
    answers = os.fdopen(os.dup(1), "w")
    assert len(os.listdir("/proc/self/task")) == 1, "a library started threads; forking would lose them"
    codes: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer: Any = _fork(**request["start"])
        else:
            answer = _wait(request["wait"], request["seconds"], codes)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _fork(argv: list[str], cwd: str, fault: dict[str, Any], to: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = TRACEBACK
    try:
        for descriptor, ending in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(f"{to}{ending}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(cwd)
        sys.argv = ["ofa", *argv]
        code = _run(argv, fault)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(argv: list[str], fault: dict[str, Any]) -> int:
    import importlib

    from ofa.cli.main import main
    from tests.reliability.faults import befall

    befall(**fault)
    module, colon, name = argv[0].partition(":")
    if colon:
        print(json.dumps(getattr(importlib.import_module(f"tests.reliability.{module}"), name)(*argv[1:])))
        return 0
    return main(argv)


def _wait(pid: int, seconds: float, codes: dict[int, int]) -> int | None:
    end = time.monotonic() + seconds
    pause = 0.001
    while pid not in codes:
        found, status = os.waitpid(-1, os.WNOHANG)
        if found:
            codes[found] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > end:
            return None
        else:
            time.sleep(pause)
            pause = min(0.02, 1.3 * pause)
    return codes.pop(pid)


def _import_everything() -> None:
    import importlib
    import pkgutil

    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(name)


if __name__ == "__main__":
    _serve()
