"""Names that become parts of paths: letters, digits, dot, underscore and dash, so that none leads out of its folder."""

from __future__ import annotations

import re
from typing import Annotated, Any

NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")


class _NameBound:
    """Bound of a name that is used in a path."""

    def complaint(self, name: str, value: str, verb: str) -> str | None:
        """Refuse other names; the message cuts long ones."""
        if NAME.fullmatch(value):
            return None
        return f"{name} {verb} {value[:80]!r}; allowed are 1 to 64 letters, digits, '.', '_' and '-', not dots alone"

    def as_json(self) -> dict[str, Any]:
        """The pattern as JSON schema."""
        return {"pattern": f"^{NAME.pattern}$"}


PlainName = Annotated[str, _NameBound()]


def check_name(name: str, what: str = "name") -> None:
    """Raise `ValueError` for a name that must not be used in a path."""
    wrong = _NameBound().complaint(what, name, "is")
    if wrong is not None:
        raise ValueError(wrong)


def made_name(text: str) -> str:
    """An allowed name close to any text, such as the name of a file: other characters become dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64].strip(".") or "unnamed"
