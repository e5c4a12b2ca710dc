"""Files that are either complete or absent: atomic writes, JSON, digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ofa.errors import UserError
from ofa.files.bundle import BundlePath, Place, as_place


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a file so that readers, also after a crash, see either the old content or the new, never a part.

    A temporary file in the same folder is written, synchronised to disk and renamed over `path`; then the folder itself is
    synchronised, so that the rename survives a power cut. The folder is created when it does not exist. Text is UTF-8.

    Raises:
        UserError: the folder or file cannot be written (permissions, full disk, a folder with that name).
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~umask())  # `mkstemp` makes private files
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _synchronise_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def remove_temporaries(folder: Path, names: str = "*") -> None:
    """Delete temporary files that killed processes left in a folder; only the holder of its lock may. `names`: a glob."""
    for path in folder.glob(f".{names}.????????.tmp"):
        path.unlink(missing_ok=True)


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically; raises `ValueError` for NaN and infinities, which JSON does not have."""
    atomic_write(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def read_text(path: str | Place, encoding: str = "utf-8") -> str:
    """The content of a text file; raises `UserError` when it is missing or unreadable."""
    try:
        return as_place(path).read_text(encoding=encoding)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read_json(path: str | Place) -> Any:
    """The content of a JSON file; raises `UserError` when it is missing, unreadable or not JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, nested 3,000 deep
        raise UserError(f"{path}: cannot be read: {str(error)[:80]}") from None


def sha256(path: str | Place) -> str:
    """The SHA-256 digest of a file's content, hexadecimal; raises `UserError` when it cannot be read."""
    try:
        if isinstance(path, BundlePath):
            return hashlib.sha256(path.read_bytes()).hexdigest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def append_line(path: Path, line: str) -> None:
    """Append a line to a file and synchronise it to disk; after a kill the line is complete, cut or absent.

    Raises:
        UserError: the file cannot be written (permissions, full disk).
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def drop_half_a_line(path: Path) -> None:
    """Remove a last line that a killed process did not finish."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def umask() -> int:
    """The permissions that new files and folders of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _synchronise_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a folder to synchronise it
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
