"""Checkpoints of a training run: one file of tensors and state, written atomically, checked by digest.

`latest.json` holds the file's name and its SHA-256. It is replaced only after the file is on disk, so a crash at any moment
leaves the previous checkpoint. Training resumes at the position stored in the file itself, which the digest covers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ofa.errors import UserError
from ofa.files.atomic import atomic_write, read_json, sha256, write_json


@dataclass(frozen=True)
class Position:
    """The position of a run: its next step is `step` (since the phase began) of phase `phase`."""

    phase: int = 0
    step: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to resume: position, sums of the unfinished epoch, and tensors by name."""

    position: Position
    progress: dict[str, Any]
    tensors: dict[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and delete the previous one; the digest in the name keeps two at the same position apart."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
    facts = {"position": asdict(checkpoint.position), "progress": checkpoint.progress}
    content = save(tensors, metadata={"state": json.dumps(facts)})
    digest = hashlib.sha256(content).hexdigest()
    name = f"phase{checkpoint.position.phase}-step{checkpoint.position.step}-{digest[:8]}.safetensors"
    before = _named(folder)
    atomic_write(folder / name, content)
    write_json(folder / "latest.json", facts | {"file": name, "sha256": digest})  # position and progress: only for readers
    if before not in (None, name):
        (folder / str(before)).unlink(missing_ok=True)


def remove_strays(folder: Path) -> None:
    """Delete checkpoints that `latest.json` does not name, which killed processes left; only for the holder of the lock."""
    named = _named(folder)
    for path in folder.glob("*.safetensors") if named is not None else ():
        if path.name != named:
            path.unlink()


def _named(folder: Path) -> str | None:
    """Name of the checkpoint that `latest.json` names; None where there is no such file, or a damaged one."""
    try:
        return Path(read_json(folder / "latest.json")["file"]).name
    except (UserError, TypeError, KeyError):
        return None


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint | None:
    """The latest checkpoint, None if there is none; raises `UserError` for a missing file, or another digest."""
    latest = folder / "latest.json"
    if not latest.exists():
        return None
    facts = read_json(latest)
    if not isinstance(facts, dict) or not facts.keys() >= {"file", "sha256", "position", "progress"}:
        raise UserError(f"{latest}: damaged: names no checkpoint; delete {folder} to start over")
    path = folder / Path(str(facts["file"])).name
    if sha256(path) != facts["sha256"]:
        raise UserError(f"{path}: damaged: its digest is not the one in {latest}; delete {folder} to start over")
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    state = json.loads(header["__metadata__"]["state"])
    tensors = {key: value.to(device) for key, value in load(content).items()}
    return Checkpoint(Position(**state["position"]), state["progress"], tensors)


def flatten(**groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Several state dicts as one, keys prefixed by the group's name."""
    return {f"{name}/{key}": value for name, group in groups.items() for key, value in group.items()}


def unflatten(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """One group out of the result of `flatten`."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
