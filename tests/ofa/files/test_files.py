from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.files.atomic import append_line, atomic_write, drop_half_a_line, read_json, sha256, write_json


def test_writes_text_and_bytes_and_creates_the_folder(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b.txt", "kühl")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "kühl".encode()
    atomic_write(tmp_path / "a" / "b.txt", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    atomic_write(tmp_path / "ours", "x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    atomic_write(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"kept: cannot be written: No space left on device"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_at_any_moment_a_reader_sees_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = (
        "import sys; from ofa.files.atomic import atomic_write\n"
        "for i in range(10**9): atomic_write(sys.argv[1], bytes([i % 250]) * 300_000)"
    )
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=root)
    try:
        deadline = time.monotonic() + 30
        seen = set()
        while len(seen) < 4 and time.monotonic() < deadline:
            if path.exists():
                content = path.read_bytes()
                assert len(content) == 300_000
                assert len(set(content)) == 1
                seen.add(content[0])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(seen) >= 4
    assert len(set(path.read_bytes())) == 1
    assert path.stat().st_size == 300_000


def test_a_folder_in_the_way_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match="taken: cannot be written"):
        atomic_write(tmp_path / "taken", "x")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        atomic_write(tmp_path / "file" / "below", "x")


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [1, 2.5, None]}
    with pytest.raises(UserError, match=r"missing\.json: no such file"):
        read_json(tmp_path / "missing.json")
    path.write_text('{"a":\n 1,,}')
    with pytest.raises(UserError, match=r"x.json:2: not valid JSON"):
        read_json(path)
    path.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(path)


def test_lines_are_appended_and_a_half_one_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, "one")
    append_line(path, "zwölf")
    whole = path.read_bytes()
    path.write_bytes(whole + b"thr")
    drop_half_a_line(path)
    assert path.read_text(encoding="utf-8") == "one\nzwölf\n"
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        append_line(tmp_path, "one")


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UserError, match="no such file"):
        sha256(tmp_path / "none")
