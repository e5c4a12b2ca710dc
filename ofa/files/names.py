"""Names that become parts of paths: letters, digits, dot, underscore and dash, so that none leads anywhere else."""

from __future__ import annotations

import re

NAME = re.compile(r"(?!\.+\Z)[A-Za-z0-9._-]{1,64}")


def check_name(name: str, what: str = "name") -> None:
    """Raise `ValueError` for a name that a path must not be made of."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{what} is {name[:80]!r}; allowed are 1 to 64 letters, digits, '.', '_' and '-', not dots alone")


def made_name(text: str) -> str:
    """A name that says as much as possible of any text, such as that of a file: what is not allowed becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64].strip(".") or "unnamed"
