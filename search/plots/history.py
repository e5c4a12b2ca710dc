"""Plots of the logs of searches: the best accuracy so far and, with several objectives, the hypervolume so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ofa.errors import UserError
from search.evaluations.log import LoggedSearch
from search.plots.front import COLOURS, bare_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (6, 2)), (0, (2, 1)), (0, (3, 1, 1, 1, 1, 1)))
"""Line styles, so that lines differ in more than colour."""


def draw_history(logs: Mapping[str, LoggedSearch], title: str) -> Figure:
    """Progress of searches, logs by name, against the number of predictions made.

    Raises:
        UserError: there is no log, more logs than colours that can be told apart, an empty log, or logs of searches in
            different spaces or with different objectives.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    first = _check(logs)
    several = any(np.isfinite(log.hypervolume).any() for log in logs.values())
    figure = Figure(figsize=(8.0, 6.8 if several else 4.4), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    panels = figure.subplots(2 if several else 1, 1, sharex=True, squeeze=False)[:, 0]
    accuracy = first.header["objectives"][0] == "accuracy"
    for (name, log), colour, dashes in zip(logs.items(), COLOURS, DASHES, strict=False):
        style = {"color": colour, "linestyle": dashes, "linewidth": 1.8, "where": "post"}
        panels[0].step(log.evaluations, 100 * log.best if accuracy else log.best, label=plain(name), **style)
        if several:
            whole = 0.01 * log.hypervolume[-1] if len(logs) > 1 else 1.0  # each has a reference point of its own
            panels[1].step(log.evaluations, log.hypervolume / whole, **style)
    best = f"predicted {first.accuracy.words} so far (%)" if accuracy else f"{first.header['objectives'][0]} so far"
    _label(panels[0], f"Best {best}")
    if several:
        _label(panels[1], "Hypervolume so far" + (" (% of its last)" if len(logs) > 1 else ""))
    panels[-1].set_xlabel("Subnets predicted", fontsize=11)
    panels[0].set_title(title, loc="left", fontsize=13, fontweight="bold", pad=10)
    if len(logs) > 1:
        figure.legend(loc="outside lower center", ncols=2, fontsize=9.5, frameon=False)
    return figure


def _check(logs: Mapping[str, LoggedSearch]) -> LoggedSearch:
    if not 1 <= len(logs) <= len(COLOURS):
        raise UserError(f"{len(logs)} histories to draw; must be 1 to {len(COLOURS)}")
    name, first = next(iter(logs.items()))
    for other, log in logs.items():
        if not len(log.evaluations):
            raise UserError(f"{other}: the log has no evaluations yet")
        if log.accuracy is not first.accuracy:
            raise UserError(f"{other}: is of {log.accuracy.words}; {name} is of {first.accuracy.words}")
        for key in ("space", "objectives"):
            if log.header.get(key) != first.header.get(key):
                raise UserError(f"{other}: its {key} is {log.header.get(key)}; that of {name} is {first.header.get(key)}")
    return first


def _label(axes: Axes, text: str) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_ylabel(text, fontsize=11)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    bare_axes(axes)
