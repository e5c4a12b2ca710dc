"""Vouched files: JSON, lines of JSON, YAML and tensors that carry a digest of their own content.

A flipped bit in a stored accuracy is a wrong answer that looks right, so a file whose content does not match its digest is
refused. Files of versions before 0.2 have no digest, and are read without this check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ofa.errors import UserError
from ofa.files.atomic import atomic_write, read_json
from ofa.files.bundle import Place

Loaded = TypeVar("Loaded")
KEY = "sha256"
"""The last key of a vouched object: the digest of the others."""
FIRST_LINE = "# Written by ofa, with a digest at the end; if you change this file on purpose, delete both lines.\n"
"""First line of a vouched text."""
LAST_LINE = re.compile(r"^# sha256: ([0-9a-f]{64})\n\Z", re.MULTILINE)
LENGTH_BYTES = 8
"""Bytes at the start of a safetensors file that hold the length of its header."""


def write_vouched_json(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented JSON with its digest, atomically; raises `ValueError` for NaN and infinities."""
    atomic_write(path, vouched_json(data))


def vouched_json(data: Mapping[str, Any]) -> str:
    """The content that `write_vouched_json` writes."""
    return json.dumps(_with_digest(data), indent=2, allow_nan=False) + "\n"


def read_vouched_json(path: str | Place, advice: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The object that `write_vouched_json` wrote, or one without a digest.

    Args:
        path: the file.
        advice: end of the message: how the user can replace a damaged file.
        keys: keys that the object must have; without them another file lies in its place.

    Raises:
        UserError: the file is missing, unreadable, not a JSON object, does not match its digest, or lacks a key.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a JSON object, got {str(data)[:40]}; {advice}")
    found = _checked(data, str(path), advice)
    for key in keys:
        if key not in found:
            raise UserError(f"{path}: another file is in its place: key {key!r} is missing; {advice}")
    return found


def vouched_line(entry: Mapping[str, Any]) -> str:
    """`entry` as a line of JSON with its digest."""
    return json.dumps(_with_digest(entry), allow_nan=False)


def read_vouched_line(line: str, place: str, advice: str) -> dict[str, Any]:
    """The entry of a line from `vouched_line`, or of one without a digest; raises as `read_vouched_json` does."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON ({str(error)[:80]}); {advice}") from None
    if not isinstance(entry, dict):
        raise UserError(f"{place}: expected a JSON object, got {str(entry)[:40]}; {advice}")
    return _checked(entry, place, advice)


def vouched_text(text: str) -> str:
    """A text whose comments begin with `#` (YAML), with its digest in a comment at the end."""
    text = f"{FIRST_LINE}{text}"
    return f"{text}# {KEY}: {hashlib.sha256(text.encode()).hexdigest()}\n"


def check_text(text: str, place: str) -> None:
    """Raise `UserError` where a text from `vouched_text` has changed; without its first and last line, it is not checked."""
    last = LAST_LINE.search(text)
    if not (text.startswith(FIRST_LINE) or last):
        return
    if last is None or hashlib.sha256(text[: last.start()].encode()).hexdigest() != last[1]:
        raise UserError(
            f"{place}: damaged: its content is not what was written (another digest); copy it again, or have it made again "
            "(if you changed it on purpose, delete its first and its last line)"
        )


def vouch_for_tensors(content: bytes) -> bytes:
    """The safetensors file `content` with the digest of its tensors added to its metadata."""
    header, tensors = _split(content)
    metadata = {**header.pop("__metadata__", {}), KEY: _tensor_digest(header, tensors)}
    encoded = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % LENGTH_BYTES)  # the format requires tensors to begin at a multiple of 8 bytes
    return len(encoded).to_bytes(LENGTH_BYTES, "little") + encoded + tensors


def check_tensors(content: bytes, place: str, advice: str) -> None:
    """Raise `UserError` where a safetensors file does not match its own digest; a file without metadata has none."""
    try:
        header, tensors = _split(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{place}: not a safetensors file: {str(error)[:80]}; {advice}") from None
    metadata = header.pop("__metadata__", None)
    if metadata is not None and metadata.get(KEY) != _tensor_digest(header, tensors):
        raise UserError(f"{place}: damaged: its tensors are not those that were written (another digest); {advice}")


def read_tensors(place: Place, advice: str, load: Callable[[bytes], Loaded]) -> Loaded:
    """A safetensors file as `load` of `safetensors.torch` or `.numpy` reads it; raises `UserError` for a damaged one."""
    from safetensors import SafetensorError

    try:
        content = place.read_bytes()
        check_tensors(content, str(place), advice)
        return load(content)
    except SafetensorError as error:
        raise UserError(f"{place}: not a safetensors file: {error}") from None
    except OSError as error:
        raise UserError(f"{place}: cannot be read: {error.strerror or error}") from None


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes of its tensors."""
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    if not 2 <= length <= len(content) - LENGTH_BYTES:
        raise ValueError(f"its header is said to take {length} bytes of {len(content)}")
    header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its header is no JSON object")
    return header, content[LENGTH_BYTES + length :]


def _tensor_digest(header: Mapping[str, Any], tensors: bytes) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(tensors)
    return digest.hexdigest()


def _with_digest(data: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in data.items() if key != KEY}
    return {"vouched": True, **plain, KEY: _digest({"vouched": True, **plain})}


def _digest(data: Mapping[str, Any]) -> str:
    """Digest of the canonical JSON, in which layout and order of keys do not matter."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _checked(data: dict[str, Any], place: str, advice: str) -> dict[str, Any]:
    """The object without its digest and `vouched` mark; one of these without the other counts as damage."""
    plain = {key: value for key, value in data.items() if key != KEY}
    if KEY in data or "vouched" in data:
        try:
            sound = data.get(KEY) == _digest(plain)
        except ValueError:
            sound = False
        if not sound:
            raise UserError(f"{place}: damaged: its content is not what was written (another digest); {advice}")
    plain.pop("vouched", None)
    return plain
