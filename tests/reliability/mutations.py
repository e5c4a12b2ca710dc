"""Damage to files: what a bad disk, a half copy, an editor or an attacker may leave of one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

Mutate = Callable[[bytes, np.random.Generator], bytes]
NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])")
DEPTH = 3000
DIGITS = 5000


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def flip_a_bit(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def zero_a_range(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content)))
    size = min(len(content) - start, int(rng.integers(1, 64)))
    return content[:start] + bytes(size) + content[start + size :]


def add_garbage(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 64)))


def empty(content: bytes, rng: np.random.Generator) -> bytes:
    return b""


def duplicate_a_line(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    chosen = int(rng.integers(len(lines)))
    return b"".join([*lines[: chosen + 1], *lines[chosen:]])


def delete_a_line(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    chosen = int(rng.integers(len(lines)))
    return b"".join(lines[:chosen] + lines[chosen + 1 :])


def put_for_a_number(value: bytes) -> Mutate:
    """Another value in the place of one of the numbers."""

    def mutate(content: bytes, rng: np.random.Generator) -> bytes:
        numbers = list(NUMBER.finditer(content))
        if not numbers:
            return content + value
        chosen = numbers[int(rng.integers(len(numbers)))]
        return content[: chosen.start()] + value + content[chosen.end() :]

    return mutate


def not_utf8(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content) + 1))
    return content[:place] + b"\xff\xfe" + content[place:]


ANY: dict[str, Mutate] = {
    "truncate": truncate,
    "flip a bit": flip_a_bit,
    "zero a range": zero_a_range,
    "add garbage": add_garbage,
    "empty": empty,
}
TEXT: dict[str, Mutate] = {
    "duplicate a line": duplicate_a_line,
    "delete a line": delete_a_line,
    "nan": put_for_a_number(b"nan"),
    ".nan": put_for_a_number(b".nan"),
    "NaN": put_for_a_number(b"NaN"),
    "1e308": put_for_a_number(b"1e308"),
    "-1": put_for_a_number(b"-1"),
    "=cmd": put_for_a_number(b"=cmd"),
    "huge digits": put_for_a_number(b"9" * DIGITS),
    "deep nesting": put_for_a_number(b"[" * DEPTH + b"]" * DEPTH),
    "not UTF-8": not_utf8,
}
SWAP = "swap two files"
NONSENSE = {"nan", ".nan", "NaN", "=cmd", "not UTF-8", "deep nesting", "huge digits"}
"""What no editor means, and no reader may take for a value."""
TEXT_SUFFIXES = {".yaml", ".json", ".jsonl", ".csv", ".journal", ".md", ".txt"}


def kinds_for(path: Path) -> list[str]:
    """Names of the mutations that fit a file."""
    return [*ANY, *(TEXT if path.suffix in TEXT_SUFFIXES else ()), SWAP]


def mutate(path: Path, kind: str, other: Path, rng: np.random.Generator) -> bool:
    """Damage a file, or swap it with another; whether that changed it."""
    before = path.read_bytes()
    if kind == SWAP:
        content = other.read_bytes()
        other.write_bytes(before)
    elif not before:
        return False
    else:
        content = (ANY | TEXT)[kind](before, rng)
    path.write_bytes(content)
    return content != before
