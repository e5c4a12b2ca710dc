"""What training tells: a JSON line per epoch, a progress bar, optionally TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ofa.errors import UserError
from ofa.files.atomic import append_line, atomic_write


class MetricsLog:
    """`metrics.jsonl`: one row per epoch of every phase, in order, without repetition after a restart."""

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self.path = path
        self._writer = _tensorboard_writer(tensorboard) if tensorboard else None

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far; a last line cut off by a crash is left out. Raises `UserError` for another line that is none."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        rows = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                rows += [json.loads(line)] if line else []
            except json.JSONDecodeError as error:
                raise UserError(f"{self.path}:{number}: not an epoch's row: {error.msg}; remove the line to go on") from None
        return rows

    def keep_before(self, phase: int, epoch: int) -> None:
        """Forget rows of epochs that a resumed run will go through again."""
        kept = [row for row in self.rows() if (row["phase"], row["epoch"]) < (phase, epoch)]
        atomic_write(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        """Add an epoch's row."""
        append_line(self.path, json.dumps(row, allow_nan=False))
        if self._writer is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{row['name']}/{key}", value, row["epoch"])
            self._writer.flush()


class LateReading:
    """A number that a device is still computing, read without waiting for it."""

    def __init__(self) -> None:
        self._waiting: tuple[Tensor, torch.cuda.Event] | None = None

    def exchange(self, value: Tensor) -> float | None:
        """Of a GPU, what was given the time before, or None if that has not arrived; of a CPU, `value` itself."""
        if value.device.type != "cuda":
            return float(value)
        found = None
        if self._waiting is not None and self._waiting[1].query():  # type: ignore[no-untyped-call]
            found = float(self._waiting[0])
        copy = value.detach().to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(value.device))
        self._waiting = copy, arrived
        return found


def progress_bar(rows: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """A bar of tqdm's on the standard error: on a terminal ten times a second, in a file or a pipe twice a minute."""
    every = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(rows, file=sys.stderr, dynamic_ncols=True, mininterval=every, maxinterval=max(10.0, every), **options)


class Progress:
    """A bar over all steps of all phases that shows phase, epoch, loss and the time left."""

    def __init__(self, total: int, done: int, quiet: bool = False) -> None:
        self._bar = progress_bar(total=total, initial=done, unit="step", disable=quiet, smoothing=0.02)

    def step(self, phase: str, epoch: int, epochs: int, loss: float | None) -> None:
        """One step more; `loss` is shown when given."""
        self._bar.set_description_str(f"{phase} epoch {epoch + 1}/{epochs}", refresh=False)
        if loss is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update()

    def line(self, text: str) -> None:
        """A line above the bar."""
        if not self._bar.disable:
            self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("the recipe asks for tensorboard; install it with: pip install 'ofa-energy[tensorboard]'") from None
    return SummaryWriter(str(folder))
