"""Platforms and a space for tests of costs, and results of a profile without digests."""

from __future__ import annotations

import json
from pathlib import Path

from latency_tables import Platform
from latency_tables.cost_models.block_table import BlockTable, MeasuredBlock, op_to_list
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.costs.factors import ShapeGrid
from ofa.space.search_space import HeadSpace, SearchSpace, StageSpace, StemSpace

MINIMAL = """\
name: mine
device: a device
runtime: a runtime
precision: fp32
kind: modelled
description: a test
source: made up
licence: MIT
error: {note: made up}
latency: {ops: {default: {ms_per_mmac: 1}}}
"""


def small_space() -> SearchSpace:
    """For small greyscale images; the tests' own, so that a change of a space that ships cannot break them."""
    return SearchSpace(
        name="small",
        block="mbconv",
        in_channels=1,
        classes=10,
        resolutions=(16, 28),
        stem=StemSpace(widths=(16,), stride=1, activation="h_swish"),
        stages=(
            StageSpace(widths=(24,), depths=(1, 2), kernels=(3, 5), expands=(2, 3), stride=2),
            StageSpace(widths=(40,), depths=(1, 2, 3), kernels=(3, 5), expands=(2, 3), stride=2, se=True),
        ),
        head=HeadSpace(width=64, activation="h_swish"),
    )


def measured(space: SearchSpace, energy: EnergyModel | None = None, **changes: object) -> Platform:
    """A platform with a table of made-up times, different for every block."""
    blocks = []
    for i, shape in enumerate(ShapeGrid.of(space).distinct()):
        main, shortcut = (tuple(tuple(op_to_list(op)) for op in ops) for ops in (shape.main, shape.shortcut))
        ms = 0.1 + i * 0.013
        facts: dict[str, object] = {"kind": shape.kind, "residual": shape.residual, "p10_ms": 0.9 * ms, "p90_ms": 1.2 * ms}
        facts |= {"main": main, "shortcut": shortcut, "median_ms": ms, "count": 50, **changes}
        blocks.append(MeasuredBlock(**facts))  # type: ignore[arg-type]
    table = BlockTable(space=space.name, fingerprint=space.fingerprint, blocks=tuple(blocks), intercept_ms=-0.2, factor=1.5)
    return Platform(
        name="made-up",
        device="none",
        runtime="none",
        precision="fp32",
        kind="measured",
        description="a test",
        source="made up",
        licence="MIT",
        details={"clock": "none: a test's"},
        error=ErrorReport(note="made up", networks=4, mape=0.05, spearman=0.9),
        table=table,
        energy=energy,
    )


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def of_0_1_0(results: Path) -> list[str]:
    """The lines of results as version 0.1.0 wrote them, without digests: whoever changes one changes no digest."""
    head, titles, *rows = results.read_text().splitlines()
    settings = json.loads(head[2:])
    del settings["digest"]
    assert titles.endswith(",digest")
    return [f"# {json.dumps(settings)}\n", *(f"{line.rpartition(',')[0]}\n" for line in (titles, *rows))]
