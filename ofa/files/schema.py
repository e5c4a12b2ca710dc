"""Loading YAML into frozen dataclasses: annotations give the types, and every error message names the line.

The loader keeps the line of each key, so a message reads `recipes/mine.yaml:12: phases[1]: unknown key 'epoch'; known keys
are ...`. The dataclass decides types, not YAML (PyYAML reads `3e-5` as a string).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml

from ofa.errors import UserError
from ofa.files.atomic import read_text
from ofa.files.bounds import BoundError
from ofa.files.bundle import Place
from ofa.files.vouched import check_text

T = TypeVar("T")
SHOWN = 80
"""Characters of a value that a message shows."""
LARGEST_WHOLE = 2**63 - 1
"""Largest whole number, and least but for its sign: what 64 bits hold, and a float after it."""
MOST_VALUES = 5_000_000
"""Most values in a file, counting each use of an alias; a measured table of a large space has a hundred thousand."""


class Mapping(dict[str, Any]):
    """A YAML mapping that remembers the line it starts on and the line of each key (1-based)."""

    line: int = 0
    key_lines: dict[Any, int]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, in C where it was built with that (seven times faster)."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> Mapping:
    given = set()
    for key_node, _ in node.value:  # before merging, because a key may override one from `<<`
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a list or mapping is no key", problem_mark=key_node.start_mark)
        if key_node.value in given:
            raise yaml.MarkedYAMLError(problem=f"key {key_node.value!r} is given twice", problem_mark=key_node.start_mark)
        given.add(key_node.value)
    loader.flatten_mapping(node)
    mapping = Mapping()
    mapping.line = node.start_mark.line + 1
    mapping.key_lines = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        mapping[key] = loader.construct_object(value_node, deep=True)
        mapping.key_lines[key] = key_node.start_mark.line + 1
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def load_yaml(path: str | Place) -> Mapping:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: naming file and line; also where a file that vouches for itself (`vouched_text`) has changed.
    """
    text = read_text(path)
    if str(path).lower().endswith(".json"):
        text = text.replace("\t", " ")  # JSON may be indented so; YAML, which otherwise reads it, may not
    check_text(text, str(path))
    try:
        data = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"{path}{line}: not valid YAML: {problem[:SHOWN]}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    except (
        ValueError,
        OverflowError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # from a constructor, as for 31 February
        raise UserError(f"{path}: not valid YAML: a value cannot be read: {str(error)[:SHOWN]}") from None
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: expected a mapping of keys, got {'nothing' if data is None else repr(data)[:SHOWN]}")
    try:
        size = _size(data, {})
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: a value holds itself, or is nested too deeply") from None
    if size > MOST_VALUES:
        raise UserError(f"{path}: its aliases stand for {size:.3g} values; at most {MOST_VALUES:,} are read")
    return data


def _size(value: Any, known: dict[int, int]) -> int:
    """The number of values, counting each use of an alias. Each object is visited once, so this takes linear time."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]


def build(cls: type[T], data: Any, place: str) -> T:
    """A dataclass instance from parsed YAML.

    Args:
        cls: a dataclass; field types may be scalars, tuples, optionals, unions of scalars and dataclasses, all with bounds
            (`ofa.files.bounds`). A field `places: dict[str, str]` with `init=False` is filled with the place of each key,
            for later messages.
        data: the parsed value.
        place: its file and key, for messages (`file: phases[0]`).

    Raises:
        UserError: a key is unknown or missing, a type is wrong, or a check of the dataclass fails.
    """
    if not isinstance(data, dict):
        raise UserError(f"{place}: expected a mapping of keys, got {shown(data)}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            known = ", ".join(sorted(fields))
            raise UserError(f"{_at(place, data, key)}: unknown key {key!r}; known keys are {known}")
    hints = _hints(cls)  # type: ignore[arg-type]
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{_at(place, data, name)}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_at(place, data)}: key {name!r} is missing")
    try:
        built = cls(**values)
    except BoundError as error:
        raise UserError(f"{_at(place, data, error.field)}: {error}") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{_at(place, data)}: {error}") from None
    if any(field.name == "places" and not field.init for field in dataclasses.fields(cls)):  # type: ignore[arg-type]
        object.__setattr__(built, "places", {key: f"{_at(place, data, key)}: {key}" for key in data})
    return built


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _at(place: str, data: dict[str, Any], key: str | None = None) -> str:
    """The place `file: key` with the line after the file name, where it is known."""
    line = getattr(data, "line", 0)
    if key is not None:
        line = getattr(data, "key_lines", {}).get(key, line)
    if not line:
        return place
    file, colon, rest = place.partition(": ")
    return f"{file.split(':')[0]}:{line}{colon}{rest}"


def _convert(hint: Any, value: Any, place: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, place)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{place}: expected a list, got {shown(value)}")
        item = get_args(hint)[0]
        return tuple(_convert(item, entry, f"{place}[{i}]") for i, entry in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{place}: expected a mapping of keys, got {shown(value)}")
        return {key: _convert(get_args(hint)[1], entry, f"{place}.{key}") for key, entry in value.items()}
    if dataclasses.is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, place)
    return _convert_scalar(hint, value, place)


def _convert_union(options: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    lists = tuple(option for option in options if get_origin(option) is tuple)
    if isinstance(value, (list, tuple)):  # only alternatives of the value's form, so that the message fits the value
        options = lists or options
    else:
        options = tuple(option for option in options if option not in lists) or options
    if type(value) in options:  # 1.0 stays a float where int and float are both allowed
        return _convert(type(value), value, place)
    for option in options[:-1]:
        try:
            return _convert(option, value, place)
        except UserError:
            continue
    return _convert(options[-1], value, place)


def _convert_scalar(hint: Any, value: Any, place: str) -> Any:
    if hint is Any:
        return value
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise UserError(f"{place}: expected a number, got {shown(value)}")
        try:
            return float(value)
        except (ValueError, OverflowError):
            raise UserError(f"{place}: expected a number, got {shown(value)}") from None
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        names = {"int": "a whole number", "str": "text", "bool": "true or false"}
        raise UserError(f"{place}: expected {names.get(hint.__name__, hint.__name__)}, got {shown(value)}")
    if hint is int and abs(value) > LARGEST_WHOLE:
        raise UserError(f"{place}: expected a whole number of at most 64 bits, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value as messages show it: at most `SHOWN` characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def to_plain(value: Any) -> Any:
    """A dataclass as plain lists, dicts and scalars: what JSON and YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    return value
