"""Time and energy of every verb that uses a run are booked in it, by purpose; an estimate stays an estimate."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import ofa.energy.choice
from ofa.energy.account import Booked, energy_of_run
from ofa.energy.ledger import booked_beside
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import ESTIMATED, METERED, EnergyReading
from ofa.runs.recipe import load_recipe
from tests.tiny import SPACE, write_recipe
from tests.verbs import error
from tests.verbs import ofa as verb

WATTS = 7.0
ESTIMATE = ("--energy", "estimate", "--accelerator", "V100", "--utilisation", 0.6)


class Steady(EnergyMeter):
    """A counter of a machine that always takes 7 W."""

    def stop(self) -> EnergyReading:
        seconds = super().stop().seconds
        return EnergyReading(WATTS * seconds, seconds, "a steady counter")


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ofa.energy.choice, "EnergyMeter", Steady)


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, without what was booked in it."""
    shutil.copytree(trained_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "energy")
    return tmp_path / "run"


def booked(run: Path) -> dict[tuple[str, str], Booked]:
    return {(row.purpose, row.kind): row for row in energy_of_run(run / "energy")}


def test_every_verb_books_its_purpose(
    run: Path, subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steady: None
) -> None:
    verb(capsys, "evaluate", run, "--subnet", "smallest")
    verb(capsys, "predictor", run, "--samples", 24)
    searched = booked(run)
    assert set(searched) == {("evaluation", METERED), ("predictor", METERED)}
    verb(capsys, "query", run, "--platform", "edge-int8", "--verify", 2, "--out", tmp_path / "net")
    verb(capsys, "finetune", subnet_folder, "--run", run, "--epochs", 1, "--out", tmp_path / "tuned")
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.replace("[8, 12]", "[8]"))
    words = ("profile", "--space", space, "--threads", 1, "--runs", 5, "--networks", 2, "--energy-s", 0)
    verb(capsys, *words, "--run", run, "--out", tmp_path / "here.yaml")
    rows = booked(run)
    assert set(rows) == {(name, METERED) for name in ("evaluation", "predictor", "query", "finetune", "profile")}
    for row in rows.values():
        assert row.joules == pytest.approx(WATTS * row.seconds)
        assert row.seconds > 0
        assert row.sources == ("a steady counter",)
    before = rows["query", METERED].seconds
    verb(capsys, "pareto", run, "--platform", "edge-int8", "--samples", 20, "--points", 3, "--out", tmp_path / "front.png")
    assert booked(run)["query", METERED].seconds > before


def test_a_fleet_is_a_query(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steady: None) -> None:
    fleet = tmp_path / "devices.csv"
    fleet.write_text("platform,latency_ms\nedge-int8,1000\n")
    verb(capsys, "query", run, "--fleet", fleet, "--out", tmp_path / "answer.csv", "--no-verify")
    once = booked(run)["query", METERED].seconds
    verb(capsys, "query", run, "--fleet", fleet, "--out", tmp_path / "answer.csv")
    assert booked(run)["query", METERED].seconds > once


def test_a_training_that_is_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path)
    result = verb(capsys, "train", recipe, "--run", tmp_path / "run", "--device", "cpu", *ESTIMATE)
    assert result["train_energy_j"] is None  # nothing was metered
    assert result["train_estimated_j"] == pytest.approx(300 * 0.6 * result["train_seconds"])
    assert result["train_estimate_source"].startswith("estimated: Tesla V100-SXM2-16GB, 300 W (mlco2/impact")
    rows = booked(tmp_path / "run")
    assert set(rows) == {(purpose, ESTIMATED) for purpose in ("training", "evaluation", "checkpoint")}
    for row in rows.values():
        assert row.joules == pytest.approx(180 * row.seconds)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for row in metrics:
        assert row["energy_j"] is None
        assert row["estimated_j"] == pytest.approx(180 * row["seconds"])
        assert row["unread_s"] == 0
    assert verb(capsys, "train", recipe, "--run", tmp_path / "run", "--device", "cpu") == result


def test_metered_and_estimated_parts_of_a_training_are_printed_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], steady: None
) -> None:
    from ofa.runs.run_directory import RunDirectory
    from ofa.training.trainer import Trainer
    from tests.tiny import killed_after

    recipe = write_recipe(tmp_path)
    directory = RunDirectory.create(tmp_path / "run", *load_recipe(recipe))
    with pytest.MonkeyPatch.context() as patch, killed_after(4, patch):
        Trainer(directory, quiet=True).train()
    capsys.readouterr()
    from ofa.cli.main import main

    assert main([*map(str, ("train", recipe, "--run", tmp_path / "run", "--device", "cpu", "--quiet", *ESTIMATE))]) == 0
    lines = capsys.readouterr().out
    assert "at least" in lines
    assert "kWh (a steady counter)" in lines
    assert "\n  estimated: " in lines
    assert "not counted: " in lines
    rows = booked(tmp_path / "run")
    metered, estimated = rows["training", METERED], rows["training", ESTIMATED]
    assert metered.joules == pytest.approx(WATTS * metered.seconds)
    assert estimated.joules == pytest.approx(180 * estimated.seconds)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["train_energy_j"] == pytest.approx(
        sum(row.joules or 0 for (_, kind), row in rows.items() if kind == METERED)
    )
    assert result["train_energy_missing"][0].endswith("s without any reading")


def test_nothing_is_booked_in_a_bundle(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "run.ofa"
    verb(capsys, "pack", run, "--out", bundle)
    words = ("query", bundle, "--platform", "edge-int8", "--no-verify", "--out", tmp_path / "net")
    verb(capsys, *words)
    assert capsys.readouterr().err == ""
    from ofa.cli.main import main

    assert main([*map(str, (*words, *ESTIMATE))]) == 0
    assert f"warning: {bundle} is a bundle, in which no energy is booked" in capsys.readouterr().err


def test_a_run_that_cannot_be_written_to_is_queried_all_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steady: None
) -> None:
    (run / "energy").write_text("no folder")  # works for root too, who may write anywhere
    from ofa.cli.main import main

    words = ("query", run, "--platform", "edge-int8", "--no-verify", "--out", tmp_path / "net")
    assert main([*map(str, words), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verified"] is False
    assert "of query are not booked: " in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("name", ["train", "evaluate", "predictor", "query", "finetune", "pareto"])
def test_mistakes_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words: tuple[Any, ...] = (name, tmp_path)
    if name == "pareto":
        words += ("--platform", "edge-int8", "--out", tmp_path / "x.png")
    assert "--utilisation is missing" in error(capsys, *words, "--energy", "estimate", "--accelerator", "V100")
    assert "energy is 'wall'; known are counters" in error(capsys, *words, "--energy", "wall")
    assert "give --energy estimate too" in error(capsys, *words, "--accelerator", "V100")


def test_a_profile_takes_no_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("profile", "--space", "fmnist", "--out", tmp_path / "x.yaml")
    assert "--energy is estimate; to profile it is counters or zeus" in error(capsys, *words, "--energy", "estimate")
    assert "--run has no meaning with --import" in error(capsys, *words, "--import", "x.csv", "--run", "r")


def test_a_profile_reads_zeus(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    def counter() -> Any:
        now[0] += 1000.0
        return SimpleNamespace(total_energy_mj=now[0])

    def nothing() -> Any:
        raise RuntimeError("none here")

    now = [0.0]
    chip = SimpleNamespace(get_total_energy_consumption=counter)
    monkeypatch.setitem(sys.modules, "zeus", SimpleNamespace())
    zeus = SimpleNamespace(get_gpus=nothing, get_cpus=nothing, get_soc=lambda: chip)
    monkeypatch.setitem(sys.modules, "zeus.device", zeus)
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.replace("[8, 12]", "[8]"))
    words = ("profile", "--space", space, "--threads", 1, "--runs", 5, "--networks", 2, "--energy-s", 0)
    verb(capsys, *words, "--energy", "zeus", "--out", tmp_path / "here.yaml")
    energy = yaml.safe_load((tmp_path / "here.yaml").read_text())["energy"]
    assert energy["source"].startswith("power x time; power: zeus system on a chip, mean over")


# -- the ledger that processes share -------------------------------------------------------------------------------------

WORK = """
import sys, time
from pathlib import Path
from ofa.energy.ledger import booked_beside
from ofa.energy.reading import EnergyReading

class Meter:
    available = True
    def start(self):
        pass
    def stop(self):
        return EnergyReading(1.0, 0.5, "a clock")

with booked_beside(Path(sys.argv[1]), "query", "query", Meter(), beat_s=0.01):
    time.sleep(float(sys.argv[2]))
"""


def test_processes_that_book_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORK, str(tmp_path / "energy"), "0.3"]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    (tmp_path / "energy").mkdir(exist_ok=True)
    errors = [worker.communicate(timeout=120)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert "not booked" not in "".join(errors)
    (row,) = energy_of_run(tmp_path / "energy")
    assert row.joules == 2 * row.seconds
    assert row.joules >= 6  # at least a beat and the end of each
    assert row.sources == ("a clock",)


def test_work_that_fails_is_booked_too(tmp_path: Path) -> None:
    meter = EnergyMeter(powercap=tmp_path)
    with pytest.raises(KeyboardInterrupt), booked_beside(tmp_path / "energy", "query", "query", meter):
        raise KeyboardInterrupt
    (row,) = energy_of_run(tmp_path / "energy")
    assert (row.kind, row.joules) == ("unknown", None)
    assert row.seconds > 0


def test_what_a_killed_process_left_beside_the_ledger_goes_with_the_next_booking(tmp_path: Path) -> None:
    folder = tmp_path / "energy"
    folder.mkdir()
    left, of_others = folder / ".query-0.json.abcdefgh.tmp", folder / ".train-0.json.abcdefgh.tmp"
    for path in (left, of_others):
        path.write_bytes(b"half")
    with booked_beside(folder, "query", "query", EnergyMeter(powercap=tmp_path)):
        assert left.exists()
    assert sorted(path.name for path in folder.iterdir()) == [of_others.name, "query-0.json"]
