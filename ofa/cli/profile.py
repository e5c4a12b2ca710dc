"""Measure this machine as a platform: every block of a space, and whole subnets to check their sum."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ofa.errors import UserError

EXAMPLE = "ofa profile --space fmnist --out my-machine.yaml --threads 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--space", required=True, help="a space by name (mbv3-w1.2, ...) or a YAML file")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the platform, a YAML file")
    parser.add_argument("--name", help="of the platform; the file's name without ending if absent")
    parser.add_argument("--threads", type=int, help="of PyTorch; as many as it takes by itself if absent")
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each block, at least (50)")
    parser.add_argument("--batch", type=int, default=1, help="images per inference (1)")
    parser.add_argument("--resolutions", type=int, nargs="+", metavar="PIXELS", help="measure these only; all if absent")
    parser.add_argument("--networks", type=int, default=20, help="whole subnets to measure; half are held out (20)")
    parser.add_argument("--channels-last", action="store_true", help="memory format of weights and feature maps")
    parser.add_argument(
        "--power-w", type=float, metavar="W", help="power while inferring; used where no energy counter is readable"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the subnets and the order (0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and write; returns a summary."""
    import sys

    import numpy as np

    from latency_tables.platform import save_platform
    from latency_tables.profile import Settings, profile
    from ofa.space import load_space

    if args.out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out is {args.out}; it must end in .yaml")
    if args.out.is_dir():
        raise UserError(f"--out is {args.out}, a folder; it must be a file")
    if args.networks < 2:
        raise UserError(f"--networks is {args.networks}; must be at least 2")
    space = load_space(args.space)
    if args.resolutions:
        space = space.restrict(resolutions=args.resolutions)
    settings = Settings(
        runs=args.runs,
        threads=args.threads,
        batch=args.batch,
        channels_last=args.channels_last,
        fit_networks=(args.networks + 1) // 2,
        test_networks=args.networks // 2,
        power_w=args.power_w,
    )
    progress = not args.json and sys.stderr.isatty()
    platform = profile(space, args.name or args.out.stem, settings, np.random.default_rng(args.seed), progress)
    save_platform(platform, args.out)
    assert platform.table is not None
    assert platform.energy is not None
    summary = {
        "out": str(args.out),
        "name": platform.name,
        "device": platform.device,
        "runtime": platform.runtime,
        "threads": platform.threads,
        "blocks": len(platform.table.blocks),
        "runs": platform.table.blocks[0].count,
        "seconds": float(platform.details["seconds"]),
        "intercept_ms": platform.table.intercept_ms,
        "factor": platform.table.factor,
        "held_out_networks": platform.error.networks,
        "mape": platform.error.mape,
        "spearman": platform.error.spearman,
        "note": platform.error.note,
        "energy_source": platform.energy.source,
    }
    if not args.json:
        _show(summary)
    return summary


def _show(summary: dict[str, Any]) -> None:
    print(f"{summary['blocks']} blocks x {summary['runs']} runs on {summary['device']}, {summary['threads']} threads")
    print(f"whole network = {summary['intercept_ms']} ms + {summary['factor']} x sum of blocks")
    rank = "" if summary["spearman"] is None else f", Spearman {summary['spearman']:.3f}"
    print(f"held out: error {summary['mape']:.1%}{rank} ({summary['held_out_networks']} networks)")
    print(f"          {summary['note']}")
    print(f"energy: {summary['energy_source']}")
    print(f"written: {summary['out']} (ofa platforms {summary['out']})")
