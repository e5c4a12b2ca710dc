"""Arrays in numpy's files, `.npz` and `.npy`, whose claimed sizes are checked before anything of that size is made."""

from __future__ import annotations

import contextlib
import os
import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files that hold a container's limit, of both versions of control groups."""
GB = 1e9


def memory_bytes() -> int | None:
    """Memory that this process can have at most, the machine's or its container's; None where the system does not say."""
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in CGROUP_LIMITS:
        try:
            found.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # none, or `max`
            continue
    return min(found, default=None)


def check_memory(size: float, place: str) -> None:
    """Raise `UserError` where something of `size` bytes cannot be held."""
    most = memory_bytes()
    if most is not None and size > most:
        raise UserError(f"{place}: holds {size / GB:.3g} GB unpacked; this machine has {most / GB:.3g} GB of memory")


def load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz`, whose sizes are checked first; nothing is unpickled.

    Raises:
        UserError: it is no such file, damaged, or unpacks to more than memory holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_memory(sum(member.file_size for member in members), str(path))
            for member in members:
                with archive.open(member) as file:
                    _check_array(file, member.file_size, f"{path}: {member.filename}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except UserError:  # which is a ValueError too
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as arrays: {str(error)[:200]}") from None


def load_npy(path: Path) -> npt.NDArray[Any]:
    """The array of an `.npy`, as `load_npz`."""
    try:
        size = path.stat().st_size
        check_memory(size, str(path))
        with open(path, "rb") as file:
            _check_array(file, size, str(path))
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except UserError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as an array: {str(error)[:200]}") from None
    return array


def _check_array(file: IO[bytes], size: int, place: str) -> None:
    """Raise `UserError` where an array's header claims another size than its file has: numpy makes the array first."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise UserError(f"{place}: holds Python objects; only numbers and text are read")
    claimed = dtype.itemsize * prod(map(int, shape))
    if claimed != size - file.tell():
        raise UserError(f"{place}: its header claims {claimed} bytes of numbers; the file has {size - file.tell()}")
