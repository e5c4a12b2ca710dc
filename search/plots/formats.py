"""Bar charts of a network's latency and size in several formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.plots.front import COLOURS, plain, save_figure


def draw_formats(rows: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw latency, with a line to the 90th percentile, and size; rows without a latency are left out.

    A row has `format`, `precision`, `median_ms`, `p90_ms`, and for a file its size `kb`. The figure is .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure

    shown = [row for row in rows if "median_ms" in row]
    names = [f"{row['format']} {row['precision']}" for row in shown]
    figure = Figure(figsize=(9, 1.4 + 0.32 * len(shown)), layout="constrained")
    latency, size = figure.subplots(1, 2, sharey=True)
    places = range(len(shown))
    medians = [row["median_ms"] for row in shown]
    colours = [COLOURS[0] if row["precision"] == "fp32" else COLOURS[1] for row in shown]
    late = [max(0.0, row["p90_ms"] - row["median_ms"]) for row in shown]
    bars = latency.barh(places, medians, xerr=[[0.0] * len(late), late], color=colours, error_kw={"capsize": 3, "lw": 1})
    latency.bar_label(bars, [f"{value:.3g}" for value in medians], padding=4, fontsize=8)
    latency.set(xlabel="ms an image, one thread (line: 90th percentile)", yticks=list(places), yticklabels=names)
    sizes = [row.get("kb") for row in shown]
    bars = size.barh(places, [value or 0.0 for value in sizes], color=colours)
    size.bar_label(bars, ["" if value is None else f"{value:.0f}" for value in sizes], padding=4, fontsize=8)
    size.set(xlabel="kB on disk")
    for axes in (latency, size):
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    latency.invert_yaxis()
    figure.suptitle(plain(title))
    save_figure(figure, path)
