"""The published measurements under ../shared/reference as timings; see SOURCES.md there for where each is from."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from functools import cache
from pathlib import Path

from latency_tables.calibration.timings_csv import Timing
from ofa import official
from ofa.space.search_space import load_space
from ofa.space.subnet import Block, Stage, Stem, Subnet

SPACES = {("MobileNetV3", 1.0): "mbv3-w1.0", ("MobileNetV3", 1.2): "mbv3-w1.2", ("ProxylessNASNets", 1.3): "proxyless-w1.3"}
GPU_COLUMNS = {f"{gpu}_{batch}": batch for gpu in ("v100", "titan_rtx") for batch in (1, 32, 64)}


def specialised_nets(reference: Path) -> dict[str, list[Timing]]:
    """The published specialised nets by device."""
    devices: dict[str, list[Timing]] = defaultdict(list)
    for net in json.loads((reference / "measured" / "specialised_nets.json").read_text()):
        if net.get("latency_ms") is None:
            continue  # chosen by MACs, not for a device
        space = load_space(SPACES[net["family"], net["width_mult"]])
        first = Stage(space.stages[0].widths[0], (Block(3, 1.0),))
        stages = [
            Stage(width, tuple(Block(block["kernel"], float(block["expand"])) for block in blocks))
            for width, blocks in zip(net["widths"], net["stages"], strict=True)
        ]
        subnet = Subnet(net["resolution"], Stem(space.stem.widths[0]), (first, *stages))
        space.check(subnet)
        timing = Timing(space=space, subnet=subnet, latency_ms=net["latency_ms"], place=net["name"])
        devices[net["device"]].append(timing)
    return dict(devices)


@cache
def gpu_subnets(reference: Path) -> dict[str, list[Timing]]:
    """4,000 subnets of mbv3-w1.2 by column (`v100_1`, ...)."""
    space = load_space("mbv3-w1.2")
    columns: dict[str, list[Timing]] = {column: [] for column in GPU_COLUMNS}
    with open(reference / "measured" / "gpu_subnet_latency_ms_per_batch.csv", newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            arch = {
                name: [int(row[f"{column}{k}"]) for k in range(count)]
                for name, column, count in (("d", "d", 5), ("ks", "ks", 20), ("e", "e", 20))
            }
            subnet = official.to_subnet(space, arch, int(row["r"]))
            for column, timings in columns.items():
                timings.append(Timing(space=space, subnet=subnet, latency_ms=float(row[column]), place=f"row {i + 2}"))
    return columns
