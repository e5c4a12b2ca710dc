"""Errors of other libraries and of the system as one line for users; bugs of this program keep their traceback."""

from __future__ import annotations

import errno

LIBRARIES = ("onnx", "onnxruntime", "sqlalchemy", "sqlite3", "psycopg", "PIL", "zipfile", "safetensors", "yaml")
"""Packages whose exceptions are about a file, a database or a device, not about a bug in this code."""
STORAGES = ("optuna.storages", "sqlalchemy")
"""Modules that read and write a study; what they raise for a damaged one can be of any type."""
SHOWN = 200


def line_of(error: BaseException) -> str | None:
    """The message for the user; None where the error is a bug in this program, which needs its traceback."""
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory{_first(error)}: give a smaller batch_size, fewer images at once, or a machine with more"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply"
    if isinstance(error, UnicodeError):
        return f"text that is not UTF-8{_first(error)}"
    package = type(error).__module__.partition(".")[0]
    if package in LIBRARIES:
        full = " (the disk is full)" if "full" in str(error) or "No space left" in str(error) else ""
        return f"{package}{_first(error)}{full}"
    if _in_a_storage(error):
        kind = type(error).__name__
        return f"the study cannot be read: {kind}{_first(error)}; it is damaged: give another --storage or --study"
    return None


def _in_a_storage(error: BaseException) -> bool:
    place = error.__traceback__
    while place is not None and not place.tb_frame.f_globals.get("__name__", "").startswith(STORAGES):
        place = place.tb_next
    return place is not None


def _of_system(error: OSError) -> str:
    text = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.ENOSPC:
        text = f"{text}; free some space and give the same command again"
    return f"{error.filename}: {text}" if error.filename is not None else text


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f": {lines[0][:SHOWN]}" if lines else ""
