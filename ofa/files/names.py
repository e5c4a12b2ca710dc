"""Names that become parts of paths: letters, digits, dot, underscore and dash, so that none leads anywhere else."""

from __future__ import annotations

import re
from typing import Annotated, Any

NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")


class _NameBound:
    """A name that a path may be made of."""

    def complaint(self, name: str, value: str, verb: str) -> str | None:
        """Show the name, cut off where it is long."""
        if NAME.fullmatch(value):
            return None
        return f"{name} {verb} {value[:80]!r}; allowed are 1 to 64 letters, digits, '.', '_' and '-', not dots alone"

    def as_json(self) -> dict[str, Any]:
        """The pattern."""
        return {"pattern": f"^{NAME.pattern}$"}


PlainName = Annotated[str, _NameBound()]


def check_name(name: str, what: str = "name") -> None:
    """Raise `ValueError` for a name that a path must not be made of."""
    wrong = _NameBound().complaint(what, name, "is")
    if wrong is not None:
        raise ValueError(wrong)


def made_name(text: str) -> str:
    """A name that says as much as possible of any text, such as that of a file: what is not allowed becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64].strip(".") or "unnamed"
