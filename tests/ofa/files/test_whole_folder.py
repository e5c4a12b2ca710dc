"""A folder is the one that was there or the new one, whatever ends the writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.files.whole_folder import restore, whole_folder

ROOT = Path(__file__).resolve().parents[3]


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def interrupted(place: Path) -> None:
    with whole_folder(place) as folder:
        (folder / "a").write_text("2")
        raise KeyError


def test_new_and_replaced_and_what_else_lies_there_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "net"
    for text in ("1", "2"):
        with whole_folder(place) as folder:
            (folder / "a").write_text(text)
        (place / "notes.txt").write_text("mine")
    assert content(place) == {"a": "2", "notes.txt": "mine"}
    assert [path.name for path in place.parent.iterdir()] == ["net"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    for there in (False, True):
        if there:
            with whole_folder(tmp_path / "net") as folder:
                (folder / "a").write_text("1")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(KeyError):
            interrupted(tmp_path / "net")
        assert sorted(tmp_path.rglob("*")) == before
    assert content(tmp_path / "net") == {"a": "1"}


@pytest.mark.parametrize("at", range(1, 5))
def test_killed_at_any_rename_the_old_or_the_new_folder_is_there(tmp_path: Path, at: int) -> None:
    with whole_folder(tmp_path / "net") as folder:
        (folder / "a").write_text("old")
        (folder / "b").write_text("old")
    code = f"""
        import os, signal
        from pathlib import Path
        from ofa.files.whole_folder import whole_folder
        rename, count = os.rename, 0
        def killing(*args):
            global count
            count += 1
            if count == {at}:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*args)
        os.rename = killing
        with whole_folder(Path({str(tmp_path / "net")!r})) as folder:
            (folder / "a").write_text("new")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    restore(tmp_path / "net")
    assert content(tmp_path / "net") in ({"a": "old", "b": "old"}, {"a": "new", "b": "old"})
    with whole_folder(tmp_path / "net") as folder:
        (folder / "a").write_text("newest")
    assert content(tmp_path / "net") == {"a": "newest", "b": "old"}


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"net: cannot be written: "), whole_folder(tmp_path / "file" / "net"):
        pass
    assert os.listdir(tmp_path) == ["file"]
