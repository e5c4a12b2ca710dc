"""Nothing lost, nothing wrong: damaged files, kills, full disks and two writers at once, on every verb.

Each attack ends as it was promised (docs/reliability.md): the command refuses in one line, or its result is the one of an
undisturbed command; what was there before is still there; and the same command given again succeeds. The small tests take a
few cases of the long ones (marker `slow`), with fewer seeds.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.attack import DoubleWriters, FullDisks, Kills, Mutations, Undisturbed
from tests.reliability.commands import SLOW_READERS, WRITERS
from tests.reliability.scene import Scene
from tests.reliability.verdicts import Tally, new_litter

ALWAYS = ("query", "extract anew", "predictor", "calibrate anew")
"""Quick verbs of different ways to write: a folder, one in the place of another, files in a run, a file."""
ROUNDS = 3
KILLS, FULL_DISKS, DOUBLE_WRITERS = 10, 4, 3
"""Seeds of each command in the long tests."""


def check(tally: Tally) -> None:
    print(dict(tally.verdicts))  # pytest -rP shows it
    assert tally.verdicts
    assert not tally.faults, "\n".join(tally.faults)


def test_some_damaged_files(scene: Scene) -> None:
    tally = Tally()
    mutations = Mutations(scene, tally)
    quick = [case for case in mutations.cases if case[2] not in SLOW_READERS]
    for i in np.random.default_rng(0).permutation(len(quick))[:30]:
        mutations.attack(*quick[i], seed=0)
    check(tally)


def test_some_kills(scene: Scene, undisturbed: Undisturbed) -> None:
    tally = Tally()
    kills = Kills(scene, undisturbed, tally)
    for seed, name in enumerate(ALWAYS):
        kills.attack(name, "SIGKILL", seed)
        kills.attack(name, "SIGTERM", seed, at_random_times=seed % 2 == 1)
    check(tally)


def test_some_full_disks(scene: Scene, undisturbed: Undisturbed) -> None:
    tally = Tally()
    disks = FullDisks(scene, undisturbed, tally)
    for seed, name in enumerate(ALWAYS):
        disks.attack(name, ("full", "largest")[seed % 2], seed)
    check(tally)


def test_some_double_writers(scene: Scene, undisturbed: Undisturbed) -> None:
    tally = Tally()
    writers = DoubleWriters(scene, undisturbed, tally)
    for seed, name in enumerate(ALWAYS[:2]):
        writers.attack(name, seed)
    check(tally)


def test_leftovers_of_killed_writers_go_with_the_next_one(scene: Scene) -> None:
    tried = 0
    for command in WRITERS.values():
        files = [out for out in command.out if Path(out).suffix and "/" not in out]
        if not files:
            continue
        scene.fresh()
        for out in files:
            (scene.here / f".{out}.abcdefgh.tmp").write_bytes(b"half")
        scene.must(command.argv)
        assert not new_litter(scene), command.argv
        tried += len(files)
    assert tried > 10


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_every_damaged_file(scene: Scene) -> None:
    tally = Tally()
    mutations = Mutations(scene, tally)
    for seed in range(1, ROUNDS + 1):
        for case in mutations.cases:
            mutations.attack(*case, seed=seed)
    check(tally)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_kills_of_every_verb(scene: Scene, undisturbed: Undisturbed) -> None:
    tally = Tally()
    kills = Kills(scene, undisturbed, tally)
    for name in WRITERS:
        for seed in range(KILLS):
            kills.attack(name, ("SIGKILL", "SIGTERM")[seed % 3 == 2], seed, at_random_times=seed % 2 == 1)
    check(tally)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_full_disks_of_every_verb(scene: Scene, undisturbed: Undisturbed) -> None:
    tally = Tally()
    disks = FullDisks(scene, undisturbed, tally)
    for name in WRITERS:
        for seed in range(FULL_DISKS):
            disks.attack(name, ("full", "largest")[seed % 2], seed)
    check(tally)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_double_writers_of_every_verb(scene: Scene, undisturbed: Undisturbed) -> None:
    tally = Tally()
    writers = DoubleWriters(scene, undisturbed, tally)
    for name in WRITERS:
        for seed in range(DOUBLE_WRITERS):
            writers.attack(name, seed)
    check(tally)


@pytest.fixture
def small_disk(scene: Scene) -> Iterator[Path]:
    """The scene on a file system of its own, where that may be mounted (root)."""
    scene.fresh()
    size = sum(path.stat().st_size for path in scene.template.rglob("*")) // 1024 + 2048
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(scene.here)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield scene.here
    subprocess.run(["umount", "-l", str(scene.here)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_disks_that_are_really_full(scene: Scene, undisturbed: Undisturbed, small_disk: Path) -> None:
    tally = Tally()
    disks = FullDisks(scene, undisturbed, tally)
    for name in WRITERS:
        for seed in range(FULL_DISKS):
            disks.attack(name, "real", seed)
    check(tally)
