"""The option that limits the memory of a verb's process."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ofa.errors import UserError

if TYPE_CHECKING:
    import torch

    from ofa.measure.memory import MemoryLimit


def add_memory_argument(parser: argparse.ArgumentParser) -> None:
    """`--memory-mb`."""
    parser.add_argument(
        "--memory-mb", type=float, metavar="MB", help="on a CPU: fit caches so that each process holds at most so many MB"
    )


def memory_limit(args: argparse.Namespace, verb: str, device: torch.device) -> MemoryLimit:
    """The limit that is asked for, which reports on stderr; raises `UserError` where there can be none."""
    from tqdm import tqdm

    from ofa.measure.memory import NO_LIMIT, MemoryLimit

    if args.memory_mb is None:
        return NO_LIMIT
    if not 1 <= args.memory_mb < float("inf"):
        raise UserError(f"--memory-mb is {args.memory_mb:g}; must be at least 1")
    if device.type != "cpu":
        raise UserError(f"--memory-mb is {args.memory_mb:g}; it is for a CPU, and the device is {device}")
    return MemoryLimit(
        args.memory_mb, lambda line: tqdm.write(f"ofa {verb}: warning: {line}", file=sys.stderr)
    )  # above a bar
