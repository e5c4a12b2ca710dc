"""Attacks on a scene: damaged files, kills, full disks, two writers at once. Each has a seed, so it can be repeated."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.reliability import mutations
from tests.reliability.commands import BY_HAND, READ_BY, READERS, WRITERS, files_of
from tests.reliability.launcher import Outcome
from tests.reliability.scene import Scene
from tests.reliability.verdicts import Tally, changed, contents, damage, differing, mistake, new_litter, story

MESSAGES = 4096
"""Least size of a file where that is limited: what a command says is a file too."""
STARTING_S = 0.2
"""Time after which a command surely handles signals."""
REMOVING = ("delete a line", "truncate", "empty")


class Mutations:
    """Damage to one file, then a command that reads it."""

    def __init__(self, scene: Scene, tally: Tally) -> None:
        self.scene, self.tally = scene, tally
        self.sound: dict[str, Any] = {}
        """Facts of each reader where nothing is damaged."""
        scene.fresh()
        self.cases = [
            (str(path.relative_to(scene.here)), kind, reader)
            for pattern, readers in READ_BY.items()
            for path in files_of(scene, pattern)
            for kind in mutations.kinds_for(path)
            for reader in readers
        ]

    def attack(self, name: str, kind: str, reader: str, seed: int) -> None:
        """Damage a file in a way that a seed decides."""
        scene, command = self.scene, READERS[reader]
        if reader not in self.sound:
            scene.fresh()
            self.sound[reader] = command.facts(scene, _answer(scene.must(command.argv)))
        scene.fresh()
        rng = np.random.default_rng([seed, *map(ord, name + kind + reader)])
        others = [path for pattern in READ_BY for path in files_of(scene, pattern) if path.suffix == Path(name).suffix]
        others = [path for path in others if path != scene.here / name] or [scene.here / "tiny.yaml"]
        other = others[int(rng.integers(len(others)))]
        if not mutations.mutate(scene.here / name, kind, other, rng):
            return
        before = contents(scene)
        outcome = scene.run(command.argv)
        self.tally.note(
            self._verdict(name, kind, reader, outcome, before), f"{name}: {kind}, seed {seed}: {story(command, outcome)}"
        )

    def _verdict(self, name: str, kind: str, reader: str, outcome: Outcome, before: dict[str, bytes]) -> str:
        wrong = mistake(outcome)
        if wrong is not None:
            return wrong
        if outcome.code != 0:
            lost = changed(self.scene, before, contents(self.scene))
            return f"lost {lost}" if lost else "refused"
        try:
            found = READERS[reader].facts(self.scene, _answer(outcome))
        except ValueError as error:
            return f"unreadable result ({str(error)[:80]})"
        if name.endswith("metrics.jsonl") and kind in REMOVING:  # as a message tells users to; all else must be the same
            found[name] = self.sound[reader][name]
        if found == self.sound[reader]:
            return "harmless"
        if "warning" in outcome.err:
            return "told"
        sensible = name.startswith(BY_HAND) and kind not in mutations.NONSENSE
        return "another question" if sensible else "accepted wrongly"


@dataclass(frozen=True)
class Course:
    """How a command goes that nothing befalls."""

    facts: Any
    calls: int
    """Calls that change files."""
    seconds: float
    size: int
    """Bytes that it has written in the end."""


class Undisturbed:
    """The course of each command of `WRITERS`, found when it is asked for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.known: dict[str, Course] = {}

    def __getitem__(self, name: str) -> Course:
        if name not in self.known:
            scene, command = self.scene, WRITERS[name]
            scene.fresh()
            calls = scene.calls(command.argv)
            scene.fresh()
            begun = time.monotonic()
            scene.must(command.argv)
            seconds = time.monotonic() - begun
            assert not new_litter(scene), (name, new_litter(scene))
            size = sum(path.stat().st_size for out in command.out for path in _files(scene.here / out))
            self.known[name] = Course(command.facts(scene), calls, seconds, size)
        return self.known[name]


@dataclass(frozen=True)
class Disturbance:
    """Something befalls a command; then the same command again."""

    scene: Scene
    undisturbed: Undisturbed
    tally: Tally

    def judge(self, name: str, wrong: str | None, where: str, shown: Outcome) -> None:
        """Give the command again, and count the verdict; `wrong` is what was wrong before that."""
        command, facts = WRITERS[name], self.undisturbed[name].facts
        verdict = wrong or damage(self.scene, command)
        again = self.scene.run(command.argv)
        verdict = verdict or mistake(again)
        if verdict is None and again.code != 0:
            verdict, shown = "lost: the same command is refused", again
        if verdict is None and command.facts(self.scene) != facts:
            verdict = f"accepted wrongly: another result in {differing(facts, command.facts(self.scene))}"
        if verdict is None and new_litter(self.scene):
            verdict = f"litter: {new_litter(self.scene)}"
        self.tally.note(verdict or "done", f"{where}: {story(command, shown)}")


class Kills(Disturbance):
    """A kill in the middle of a command."""

    def attack(self, name: str, signal_name: str, seed: int, at_random_times: bool = False) -> None:
        """Kill a command where a seed decides: at a call that changes files, or at a moment."""
        scene, argv, course = self.scene, WRITERS[name].argv, self.undisturbed[name]
        scene.fresh()
        rng = np.random.default_rng([seed, *map(ord, name + signal_name)])
        if at_random_times:
            moment = float(rng.uniform(0, course.seconds))
            pid = scene.launcher.start(list(argv), scene.here)
            time.sleep(moment)
            os.kill(pid, getattr(signal, signal_name))
            killed, how = scene.launcher.wait(pid), f"after {moment:.3f} s"
        else:
            at = int(rng.integers(1, course.calls + 1))
            fault = {"at_call": at, "signal_name": signal_name, "cut": float(rng.random())}
            killed, how = scene.run(argv, fault), f"at call {at} of {course.calls}"
        wrong, ends = None, {"SIGKILL": (0, -9), "SIGTERM": (0, 143)}[signal_name]
        if at_random_times and moment < STARTING_S:
            ends += (-15,)  # it had not begun to listen
        if killed.code is None:
            wrong = "hang"
        elif "Traceback" in killed.err or killed.code not in ends:
            wrong = f"traceback (exit code {killed.code})"
        self.judge(name, wrong, f"{name}: {signal_name} {how}, seed {seed}", killed)


class FullDisks(Disturbance):
    """A disk that gets full in the middle of a command, and has room afterwards."""

    def attack(self, name: str, way: str, seed: int) -> None:
        """Let a command run out of space after bytes that a seed decides.

        `way`: `full` (of what Python writes), `largest` (file, a limit of the kernel's), or `real`: the scene is a file
        system of its own, and ballast takes the room.
        """
        scene, size = self.scene, self.undisturbed[name].size
        scene.fresh()
        rng = np.random.default_rng([seed, *map(ord, name + way)])
        room = int(size * rng.random() ** 2)
        faults = {"full": {"full_after": room}, "largest": {"largest_file": max(MESSAGES, room)}, "real": {}}
        ballast = scene.here / "ballast"
        if way == "real":
            _fill(ballast, room)
        full = scene.run(WRITERS[name].argv, faults[way])
        ballast.unlink(missing_ok=True)
        wrong = mistake(full) or (None if full.code in (0, 2) else f"exit code {full.code}")
        self.judge(name, wrong, f"{name}: room for {room} of {size} bytes ({way}), seed {seed}", full)


class DoubleWriters(Disturbance):
    """The same command twice at once."""

    def attack(self, name: str, seed: int) -> None:
        """Start the second one where a seed decides."""
        scene, argv = self.scene, list(WRITERS[name].argv)
        delay = float(np.random.default_rng([seed, *map(ord, name)]).uniform(0, self.undisturbed[name].seconds))
        delay *= seed % 3 > 0
        scene.fresh()
        pids = [scene.launcher.start(argv, scene.here)]
        time.sleep(delay)
        pids.append(scene.launcher.start(argv, scene.here))
        both = [scene.launcher.wait(pid) for pid in pids]
        wrong = next(filter(None, map(mistake, both)), None)
        if wrong is None and all(one.code for one in both):
            wrong = "lost: neither succeeded"
        shown = next((one for one in both if one.code), both[0])
        self.judge(name, wrong, f"{name} twice, {delay:.3f} s apart, seed {seed}", shown)


def _fill(ballast: Path, room: int) -> None:
    """Leave so many bytes of a file system, rounded up to its blocks."""
    free = os.statvfs(ballast.parent)
    with open(ballast, "wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_bsize - room)))


def _answer(outcome: Outcome) -> Any:
    try:
        return outcome.answer
    except json.JSONDecodeError:
        return None


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
