"""Reserve the output of a verb: lock the file or folder, and delete what killed processes left unfinished."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ofa.errors import UserError
from ofa.files.atomic import remove_temporaries
from ofa.files.lock import locked
from ofa.files.whole_folder import UNFINISHED


@contextmanager
def locked_output(place: str | Path, wait_s: float = 0.0) -> Iterator[None]:
    """Lock a file, or a folder that is written as a whole, for this process; its parent folder is created if missing.

    The lock of another process is waited for `wait_s` seconds; a line announces the wait.

    Raises:
        UserError: another process still holds the lock, or the parent folder cannot be written to.
    """
    place = Path(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be written: {error.strerror or error}") from None
    with locked(place, wait_s=wait_s, beside=True):
        name = glob.escape(place.name)
        remove_temporaries(place.parent, name)
        for folder in place.parent.glob(f".{name}.????????{UNFINISHED}"):
            shutil.rmtree(folder, ignore_errors=True)
        yield
