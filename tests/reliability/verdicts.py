"""Verdicts on attacks: fine, or which promise was broken."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.reliability.commands import Command
from tests.reliability.launcher import TRACEBACK, Outcome
from tests.reliability.scene import LITTER, Scene

FINE = ("refused", "harmless", "told", "another question", "done", "stopped")
LOGS = (".jsonl", ".journal")
"""Files that grow line by line."""
LONGEST_LINE = 600
"""Characters of a message: paths, a value of at most 80 characters, advice."""
MAY_CHANGE = ("energy/", ".lock")
"""What a refused command may have written: that it was begun."""


@dataclass
class Tally:
    """Verdicts counted, and those that are none of `FINE` in words."""

    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, verdict: str, story: str) -> None:
        """Count a verdict."""
        self.verdicts[verdict] += 1
        if verdict not in FINE:
            self.faults.append(f"{verdict}: {story}")
            record = os.environ.get("OFA_RELIABILITY_FAULTS")
            if record:
                with open(record, "a") as file:
                    file.write(self.faults[-1] + "\n")


def mistake(outcome: Outcome) -> str | None:
    """What is wrong with the way a command ended; None: it succeeded, or told the user in one line what is the matter."""
    if outcome.code is None:
        return "hang"
    if outcome.code in (TRACEBACK, 1) or outcome.code < 0 or "Traceback" in outcome.err:
        return f"traceback (exit code {outcome.code})"
    if outcome.code == 2:
        lines = [line for line in outcome.err.splitlines() if "error: " in line]
        if len(lines) != 1:
            return f"{len(lines)} lines of error"
        if len(lines[0]) > LONGEST_LINE:
            return f"a line of {len(lines[0])} characters"
        if not lines[0].isprintable():
            return "a line that is not printable"
    return None


def damage(scene: Scene, command: Command) -> str | None:
    """What was there before and cannot be read now: a subnet, lines of a log, the position of a checkpoint, inputs."""
    if scene.run(("readers:subnet", "q")).code != 0:
        return "lost: q cannot be read any more"
    for path in sorted(scene.template.rglob("*")):
        name = str(path.relative_to(scene.template))
        passing = LITTER.search(path.name) or any(part in name for part in MAY_CHANGE)
        if path.is_file() and not passing and _is_lost(path, scene.here / name, name, command.out):
            return f"lost: {name}"
    if "half" in command.out:
        before, after = (_position(scene, folder / "half") for folder in (scene.template, scene.here))
        if after is None or (before is not None and after < before):
            return f"lost: the checkpoint was at {before}, is at {after}"
    return None


def _is_lost(before: Path, now: Path, name: str, written: tuple[str, ...]) -> bool:
    """True if a file lacks what it had: logs only grow, what is replaced is whole, all else stays as it is."""
    if not name.startswith(written):
        return not now.is_file() or now.read_bytes() != before.read_bytes()
    if name.endswith("measurements.jsonl"):
        return not now.is_file() or not now.read_bytes().startswith(before.read_bytes())
    return "/" not in name and (not now.is_file() or not now.stat().st_size)


def _position(scene: Scene, run: Path) -> list[int] | None:
    found: list[int] | None = json.loads(scene.run(("readers:position", str(run))).out or "null")
    return found


def new_litter(scene: Scene) -> list[str]:
    """Files of commands at work that the scene did not have at first."""
    return [name for name in scene.litter() if not (scene.template / name).exists()]


def contents(scene: Scene) -> dict[str, bytes]:
    """Every file of the scene: a log as it is, any other by a digest of its content."""
    files = (path for path in scene.here.rglob("*") if path.is_file())
    return {str(path.relative_to(scene.here)): _content(path) for path in files}


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return content if path.suffix in LOGS else hashlib.sha256(content).digest()


def changed(scene: Scene, before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Files that are no longer what they were, but for what a command that is refused may do.

    It may note that it was begun, add to a log, cut off the half line at the end of one, and delete checkpoints that
    `latest.json` does not name, which only killed processes leave.
    """
    strays = scene.stray_checkpoints()
    may_change = [name for name in before if name in strays or any(part in name for part in MAY_CHANGE)]
    return [name for name in before if name not in may_change and not _is_kept(name, before[name], after.get(name))]


def _is_kept(name: str, before: bytes, after: bytes | None) -> bool:
    if after is None or Path(name).suffix not in LOGS:
        return after == before
    return after.startswith(before) or (before.startswith(after) and b"\n" not in before[len(after) :])


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of facts that differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def story(command: Command, outcome: Outcome) -> str:
    """The command and how it ended, in a line."""
    return f"ofa {' '.join(command.argv)} -> {outcome.code}: {outcome.err.strip()[-500:]!r}"
