"""The configuration files that ship with the project: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

from ofa.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
"""The package `ofa`, found without importing it."""


def config_root() -> Path:
    """The folder with recipes (`*.yaml`) and `spaces/`."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def names(folder: str) -> list[str]:
    """Names of the files in `folder` of the configuration root (`spaces`, or "" for the recipes in the root itself)."""
    return sorted(path.stem for path in (config_root() / folder).glob("*.yaml"))


def find(folder: str, name_or_path: str | Path, what: str) -> Path:
    """The path of a YAML file given by name or by path; an existing path wins over a shipped name."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    shipped = config_root() / folder / f"{name_or_path}.yaml"
    if shipped.is_file():
        return shipped
    if path.suffix in (".yaml", ".yml"):
        inside = config_root().parent / path  # `configs/demo.yaml` also works from an installed wheel
        if path.parts[:1] == ("configs",) and inside.is_file():
            return inside
        raise UserError(f"{path}: no such file")
    raise UserError(f"unknown {what} {str(name_or_path)!r}; known are {', '.join(names(folder))}, or give a YAML file")
