"""JSON schema (draft 2020-12) of a dataclass that YAML is loaded into, for editors: types, bounds, defaults, descriptions.

It describes what `ofa.files.schema.build` accepts, except for rules over several keys. Descriptions are the strings under
the fields.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from ofa.files.bounds import bounds_of
from ofa.files.schema import to_plain

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean"}


def json_schema(cls: type, title: str) -> dict[str, Any]:
    """The schema of a dataclass's YAML, as plain lists, dicts and scalars."""
    definitions: dict[str, Any] = {}
    _define(cls, definitions)
    root = definitions.pop(cls.__name__)
    return {"$schema": DRAFT, "title": title, **root, "$defs": definitions}


def _define(cls: type[Any], definitions: dict[str, Any]) -> None:
    """Add the schema of a dataclass, and of the dataclasses in its fields, to the definitions."""
    definitions[cls.__name__] = {}  # so that recursion ends where a class contains itself
    hints, texts = get_type_hints(cls, include_extras=True), field_docs(cls)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    properties = {}
    for field in fields:
        described = {"description": texts[field.name]} if field.name in texts else {}
        properties[field.name] = _schema(hints[field.name], definitions) | described | _default(field)
    definitions[cls.__name__] = {
        "description": _one_line(inspect.getdoc(cls) or ""),
        "type": "object",
        "properties": properties,
        "required": [field.name for field in fields if _is_required(field)],
        "additionalProperties": False,
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = _schema(arguments[0], definitions)
        for bound in bounds_of(hint):
            said = bound.as_json()
            items = {"items": {**found.get("items", {}), **said["items"]}} if "items" in said else {}
            found |= said | items
        return found
    if origin in (Union, UnionType):
        return _union([_schema(option, definitions) for option in arguments])
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        if hint.__name__ not in definitions:
            _define(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if hint is NoneType:
        return {"type": "null"}
    return {} if hint is Any else {"type": SCALARS[hint]}


def _union(options: list[dict[str, Any]]) -> dict[str, Any]:
    """Any of the options; "a type or null" becomes a single schema, for which editors have better messages."""
    if len(options) == 2 and options[1] == {"type": "null"} and "type" in options[0]:
        allowed = {"enum": [*options[0]["enum"], None]} if "enum" in options[0] else {}
        return options[0] | {"type": [options[0]["type"], "null"]} | allowed
    return {"anyOf": options}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> dict[str, Any]:
    return {} if field.default is dataclasses.MISSING else {"default": to_plain(field.default)}


def field_docs(cls: type) -> dict[str, str]:
    """The strings under a dataclass's fields, by name, each on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            assert isinstance(below.value, ast.Constant)
            found[field.target.id] = _one_line(str(below.value.value))
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())
