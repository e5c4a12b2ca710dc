"""The platforms that ship, by name, and reading and writing one as a file. No torch here."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from latency_tables.platform import Platform
from latency_tables.published.keys import FORMATS, looks_published
from ofa.errors import UserError
from ofa.files import atomic, schema
from ofa.files.vouched import vouched_text

_SHIPPED = Path(__file__).resolve().parent / "platforms"
SHOWN = 8
"""Names in the message about an unknown one."""


def platform_names() -> list[str]:
    """Names of the platforms that ship."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_platform(name_or_path: str | Path) -> Platform:
    """A platform that ships by name, or one from a file.

    A file is a platform's YAML or a published latency table (`published.tables`); a folder holds published tables,
    one per resolution. An existing YAML file wins over a name, a name over a folder (write `./note10` for the folder).

    Raises:
        UserError: the file is missing or wrong (with its line), or the name is unknown; the message has names like it.
    """
    path = Path(name_or_path)
    if path.suffix.lower() not in FORMATS:
        if str(name_or_path) not in platform_names():
            if path.is_dir():
                return _published(path)
            raise UserError(_unknown(str(name_or_path)))
        path = _SHIPPED / f"{name_or_path}.yaml"
    data = schema.load_yaml(path)
    if looks_published(data):
        return _published(path)
    return schema.build(Platform, data, str(path))


def _unknown(name: str) -> str:
    """The message, with the names most like it; a line has no room for all."""
    import difflib

    known = platform_names()
    near = difflib.get_close_matches(name.casefold(), known, SHOWN, 0.4)
    shown = [*near, *(other for other in known if other not in near)][:SHOWN]
    return (
        f"unknown platform {name[:80]!r}; known are {', '.join(shown)}, ... (`ofa platforms` lists all {len(known)}), or "
        "give a YAML file (or folder)"
    )


def _published(path: Path) -> Platform:
    from latency_tables.published.tables import load_tables  # spaces, and numpy with them

    return load_tables(path)


def save_platform(platform: Platform, path: str | Path) -> None:
    """Write a platform as YAML with its digest (`ofa.files.vouched`), so that no number in it changes unseen; atomic."""
    atomic.atomic_write(path, vouched_text(platform_yaml(platform)))


def platform_yaml(platform: Platform) -> str:
    """A platform as YAML that `load_platform` reads back as an equal one; measured blocks one per line."""
    data = _plain(platform)
    blocks = data["table"].pop("blocks") if "table" in data else []
    text = yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True)
    if blocks:
        lines = (yaml.safe_dump(block, sort_keys=False, default_flow_style=True, width=10**6) for block in blocks)
        # `table` need not be the last section, so its blocks follow its own line.
        text = text.replace("\ntable:\n", "\ntable:\n  blocks:\n" + "".join(f"    - {line}" for line in lines))
    return text


def _plain(value: Any) -> Any:
    """A dataclass as dicts, lists and scalars, without fields that hold their default."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {item: getattr(value, item.name) for item in fields(value) if item.init}
        return {item.name: _plain(entry) for item, entry in kept.items() if entry != _default(item)}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
