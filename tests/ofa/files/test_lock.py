"""One process at a time writes to a run directory or a profile: real processes, some of them killed."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ofa import UserError
from ofa.cli.main import main
from ofa.files import lock
from ofa.files.atomic import atomic_write, remove_temporaries
from ofa.files.lock import LOCK, Holder, locked
from ofa.files.output import locked_output
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.trainer import Trainer
from tests.space_toys import PROFILED
from tests.tiny import write_recipe

HOLD = "import sys, time; from ofa.files.lock import locked\nwith locked(sys.argv[1]): time.sleep(600)"
TRY = "import sys; from ofa.files.lock import locked\nwith locked(sys.argv[1]): print('held')"


@contextmanager
def running(command: list[str], until: Callable[[], bool], seconds: float = 120) -> Iterator[subprocess.Popen[str]]:
    """A process, from the moment that `until` holds; killed at the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + seconds
        while not until():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


def holding(place: Path) -> Any:
    """A process that holds a lock."""
    file = place / LOCK if place.is_dir() else place.with_name(f".{place.name}.lock")
    return running([sys.executable, "-c", HOLD, str(place)], lambda: file.exists() and file.stat().st_size > 0)


HOLDER = '{"pid": %s, "host": "' + platform.node() + '", "boot": "", "since": "", "command": ""}'


def verb(*words: object) -> list[str]:
    return [sys.executable, "-m", "ofa.cli.main", *map(str, words)]


@pytest.mark.parametrize("name", ["", "table.yaml"])
def test_the_second_process_is_told_who_the_first_is(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    with holding(place) as first:
        line = rf"^{re.escape(str(place))}: process {first.pid} on {re.escape(socket.gethostname())} \(-c .*, since 20.*\) "
        with pytest.raises(UserError, match=line + "is writing to it; wait for it, or end it$"), locked(place):
            pass
        first.kill()
        first.wait()
        done = subprocess.run([sys.executable, "-c", TRY, str(place)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr  # a dead process holds nothing
    assert list(tmp_path.iterdir()) == []


def test_a_lock_holds_until_the_outermost_block_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRY, str(tmp_path)]
    with locked(tmp_path):
        with locked(tmp_path / "."):
            pass
        assert "is writing to it" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert list(tmp_path.iterdir()) == [tmp_path / LOCK]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "text", ["[" * 4000, "{}", "9" * 4096, '{"pid": -1}', "\x00" * 64, HOLDER % '"x"', HOLDER % str(10**30)]
)
def test_a_damaged_lock_names_nobody(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)  # then the number in the file would decide
    (tmp_path / LOCK).write_text(text)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_forked_process_does_not_hold_what_its_parent_holds(tmp_path: Path) -> None:
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            try:
                with locked(tmp_path):
                    os._exit(1)
            except UserError:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        command = [sys.executable, "-c", TRY, str(tmp_path)]  # and the child's end has not freed it
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_of_many_at_once_one_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ofa.files.lock import locked\n"
        "for i in range(100):\n"
        "    try:\n"
        "        with locked(sys.argv[1]):\n"
        "            inside = Path(sys.argv[1]) / 'inside'\n"
        "            inside.touch(exist_ok=False); time.sleep(1e-4); inside.unlink()\n"
        "    except Exception as error:\n"
        "        assert 'writing to it' in str(error), error\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    several = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in several] == [""] * 4
    assert [process.returncode for process in several] == [0] * 4


# -- other machines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "seen"),
    [
        ("ext4", ["rw"], True),
        ("nfs4", ["rw", "local_lock=none"], True),
        ("nfs", ["rw", "local_lock=all"], False),
        ("cifs", ["rw"], False),
        ("", [], False),
    ],
)
def test_a_process_of_another_machine_is_believed_where_its_lock_cannot_be_seen(
    kind: str, options: list[str], seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / LOCK
    file.write_text(json.dumps(asdict(replace(Holder.here(), pid=7, host="elsewhere", boot="another"))))
    monkeypatch.setattr(lock, "_file_system", lambda _: (kind, options))
    if seen:
        with locked(tmp_path):  # the kernel gave the lock, so the other process is gone
            assert json.loads(file.read_text())["pid"] == os.getpid()
        return
    message = rf"process 7 on elsewhere \(.*\) is writing to it, or was: .* has ended, delete {re.escape(str(file))}$"
    with pytest.raises(UserError, match=message), locked(tmp_path):
        pass
    file.unlink()
    with locked(tmp_path):
        pass


def test_without_locks_of_the_kernel_a_process_number_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid, free in ((os.getppid(), False), (ended.pid, True)):
        (tmp_path / LOCK).write_text(json.dumps(asdict(replace(Holder.here(), pid=pid))))
        if free:
            with locked(tmp_path):
                pass
        else:
            with pytest.raises(UserError, match=f"process {pid} on .* is writing to it"), locked(tmp_path):
                pass
    assert f"warning: {tmp_path}: its file system keeps no locks" in capsys.readouterr().err


def test_the_file_system_of_a_file_is_known(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    kind, options = lock._file_system(file)
    assert kind
    assert "rw" in options
    assert lock._file_system(Path("/proc/self/status"))[0] == "proc"


# -- verbs -------------------------------------------------------------------------------------------------------------


def test_two_trains_on_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = write_recipe(tmp_path, checkpoint_seconds=0), tmp_path / "run"
    recipe.write_text(recipe.read_text().replace("epochs: 2, warmup_epochs", "epochs: 9, warmup_epochs"))
    words = ["train", str(recipe), "--run", str(run), "--device", "cpu", "--quiet"]
    with running(verb(*words), (run / "checkpoint" / "latest.json").exists) as first:
        assert main(words) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"ofa train: error: {run}: process {first.pid} on {socket.gethostname()} (main.py train ")
        assert told.count("\n") == 1
        with pytest.raises(UserError, match=f"process {first.pid} on "):
            Trainer(RunDirectory.create(run, *load_recipe(recipe)), quiet=True).train()
        assert first.wait(120) == 0, first.communicate()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["phase"], row["epoch"]) for row in rows] == [*((0, epoch) for epoch in range(10)), (1, 0), (2, 0), (3, 0)]
    assert not (run / LOCK).exists()
    assert main([*words, "--json"]) == 0  # it is finished: there is nothing to lock


def test_a_killed_train_leaves_no_lock_and_its_temporary_files_go(tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path, checkpoint_seconds=0), tmp_path / "run"
    words = ["train", recipe, "--run", run, "--device", "cpu", "--quiet"]
    with running(verb(*words), (run / "checkpoint" / "latest.json").exists) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (run / LOCK).exists()
    left = [run / ".supernet.safetensors.abcdefg_.tmp", run / "checkpoint" / ".phase0-step3-0a.safetensors.12345678.tmp"]
    for path in left:
        path.write_bytes(b"half")
    of_others = [run / ".front.png.abcdefgh.tmp", run / "queries" / ".net.onnx.abcdefgh.tmp"]  # being written, perhaps
    for path in of_others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert main([str(word) for word in words]) == 0
    assert sorted(run.rglob("*.tmp")) == sorted(of_others)
    assert not (run / LOCK).exists()


def test_a_predictor_waits_for_no_one(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holding(trained_run) as first:
        assert main(["predictor", str(trained_run), "--samples", "24"]) == 2
        assert f"{trained_run}: process {first.pid} on " in capsys.readouterr().err
    assert main(["predictor", str(trained_run), "--samples", "24", "--json"]) == 0


def test_two_profiles_into_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "here.yaml"
    (tmp_path / "tiny.yaml").write_text(PROFILED)
    words = ["profile", "--space", str(tmp_path / "tiny.yaml"), "--out", str(out), "--threads", "1"]
    with holding(out) as first:
        assert main(words) == 2
        assert f"{out}: process {first.pid} on " in capsys.readouterr().err
    assert not (tmp_path / "here.yaml.partial.csv").exists()


def test_temporary_files_are_those_of_a_name(tmp_path: Path) -> None:
    for name in (".a.yaml.abcdefgh.tmp", ".b.yaml.abcdefgh.tmp", "a.yaml", ".a.yaml.lock", ".a.yaml.tmp"):
        atomic_write(tmp_path / name, "")
    remove_temporaries(tmp_path, "a.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.yaml.lock",
        ".a.yaml.tmp",
        ".b.yaml.abcdefgh.tmp",
        "a.yaml",
    ]
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.yaml.lock", ".a.yaml.tmp", "a.yaml"]


def test_a_short_wait_ends_when_the_first_lets_go(tmp_path: Path) -> None:
    with holding(tmp_path) as first:
        command = [sys.executable, "-c", TRY.replace("sys.argv[1]", "sys.argv[1], wait_s=60"), str(tmp_path)]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        line = second.stderr.readline()
        assert line.startswith(f"waiting for {tmp_path}: process {first.pid} on ")
        first.kill()
        assert second.communicate() == ("held\n", "")
    with holding(tmp_path), pytest.raises(UserError, match="is writing to it"), locked(tmp_path, wait_s=0.3):
        pass


def test_an_output_is_kept_and_cleared_of_what_kills_left(tmp_path: Path) -> None:
    net, other = tmp_path / "new" / "net[1]", tmp_path / "new" / "net1"
    with locked_output(net):
        assert (net.parent / ".net[1].lock").exists()
    for name in (".net[1].abcdefgh.new", ".net1.abcdefgh.new"):
        (net.parent / name).mkdir()
        (net.parent / name / "weights.safetensors").write_bytes(b"half")
    (net.parent / ".net[1].abcdefgh.tmp").write_bytes(b"half")
    net.mkdir()
    with locked_output(net):  # a folder that may be replaced is locked beside it
        assert sorted(path.name for path in net.parent.iterdir()) == [".net1.abcdefgh.new", ".net[1].lock", "net[1]"]
        with pytest.raises(UserError, match="is writing to it"):
            subprocess_locks(net)
        subprocess_locks(other)


def subprocess_locks(place: Path) -> None:
    """Raise the mistake of another process that wants the same place."""
    code = "import sys; from ofa.files.output import locked_output\nwith locked_output(sys.argv[1]): pass"
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    ("verb", "options", "file"),
    [("finetune", "--epochs 1", "subnet.json"), ("export", "--format onnx --images 64", "export.json")],
)
def test_two_writers_of_one_folder(
    verb: str, options: str, file: str, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, out = tmp_path / "net", tmp_path / "out"
    assert main(["query", str(trained_run), "--platform", "edge-int8", "--no-verify", "--out", str(net)]) == 0
    capsys.readouterr()
    words = [verb, str(net), "--run", str(trained_run), "--out", str(out), *options.split()]
    lock, command = tmp_path / ".out.lock", [sys.executable, "-c", HOLD_OUTPUT, str(out)]
    with running(command, lambda: lock.exists() and lock.stat().st_size > 0) as first:
        assert main(words) == 2
        assert f"{out}: process {first.pid} on " in capsys.readouterr().err
    assert main(words) == 0
    assert (out / file).exists()


HOLD_OUTPUT = (
    "import sys, time; from ofa.files.output import locked_output\nwith locked_output(sys.argv[1]): time.sleep(600)"
)


def test_a_query_waits_for_who_measures_and_measures_nothing_twice(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    log = run / "predictor" / "measurements.jsonl"
    lines = log.read_text()
    (run / ".recipe.yaml.abcdefgh.tmp").write_bytes(b"half")
    log.write_text("")
    with holding(run) as first:
        words = verb("query", run, "--platform", "edge-int8", "--verify", 1, "--out", tmp_path / "net")
        second = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        told = next(line for line in second.stderr if line.startswith("waiting for "))
        assert told.startswith(f"waiting for {run}: process {first.pid} on ")
        log.write_text(lines)  # what the first has measured meanwhile
        first.kill()
        assert second.communicate()[0].count("measured") >= 1
        assert second.returncode == 0
    assert log.read_text().startswith(lines)
    assert len(log.read_text().splitlines()) <= len(lines.splitlines()) + 1
    assert not (run / ".recipe.yaml.abcdefgh.tmp").exists()
