"""A folder that is valid only when complete: it is written elsewhere and renamed to its place.

So a kill or a full disk leaves the old folder, or none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ofa.errors import UserError
from ofa.files.atomic import umask

OLD = "old"
UNFINISHED = ".new"
"""Ending of the name of a folder that is being written; after a kill, `ofa.files.output` removes such folders."""


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A new folder that replaces `path` at the end of the block; on an exception `path` stays as it was.

    Files of the old folder that the new one does not have are carried over. Between two renames there is no folder at `path`
    for a moment; after a kill just then, `restore` puts the old one back.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path).absolute()
    restore(path)
    old = _aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        yield new
        os.chmod(new, 0o777 & ~umask())
        if path.exists():
            os.rename(path, old)
        os.rename(new, path)
        if old.exists():
            _carry_over(old, path)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if not path.exists():
            restore(path)


def restore(path: str | Path) -> None:
    """Put back the folder that a killed `whole_folder` had moved aside, or finish its replacement."""
    path = Path(path).absolute()
    old = _aside(path)
    if old.is_dir():
        if path.exists():
            _carry_over(old, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.rename(old, path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{OLD}")


def _carry_over(old: Path, new: Path) -> None:
    for entry in old.iterdir():
        if not (new / entry.name).exists() and not entry.name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                os.rename(entry, new / entry.name)
