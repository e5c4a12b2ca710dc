"""The HTML of a report: one file with its data, style, scripts and drawing library, which loads nothing.

Charts are drawn by Vega-Lite (Satyanarayan et al., 2017), whose scripts the package `vl-convert-python` brings along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ofa.errors import UserError

HERE = Path(__file__).resolve().parent
WITHOUT_SCRIPTS = 12
"""Points of each front in the table for browsers without JavaScript."""


def page(contents: Mapping[str, Any]) -> str:
    """The page of what `contents.contents` returned."""
    parts = {
        "TITLE": escape(f"{contents['name']}: accuracy, latency, energy"),
        "STYLE": (HERE / "page.css").read_text(encoding="utf-8"),
        "TABLE": _table(contents),
        "DATA": script_json(contents),
        "LIBRARY": f"(() => {{{_drawing_library()}}})();",  # a scope of its own
        "SCRIPT": (HERE / "page.js").read_text(encoding="utf-8"),
    }
    text = (HERE / "page.html").read_text(encoding="utf-8")
    pieces = text.split("@")  # names stand between two
    return "".join(parts.get(piece, piece) for piece in pieces)


def script_json(data: Any) -> str:
    """JSON that can stand in a script element: no character in it can end the element or begin a comment."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def check_installed() -> None:
    """Raise `UserError` unless the package that brings the drawing library is installed."""
    if find_spec("vl_convert") is None:
        raise UserError('the report needs vl-convert-python, which brings its drawing library: pip install -e ".[report]"')


def _drawing_library() -> str:
    """The scripts of Vega, Vega-Lite and Vega-Embed."""
    import vl_convert

    scripts: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # it has a default
    assert "</script" not in scripts.lower()
    return scripts


def _table(contents: Mapping[str, Any]) -> str:
    """Points of each front as an HTML table."""
    rows = []
    metrics, subnets = contents["metrics"], contents["subnets"]
    for front in contents["fronts"]:
        platform = front["platform"] or contents["platforms"][0]["name"]
        metric = metrics[front["metric"]]
        step = max(1, -(-len(front["subnets"]) // WITHOUT_SCRIPTS))
        for number in front["subnets"][::step]:
            subnet = subnets[number]
            measured = "" if subnet["measured"] is None else f"{100 * subnet['measured']:.2f}%"
            cells = [
                front["platform"] or "every device",
                metric["label"],
                f"{subnet['costs'][platform][front['metric']]:.4g} {metric['unit']}",
                f"{100 * subnet['predicted']:.2f}%",
                measured,
            ]
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Device", "Cost", "Value", "Predicted", "Measured"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
