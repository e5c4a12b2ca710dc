"""YAML into dataclasses, apart from any one dataclass of the project."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import UserError
from ofa.files.schema import build, load_yaml, to_plain


@dataclass(frozen=True)
class Inner:
    size: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}; must be at least 1")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    more: tuple[Inner, ...] = ()
    rate: float | None = None
    choice: int | str = 0
    flags: dict[str, bool] = field(default_factory=dict)
    anything: Any = None
    either: bool | tuple[bool, ...] = False


def load(path: Path, text: str) -> Outer:
    file = path / "a.yaml"
    file.write_text(text)
    return build(Outer, load_yaml(file), "a.yaml")


def test_types_come_from_the_annotations(tmp_path: Path) -> None:
    got = load(
        tmp_path,
        "name: x\ninner: {size: 3.0, scale: 3e-5}\nmore:\n- {size: 2}\nrate: 1\nchoice: a\nflags: {a: on}\nanything: [1]",
    )
    assert got == Outer("x", Inner(3, 3e-5), (Inner(2),), 1.0, "a", {"a": True}, [1])
    assert isinstance(got.inner.size, int)
    assert isinstance(got.rate, float)
    assert build(Outer, to_plain(got), "again") == got
    assert load(tmp_path, "name: x\ninner: {size: 3}\neither: yes\n").either is True
    assert load(tmp_path, "name: x\ninner: {size: 3}\neither: [no, yes]\n").either == (False, True)
    assert load(tmp_path, "name: x\ninner: {size: 3}\nrate: null\n") == Outer("x", Inner(3))


def test_a_merge_key_may_be_overridden(tmp_path: Path) -> None:
    text = "name: x\ninner: &base {size: 3, scale: 2}\nmore:\n- {<<: *base}\n- {<<: *base, size: 4}\n"
    assert load(tmp_path, text).more == (Inner(3, 2.0), Inner(4, 2.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inner: {size: 1}\n", r"^a\.yaml:1: key 'name' is missing$"),
        ("name: x\ninner:\n  scale: 2\n", r"^a\.yaml:3: inner: key 'size' is missing$"),
        (
            "name: x\ninner: {size: 1}\nmore:\n- {size: 1}\n- {size: 1,\n   zise: 2}\n",
            r"^a\.yaml:6: more\[1\]: unknown key 'zise'; ",
        ),
        ("name: x\ninner: {size: 0}\n", r"^a\.yaml:2: inner: size is 0; must be at least 1$"),
        ("name: x\ninner: {size: '1'}\n", r"^a\.yaml:2: inner: size: expected a whole number, got '1'$"),
        ("name: x\ninner: {size: yes}\n", r"^a\.yaml:2: inner: size: expected a whole number, got True$"),
        ("name: x\ninner: {size: 1, scale: [1]}\n", r"^a\.yaml:2: inner: scale: expected a number, got \[1\]$"),
        ("name: x\ninner: {size: 1, scale: off}\n", r"^a\.yaml:2: inner: scale: expected a number, got False$"),
        ("name: 3\ninner: {size: 1}\n", r"^a\.yaml:1: name: expected text, got 3$"),
        ("name: x\ninner: {size: 1}\nrate: fast\n", r"^a\.yaml:3: rate: expected a number, got 'fast'$"),
        ("name: x\ninner: {size: 1}\nchoice: 1.5\n", r"^a\.yaml:3: choice: expected text, got 1\.5$"),
        ("name: x\ninner: {size: 1}\nmore: {size: 1}\n", r"^a\.yaml:3: more: expected a list, got \{'size': 1\}$"),
        ("name: x\ninner: {size: 1}\nflags: [a]\n", r"^a\.yaml:3: flags: expected a mapping of keys, got \['a'\]$"),
        ("name: x\ninner: {size: 1}\nflags: {a: 1}\n", r"^a\.yaml:3: flags\.a: expected true or false, got 1$"),
        ("name: x\ninner: {size: 1}\neither: 1\n", r"^a\.yaml:3: either: expected true or false, got 1$"),
        ("name: x\ninner: {size: 1}\neither: [yes, 1]\n", r"^a\.yaml:3: either\[1\]: expected true or false, got 1$"),
        ("name: x\ninner: 3\n", r"^a\.yaml:2: inner: expected a mapping of keys, got 3$"),
    ],
)
def test_mistakes_name_line_place_value_and_what_is_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def test_values_that_come_from_no_file_have_no_line() -> None:
    with pytest.raises(UserError, match=r"^net: inner: size: expected a whole number, got None$"):
        build(Outer, {"name": "x", "inner": {"size": None}}, "net")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"cannot be read: .*Is a directory"):
        load_yaml(tmp_path)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "date: 2025-02-31",
        "time: 2025-01-01 77:00:00",
        "n: !!int abc",
        "n: !!float x",
        "n: !!bool x",
        "n: !!timestamp x",
        f"n: {'9' * 5000}",
        f"n: {'[' * 3000}{']' * 3000}",
        f"n: {'{a: ' * 3000}1{'}' * 3000}",
        "a: &a [*a]",
        LAUGHS,
        "n: !!python/object/apply:os.system [ls]",
    ],
    ids=["date", "time", "int", "float", "bool", "timestamp", "digits", "lists", "mappings", "itself", "laughs", "python"],
)
def test_yaml_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml.*(not valid YAML|its aliases stand for)") as caught:
        load_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_values_in_messages_are_cut(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Number:
        n: float

    for value in (int("9" * 400), "x" * 10_000, [1] * 10_000):
        with pytest.raises(UserError, match="n: expected a number, got ") as caught:
            build(Number, {"n": value}, "x.yaml")
        assert len(str(caught.value)) < 200
