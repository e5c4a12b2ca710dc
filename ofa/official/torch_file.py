"""Read the tensors of a file written by `torch.save`, without running code from it: `torch.load(weights_only=True)`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

LOOKED_AT_BYTES = 512
SHOWN = 80


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, on the CPU; of a checkpoint, those under its key `state_dict`.

    Raises:
        UserError: the file is missing, damaged, or holds no state dict (but a web page, text, another pickle).
    """
    import torch

    path = Path(path)
    _check_beginning(path)
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything: KeyError, struct.error, UnicodeDecodeError, ...
        raise UserError(f"{path}: {_why(error)}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path}: holds {_kind(found)}; expected a state dict: tensors by name")
    for key, value in found.items():
        if not (isinstance(key, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided):
            raise UserError(f"{path}: entry {str(key)[:SHOWN]!r} is {_kind(value)}; expected a state dict: tensors by name")
    return {key: value.detach() for key, value in found.items()}


def _check_beginning(path: Path) -> None:
    """Raise `UserError` for a missing file, and for files often saved by mistake in place of weights."""
    try:
        with open(path, "rb") as file:
            start = file.read(LOOKED_AT_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not start:
        raise UserError(f"{path}: is empty; download it again")
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: is a pointer to a file in Git LFS, not the file; download what it points to")
    if start.lstrip()[:1] == b"<":
        raise UserError(f"{path}: is a web page, not weights; download the file itself")
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        raise UserError(f"{path}: is text ({start[:30].decode()!r} ...), not weights of torch.save")


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    forbidden = re.search(r"GLOBAL ([\w.]+)", text)
    if forbidden:
        return (
            f"holds Python objects ({forbidden[1][:SHOWN]}) besides tensors; it is not opened, because that could run code: "
            "save the state dict alone"
        )
    if isinstance(error, EOFError) or re.search("central directory|unexpected EOF|corrupted|file in archive", text):
        return f"is cut short or damaged ({text[:SHOWN] or 'it ends too early'}); download it again"
    return f"is no file of torch.save, or a damaged one ({type(error).__name__}: {text[:SHOWN]})"


def _kind(value: Any) -> str:
    return "nothing" if value in (None, {}) else f"a {type(value).__name__}"
