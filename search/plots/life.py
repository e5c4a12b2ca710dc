"""A life as stacked bars: the parts of its energy, and of its CO2e."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ofa.footprint.lifecycle import Part
from search.plots.front import COLOURS, plain, save_figure

HATCHES = ("", "//", "..", "xx", "--", "\\\\", "++")
"""Patterns, so that parts differ in more than colour."""


def draw_life(parts: Sequence[Part], title: str, path: Path) -> None:
    """Draw a bar of the energy and one of the CO2e, each of its known parts; the unknown ones are named below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(2, 1)
    for axes, unit, values in zip(
        panels, ("kWh", "kg CO2e"), ([part.kwh for part in parts], [part.kg for part in parts]), strict=True
    ):
        _bar(axes, unit, parts, values)
    handles = [_patch(i, part) for i, part in enumerate(parts) if part.kwh is not None or part.kg is not None]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(plain(title))
    save_figure(figure, path)


def _style(place: int) -> dict[str, Any]:
    return {
        "facecolor": COLOURS[place % len(COLOURS)],
        "hatch": HATCHES[place % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.8,
    }


def _patch(place: int, part: Part) -> Any:
    from matplotlib.patches import Patch

    return Patch(label=plain(f"{part.name} ({part.kind}{', at least' if part.missing else ''})"), **_style(place))


def _bar(axes: Any, unit: str, parts: Sequence[Part], values: Sequence[float | None]) -> None:
    whole = sum(value for value in values if value is not None)
    left = 0.0
    for place, value in enumerate(values):
        if value is None or whole == 0:
            continue
        axes.barh(0, value, left=left, height=0.6, **_style(place))
        if value >= 0.08 * whole:
            text = axes.text(left + value / 2, 0, f"{value:.3g}", ha="center", va="center", fontsize=9)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
        left += value
    unknown = [part.name for part, value in zip(parts, values, strict=True) if value is None]
    if unit == "kWh":
        unknown = [name for name in unknown if name != "embodied"]
    note = f"; unknown, not in it: {', '.join(unknown)}" if unknown else ""
    total = "nothing known" if whole == 0 and unknown else f"{whole:.4g} {unit}"
    axes.set_title(plain(f"{total}{note}"), loc="left", fontsize=10)
    axes.set(yticks=[], xlabel=unit, xlim=(0, whole or 1.0))
    axes.spines[["top", "right", "left"]].set_visible(False)
