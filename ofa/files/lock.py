"""A lock on a file or folder that one process writes; a second process gets an error that names the first.

The kernel holds the lock (a POSIX record lock), so it ends with its process, however that ends; the lock file names its
holder. Where the kernel cannot know whether a process on another machine still runs, the lock is refused, and the message
says what to delete.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ofa.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""Name of the lock of a folder, inside it; that of a file `NAME` is `.NAME.lock` beside it."""
OF_ONE_MACHINE = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"))
"""File systems to which only one machine writes."""
OF_ALL_MACHINES = {"nfs": "local_lock=none", "nfs4": "local_lock=none", "lustre": "flock", "ceph": "", "gpfs": ""}
"""Network file systems whose locks hold for all machines, with the mount option that is needed for that."""
COMMAND_CHARACTERS = 80
"""Characters of the holder's command that are kept."""
POLL_S = 0.1
"""Seconds between two attempts to take the lock."""

_held: dict[Path, int] = {}
"""Lock files that this process holds, with its process ID: a forked process inherits the dictionary, not the locks."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as its file names it."""

    pid: int
    host: str
    boot: str
    """Boot ID of the running kernel; empty where the system has none."""
    since: str
    command: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        command = " ".join(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]).split())
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        return cls(os.getpid(), platform.node(), _boot(), since, command[:COMMAND_CHARACTERS])

    @classmethod
    def read(cls, descriptor: int) -> Holder | None:
        """The holder in a lock file; None where it is empty: there is no holder, or it has not written its name yet."""
        try:
            holder = cls(**json.loads(os.pread(descriptor, 4096, 0)))
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (holder.host, holder.boot, holder.since, holder.command)
        sound = isinstance(holder.pid, int) and 0 < holder.pid < 2**31 and all(isinstance(text, str) for text in texts)
        return holder if sound else None

    @property
    def on_this_machine(self) -> bool:
        """True if it runs, or ran, on this machine, before a restart or after."""
        return self.host == platform.node() or (self.boot != "" and self.boot == _boot())

    @property
    def alive(self) -> bool:
        """True if a process with this ID runs on this machine."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it belongs to another user
            return True
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command}, since {self.since})"


class HeldError(UserError):
    """Another process holds the lock and will release it."""


@contextmanager
def locked(place: str | Path, *, wait_s: float = 0.0, beside: bool = False) -> Iterator[None]:
    """Lock a file or folder for this process during the block; locking it again inside the block has no effect.

    Args:
        place: an existing folder, or a file that may exist.
        wait_s: seconds to wait for another process that holds it; a line on standard error says so.
        beside: put the lock of a folder beside it too, because the folder may be replaced.

    Raises:
        UserError: another process holds it, a process on another machine may hold it, or its folder cannot be written to.
    """
    place = Path(place)
    file = place / LOCK if place.is_dir() and not beside else place.with_name(f".{place.name}.lock")
    file = file.parent.resolve() / file.name
    if _held.get(file) == os.getpid():
        yield
        return
    descriptor = _take_in_time(place, file, wait_s)
    _held[file] = os.getpid()
    try:
        yield
    finally:
        del _held[file]
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _take_in_time(place: Path, file: Path, wait_s: float) -> int:
    """Repeat `_take` while another process holds the lock and there is time left."""
    end, told = time.monotonic() + wait_s, False
    while True:
        try:
            return _take(place, file)
        except HeldError as error:
            if time.monotonic() >= end:
                raise
            if not told:
                print(f"waiting for {str(error).partition(';')[0]}", file=sys.stderr)
            told = True
        time.sleep(POLL_S)


def _take(place: Path, file: Path) -> int:
    """The descriptor of the lock file, which this process now holds."""
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        try:
            kept = _kernel_lock(descriptor)
            before = Holder.read(descriptor)
            if kept is False:
                raise HeldError(f"{place}: {before or 'another process'} is writing to it; wait for it, or end it")
            if _is_at(descriptor, file):  # else its holder deleted it between opening and locking
                _check_gone(place, file, before, bool(kept))
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(asdict(Holder.here())).encode(), 0)
                return descriptor
        except OSError as error:
            os.close(descriptor)
            raise UserError(f"{file}: cannot be written: {error.strerror}") from None
        except UserError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _kernel_lock(descriptor: int) -> bool | None:
    """Ask the kernel for the lock: True: granted; False: another process has it; None: this file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def _check_gone(place: Path, file: Path, before: Holder | None, kept: bool) -> None:
    """Raise `UserError` unless the previous holder, if there was one, has certainly ended."""
    if not kept:
        print(f"warning: {place}: its file system keeps no locks; let no other process write to it", file=sys.stderr)
    if before is None:
        return
    if before.on_this_machine:
        if not kept and before.alive:
            raise UserError(f"{place}: {before} is writing to it; wait for it, or end it")
    elif not (kept and _holds_everywhere(file)):
        raise UserError(
            f"{place}: {before} is writing to it, or was: this cannot be seen from {platform.node()}; "
            f"if that process has ended, delete {file}"
        )


def _holds_everywhere(file: Path) -> bool:
    """True if a lock on this file is known to hold for all machines that can see it."""
    kind, options = _file_system(file)
    return kind in OF_ONE_MACHINE or (kind in OF_ALL_MACHINES and OF_ALL_MACHINES[kind] in ("", *options))


def _file_system(file: Path) -> tuple[str, list[str]]:
    """Kind and mount options of the file system that holds a file; an empty kind where the system does not tell."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", []
    nearest, found = "", ("", [""])
    for line in mounts:  # of two mounts at one place, the later one is visible
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if len(place) >= len(nearest) and file.is_relative_to(place):
            kind, _, options = after.split(maxsplit=2)
            nearest, found = place, (kind, options.split(","))
    return found


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
