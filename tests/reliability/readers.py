"""Reads what a command left, as later commands do; started by the launcher, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path


def position(folder: str) -> list[int] | None:
    """Phase and step of a run's checkpoint, read as training does; None where there is none."""
    import torch

    from ofa.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(Path(folder) / "checkpoint", torch.device("cpu"))
    return None if checkpoint is None else [checkpoint.position.phase, checkpoint.position.step]


def subnet(folder: str) -> str:
    """Digest of a stored subnet's weights, after it was loaded."""
    import hashlib

    from ofa import load_subnet

    load_subnet(folder)
    return hashlib.sha256((Path(folder) / "weights.safetensors").read_bytes()).hexdigest()


def unpack(archive: str, folder: str) -> None:
    """Unpack a kit."""
    import zipfile

    zipfile.ZipFile(archive).extractall(folder)


def run_kit(folder: str, results: str) -> None:
    """Measure with an unpacked kit, as on its device."""
    from latency_tables.on_device.main import main

    sys.argv = ["run.py", "--out", str(Path(results).absolute()), "--threads", "1"]
    sys.exit(main(Path(folder).absolute()))
