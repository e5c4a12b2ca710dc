"""What befalls a command: a kill at some call to the system, a full disk, a limit on the size of files. In its process.

Calls are counted that change files below the current directory: files opened for writing, renamed, removed, cut or
synchronised, folders made or removed.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import signal
import sys
from typing import Any

CHANGING = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir")
"""Audit events of calls that change files."""
WRITES = os.O_WRONLY | os.O_RDWR


def befall(
    count: str | None = None,
    at_call: int | None = None,
    signal_name: str = "SIGKILL",
    cut: float | None = None,
    full_after: int | None = None,
    largest_file: int | None = None,
) -> None:
    """Let something befall this process later on.

    Args:
        count: write the number of calls into this file, after each call.
        at_call: at this call, the first being 1, this process gets a signal.
        signal_name: which one.
        cut: where that call synchronises a temporary file and the signal is SIGKILL, the file's content ends after this part
            of it: the kill came while it was written. (After other signals a process goes on, and finishes the file.)
        full_after: bytes written through Python's files, until the disk is full.
        largest_file: bytes that a file can have (the kernel's RLIMIT_FSIZE).
    """
    if count is not None or at_call is not None:
        _Calls(count, at_call, getattr(signal, signal_name), cut)
    if full_after is not None:
        _fill(full_after)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))


class _Calls:
    """Counts calls that change files; at one of them a signal comes."""

    def __init__(self, file: str | None, at: int | None, number: int, cut: float | None) -> None:
        self.file = None if file is None else os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)
        self.at, self.number, self.cut = at, number, cut
        self.calls = 0
        self.here = os.path.realpath(".")
        self.process = os.getpid()
        self.fsync = os.fsync
        os.fsync = self._fsync
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        changes = (args[2] or 0) & WRITES if event == "open" else event in CHANGING
        if changes and self._is_here(args[0]):
            self._call()

    def _fsync(self, descriptor: int) -> None:
        self._call(descriptor)
        self.fsync(descriptor)

    def _is_here(self, path: Any) -> bool:
        try:
            return os.path.abspath(os.fsdecode(path)).startswith(self.here)
        except TypeError:
            return False  # a descriptor

    def _call(self, descriptor: int | None = None) -> None:
        if os.getpid() != self.process:
            return
        self.calls += 1
        if self.file is not None:
            os.pwrite(self.file, str(self.calls).encode(), 0)
        if self.calls == self.at:
            if descriptor is not None and self.cut is not None and self.number == signal.SIGKILL:
                name = os.readlink(f"/proc/self/fd/{descriptor}")
                if name.endswith(".tmp"):
                    os.ftruncate(descriptor, int(self.cut * os.fstat(descriptor).st_size))
            os.kill(self.process, self.number)


class _Disk:
    """A disk that has room for some bytes more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, size: int) -> int:
        """How many of so many bytes can be written; raises `OSError` when none."""
        if size and not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(size, self.left)
        self.left -= taken
        return taken


def _fill(room: int) -> None:
    """Let every file that Python writes run into a full disk."""
    disk, given, here = _Disk(room), io.open, os.path.realpath(".")
    write, pwrite = os.write, os.pwrite

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(memoryview(data).cast("B")[: disk.take(memoryview(data).nbytes)])

    def limited(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        inside = isinstance(file, int) or os.path.abspath(os.fsdecode(file)).startswith(here)
        if isinstance(file, int):
            inside = os.readlink(f"/proc/self/fd/{file}").startswith(here)
        if not inside or not set(mode) & set("wax+"):
            return given(file, mode, buffering, *args, **options)
        names = dict(zip(("encoding", "errors", "newline", "closefd", "opener"), args, strict=False)) | options
        raw = Raw(file, mode.replace("b", "").replace("t", ""), names.get("closefd", True), names.get("opener"))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        encoding = names.get("encoding") or "utf-8"
        return io.TextIOWrapper(buffered, encoding, names.get("errors"), names.get("newline"), buffering == 1)

    def is_here(descriptor: int) -> bool:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(here)

    os.write = lambda fd, data: write(fd, data[: disk.take(len(data))] if is_here(fd) else data)
    os.pwrite = lambda fd, data, offset: pwrite(fd, data[: disk.take(len(data))] if is_here(fd) else data, offset)
    builtins.open = io.open = limited
