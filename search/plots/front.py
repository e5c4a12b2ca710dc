"""Plots of fronts that were computed elsewhere. Object-oriented matplotlib, so no global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.files.atomic import atomic_write
from search.arrays import Floats
from search.fronts.survey import Survey
from search.plots.overlay import Overlay

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""The palette of Okabe and Ito for colour-blind readers, without its yellow, which is too pale on white."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LOG_AXIS_FROM = 4.0
"""Costs that span more than this factor get a logarithmic axis."""
OVERLAY_STYLE: dict[str, Any] = {
    "linestyle": "none",
    "marker": "X",
    "markersize": 7.5,
    "markerfacecolor": "white",
    "markeredgecolor": "#222222",
    "markeredgewidth": 1.2,
}
HALF_MARK_PX = 9
"""Half the side of the box that a marker takes up, in pixels."""
LABEL_PLACES = (
    (8, 0, "left", "center"),
    (-8, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (7, 7, "left", "bottom"),
    (-7, 7, "right", "bottom"),
    (7, -7, "left", "top"),
    (-7, -7, "right", "top"),
)
"""Places to try for a name beside its point: offset in points (x, y), horizontal and vertical alignment."""
SUBTITLE_WIDTH = 92
"""Characters of a line below the title."""
CLOUD_STRETCH = 1.15
"""Most length that the cloud may add to the accuracy axis below the front, in units of the front's span."""


def plain(text: str) -> str:
    """A name escaped for matplotlib, so that a dollar sign does not begin a formula."""
    return text.replace("$", r"\$")


def check_format(path: Path, option: str = "--out") -> None:
    """Raise `UserError` unless a figure can be written to a file of this name, which `option` gave."""
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise UserError(f"{option} is {path}; allowed are names ending in {', '.join(FIGURE_SUFFIXES)}")


def draw(surveys: Sequence[Survey], title: str, subtitle: str = "", overlay: Overlay | None = None) -> Figure:
    """Accuracy against a cost, one colour per platform: cloud, predicted front, measured points, the largest net.

    Predictions are thin dashed lines with a band of one standard deviation. Measurements are thick lines with filled markers
    and error bars: one standard error of the accuracy (beside others on the same images, where that is known) and, where it
    is known, the cost from its estimate to its 90th percentile.

    Raises:
        UserError: there is no survey, or there are more platforms than colours that can be told apart.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not 1 <= len(surveys) <= len(COLOURS):
        raise UserError(f"{len(surveys)} platforms to draw; must be 1 to {len(COLOURS)}")
    figure = Figure(figsize=(8.0, 5.4), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    axes = figure.add_subplot()
    for survey, colour, marker in zip(surveys, COLOURS, MARKERS, strict=False):
        _draw_survey(axes, survey, colour, marker)
    _set_axes(axes, surveys, overlay)
    lines = wrap(subtitle, SUBTITLE_WIDTH)
    axes.set_title(plain(title), loc="left", fontsize=13, fontweight="bold", pad=10 + 14 * len(lines))
    if lines:
        text = axes.text(
            0, 1.02, plain("\n".join(lines)), transform=axes.transAxes, fontsize=9.5, color="#555555", va="bottom"
        )
        text.set_in_layout(False)  # its lines fit (SUBTITLE_WIDTH); a wide letter must not make the axes narrower
    figure.legend(handles=_legend(surveys, overlay), loc="outside lower center", ncols=2, fontsize=9.5, frameon=False)
    if overlay is not None:
        _draw_overlay(figure, axes, overlay, surveys)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write PNG, SVG or PDF, by the file's name; atomic."""
    from matplotlib import rc_context

    path = Path(path)
    check_format(path)
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ofa"}):  # text stays text, and equal figures are equal files
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(buffer, format=path.suffix[1:].lower(), metadata=metadata)
    atomic_write(path, buffer.getvalue())


def _draw_survey(axes: Axes, survey: Survey, colour: str, marker: str) -> None:
    axes.scatter(survey.cloud_cost, 100 * survey.cloud_top1, s=5, color=colour, alpha=0.16, linewidths=0, zorder=1)
    measured = len(survey.measured_cost) > 0
    axes.plot(survey.front_cost, 100 * survey.front_top1, color=colour, linestyle=(0, (3, 2)), linewidth=1.2, zorder=3)
    if survey.front_std is not None:
        low, high = survey.front_top1 - survey.front_std, survey.front_top1 + survey.front_std
        axes.fill_between(survey.front_cost, 100 * low, 100 * high, color=colour, alpha=0.12, linewidth=0, zorder=2)
    if measured:
        best = survey.measured_front()
        axes.plot(survey.measured_cost[best], 100 * survey.measured_top1[best], color=colour, linewidth=1.6, zorder=4)
        p90 = survey.measured_p90
        # On a platform whose estimates are mostly too high, the 90th percentile lies below the estimate.
        beyond = None if p90 is None else np.stack([survey.measured_cost - p90, p90 - survey.measured_cost]).clip(min=0)
        axes.errorbar(
            survey.measured_cost,
            100 * survey.measured_top1,
            xerr=beyond,
            yerr=100 * survey.bars,
            fmt=marker,
            color=colour,
            markersize=6.5,
            markeredgecolor="white",
            markeredgewidth=0.8,
            elinewidth=1.0,
            capsize=2.5,
            zorder=5,
        )
    known = survey.largest_measured is not None
    height = survey.largest_measured if survey.largest_measured is not None else survey.largest_top1
    axes.plot([survey.largest_cost], [100 * height], **_star(colour, known), zorder=6)


def _draw_overlay(figure: Figure, axes: Axes, overlay: Overlay, surveys: Sequence[Survey]) -> None:
    """Hollow points with names, each placed where it covers no other name or marker and stays inside the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    axes.plot(overlay.cost, 100 * overlay.top1, **OVERLAY_STYLE, zorder=7)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # positions are known only after the layout
    room = axes.get_window_extent(canvas.get_renderer())
    marks = [(overlay.cost, overlay.top1), *((survey.measured_cost, survey.measured_top1) for survey in surveys)]
    taken = [box for cost, top1 in marks for box in _boxes(axes, cost, top1)]
    for name, x, y in zip(overlay.names, overlay.cost, 100 * overlay.top1, strict=True):
        for across, up, horizontal, vertical in LABEL_PLACES:
            label = axes.annotate(
                plain(name),
                (x, y),
                xytext=(across, up),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=8.5,
                color="#222222",
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8},
                zorder=8,
            )
            box = label.get_window_extent(canvas.get_renderer())
            inside = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _boxes(axes: Axes, cost: Floats, top1: Floats) -> list[Any]:
    """The boxes that markers cover, in pixels."""
    from matplotlib.transforms import Bbox

    points = axes.transData.transform(np.column_stack([cost, 100 * top1]))
    return [Bbox.from_extents(x - HALF_MARK_PX, y - HALF_MARK_PX, x + HALF_MARK_PX, y + HALF_MARK_PX) for x, y in points]


def _star(colour: str, measured: bool) -> dict[str, Any]:
    """Style of the largest net's marker: filled when measured, hollow when predicted."""
    face, edge = (colour, "white") if measured else ("white", colour)
    return {"linestyle": "none", "marker": "*", "markersize": 15, "markerfacecolor": face, "markeredgecolor": edge}


def _legend(surveys: Sequence[Survey], overlay: Overlay | None) -> list[Artist]:
    """One entry per platform in its colour, then one per kind of line or marker in grey."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    alone = len(surveys) == 1
    grey = COLOURS[0] if alone else "#666666"
    handles: list[Artist] = []
    if not alone:
        handles += [
            Patch(color=colour, label=plain(survey.platform)) for survey, colour in zip(surveys, COLOURS, strict=False)
        ]
    cloud = f"random subnets, predicted ({len(surveys[0].cloud_cost):,}{'' if alone else ' each'})"
    handles.append(Line2D([], [], linestyle="none", marker=".", markersize=5, color=grey, alpha=0.6, label=cloud))
    sure = " (band: 1 standard deviation)" if surveys[0].front_std is not None else ""
    handles.append(Line2D([], [], color=grey, linestyle=(0, (3, 2)), linewidth=1.2, label=f"front, predicted{sure}"))
    measured = any(len(survey.measured_cost) for survey in surveys)
    if measured:
        label = f"front, measured on {surveys[0].images:,} {surveys[0].split} images"
        handles.append(Line2D([], [], color=grey, marker="o", markersize=6.5, linewidth=1.6, label=label))
    star = _star(grey, measured) | {"markersize": 12}
    handles.append(Line2D([], [], label=f"largest net, {'measured' if measured else 'predicted'}", **star))
    if measured:
        cost = "; cost to its p90" if any(survey.front_p90 is not None for survey in surveys) else ""
        paired = " between subnets" if all(survey.paired_error is not None for survey in surveys) else ""
        handles.append(Line2D([], [], linestyle="none", label=f"bars: \N{PLUS-MINUS SIGN} standard error{paired}{cost}"))
    if overlay is not None:
        handles.append(Line2D([], [], label="other networks, as given", **OVERLAY_STYLE))
    if not measured:
        handles.append(Line2D([], [], linestyle="none", label="nothing of the run is measured"))
    return handles


def _set_axes(axes: Axes, surveys: Sequence[Survey], overlay: Overlay | None) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    metric = METRICS[surveys[0].metric]
    costs = np.concatenate([np.append(survey.cloud_cost, survey.front_cost) for survey in surveys])
    if overlay is not None:
        costs = np.append(costs, overlay.cost)
    if costs.max() > LOG_AXIS_FROM * costs.min():
        axes.set_xscale("log")
        decades = np.log10(costs.max() / costs.min())
        steps = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{metric.label} ({metric.unit})", fontsize=11)
    axes.set_ylabel(f"{surveys[0].accuracy.axis}, {surveys[0].split} (%)", fontsize=11)
    axes.set_ylim(*_accuracy_range(surveys, overlay))
    bare_axes(axes)


def bare_axes(axes: Axes) -> None:
    """Draw a light grid, and no frame above and on the right."""
    axes.tick_params(labelsize=10)
    axes.grid(visible=True, which="major", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _accuracy_range(surveys: Sequence[Survey], overlay: Overlay | None) -> tuple[float, float]:
    """Limits of the accuracy axis, in percent: the fronts with error bars, and as much of the cloud as stays readable."""
    parts = [survey.front_top1 for survey in surveys] + ([] if overlay is None else [overlay.top1])
    for survey in surveys:
        if survey.front_std is not None:
            parts += [survey.front_top1 + survey.front_std]
        parts.append(np.array([survey.largest_top1 if survey.largest_measured is None else survey.largest_measured]))
        if len(survey.measured_top1):
            error = np.nan_to_num(survey.bars)  # an unknown one has no bar
            parts += [survey.measured_top1 - error, survey.measured_top1 + error]
    front = 100 * np.concatenate(parts)
    cloud = 100 * np.concatenate([survey.cloud_top1 for survey in surveys])
    span = max(float(np.ptp(front)), 0.5)
    lowest = max(min(float(np.quantile(cloud, 0.01)), float(front.min())), float(front.min()) - CLOUD_STRETCH * span)
    return lowest - 0.06 * span, float(front.max()) + 0.06 * span
