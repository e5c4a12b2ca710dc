"""Progress of a training: sums over an epoch, a JSON line per epoch, a progress bar, optionally TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ofa.distributed.world import World
from ofa.energy.account import Spent
from ofa.errors import UserError
from ofa.files.atomic import append_line, atomic_write
from ofa.files.vouched import vouched_line
from ofa.progress_bar import progress_bar
from ofa.runs.metrics_rows import metrics_rows


class MetricsLog:
    """`metrics.jsonl`: one row per epoch of every phase, in order, without repetition after a restart."""

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self.path = path
        self._writer = _tensorboard_writer(tensorboard) if tensorboard else None

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far; see `metrics_rows`."""
        return metrics_rows(self.path)

    def keep_before(self, phase: int, epoch: int) -> None:
        """Delete rows of epochs that a resumed run will repeat."""
        kept = [row for row in self.rows() if (row["phase"], row["epoch"]) < (phase, epoch)]
        atomic_write(self.path, "".join(vouched_line(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        """Add an epoch's row."""
        append_line(self.path, vouched_line(row))
        if self._writer is not None:
            for key, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{row['name']}/{key}", value, row["epoch"])
            self._writer.flush()


@dataclass
class EpochSums:
    """Loss, steps, time and energy of an epoch's training steps so far."""

    loss: float | Tensor = 0.0
    steps: int = 0
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def from_checkpoint(cls, progress: Mapping[str, Any], first: bool) -> EpochSums:
        """The inverse of `progress`. Only rank 0 (`first`) writes checkpoints, so the energy of other ranks is unknown."""
        spent = Spent.of_plain(progress)
        return cls(progress["loss"], progress["steps"], spent if first else Spent(spent.seconds, unread_s=spent.seconds))

    def progress(self) -> dict[str, Any]:
        """The sums as a checkpoint holds them."""
        return {"loss": float(self.loss), "steps": self.steps} | self.spent.plain()

    def row(self, batch_size: int, world: World) -> dict[str, Any]:
        """Loss, speed, time and energy for the epoch's row; a collective call, in which the ranks' energies are added."""
        every = world.gather(self.spent)
        longest = {name: max(getattr(one, name) for one in every) for name in ("unread_s", "estimated_s")}
        spent = replace(sum(every, Spent()), seconds=self.spent.seconds, **longest)
        return {
            "loss": float(self.loss) / max(1, self.steps),
            "images_per_s": self.steps * batch_size / spent.seconds,
        } | spent.plain()


def spent_by_rows(rows: Iterable[Mapping[str, Any]], unfinished: Spent) -> tuple[Spent, str, str]:
    """Time and energy of a run's training steps from its `metrics.jsonl`, for runs older than ledgers (version 0.2).

    Returns:
        Time and energy of the finished epochs and of the unfinished one; their source; a note on what they leave out.
    """
    spent, source = unfinished, ""
    for row in rows:
        spent, source = spent + Spent.of_plain(row), row["energy_source"]
    return spent, source, "evaluation, checkpoints and lost steps of an older version"


class LateReading:
    """Reads a number from a GPU that is still computing it, without waiting for it."""

    def __init__(self) -> None:
        self._waiting: tuple[Tensor, torch.cuda.Event] | None = None

    def exchange(self, value: Tensor) -> float | None:
        """On a CPU: `value`. On a GPU: the value passed in the previous call if its copy has arrived, else None."""
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


class Progress:
    """A bar over all steps of all phases that shows phase, epoch, loss and the time left."""

    def __init__(self, total: int, done: int, quiet: bool = False) -> None:
        self._bar = progress_bar(total=total, initial=done, unit="step", disable=quiet, smoothing=0.02)

    def step(self, phase: str, epoch: int, epochs: int, loss: float | None) -> None:
        """Advance by one step; shows `loss` unless it is None."""
        self._bar.set_description_str(f"{phase} epoch {epoch + 1}/{epochs}", refresh=False)
        if loss is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update()

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._bar.disable:
            self._bar.write(text)

    def close(self) -> None:
        """End the bar and leave it on the screen."""
        self._bar.close()


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("the recipe asks for tensorboard; install it with: pip install 'ofa-energy[tensorboard]'") from None
    return SummaryWriter(str(folder))
