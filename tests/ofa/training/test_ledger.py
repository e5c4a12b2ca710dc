"""Time and energy of a run by purpose: through kills, restarts, readings that fail, and runs of an older version."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ofa.energy.choice
import ofa.training.trainer
from ofa import UserError
from ofa.cli.main import main
from ofa.distributed.world import World
from ofa.energy.account import BEAT_S, Account, Spent, combined
from ofa.energy.ledger import Ledger, booked, ledger_files
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import EnergyReading
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.checkpoint import load_checkpoint, save_checkpoint
from ofa.training.progress import EpochSums, MetricsLog
from ofa.training.result import report_result, result_lines
from ofa.training.trainer import Trainer
from tests.tiny import killed_after, write_recipe

WATTS = 7.0


class Steady(EnergyMeter):
    """A counter of a machine that always takes 7 W; readings whose number is in `unread` fail."""

    unread: tuple[int, ...] = ()

    def __init__(self, device: str = "cpu", **options: Any) -> None:
        super().__init__(device, **options)
        self.readings = 0

    def stop(self) -> EnergyReading:
        self.readings += 1
        seconds = super().stop().seconds
        if self.readings in self.unread:
            return EnergyReading(None, seconds, "no energy counter is readable: busy", ("the counter: busy",))
        return EnergyReading(WATTS * seconds, seconds, "a steady counter")


class Clock:
    """A meter whose readings are given."""

    def __init__(self, *readings: tuple[float, float | None]) -> None:
        self.readings = iter(readings)

    def start(self) -> None:
        pass

    def stop(self) -> EnergyReading:
        seconds, joules = next(self.readings)
        return EnergyReading(joules, seconds, "a clock", () if joules is not None else ("joules",))


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> type[Steady]:
    meter = type("Metered", (Steady,), {})
    monkeypatch.setattr(ofa.energy.choice, "EnergyMeter", meter)
    return meter


def start(folder: Path, checkpoint_seconds: float = 1e9) -> RunDirectory:
    return RunDirectory.create(folder / "run", *load_recipe(write_recipe(folder, checkpoint_seconds)))


# -- the ledger --------------------------------------------------------------------------------------------------------


def test_each_purpose_has_its_sum(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "train", Clock((1.0, 10.0), (2.0, None), (4.0, 40.0), (8.0, 80.0)))
    assert ledger.begin("training") == Spent()
    assert ledger.begin("evaluation") == Spent(1.0, 10.0)
    assert ledger.begin("training") == Spent(2.0, 0.0, 2.0)
    assert ledger.begin("training") == Spent(4.0, 40.0)
    assert ledger.close() == Spent(8.0, 80.0)
    account = Account.read(tmp_path / "train-0.json")
    assert account.spent == {"training": Spent(13.0, 130.0), "evaluation": Spent(2.0, 0.0, 2.0)}
    assert (account.sources, account.missing, account.kills) == (["a clock"], ["joules"], 0)
    assert account.spent["evaluation"].energy_j is None  # nothing is known of it
    total = account.total(("training", "evaluation", "lost"))
    assert (total.seconds, total.energy_j, total.unread_s) == (15.0, 130.0, 2.0)


def test_a_ledger_goes_on(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        with booked(tmp_path, "predictor", "predictor", Clock((seconds, 3.0))):
            pass
    assert Account.read(tmp_path / "predictor-0.json").spent == {"predictor": Spent(3.0, 6.0)}


@pytest.mark.parametrize(("place", "kept", "lost"), [((0, 3), 3.0, 2.25), ((0, 2), 2.0, 3.25), (None, 0.0, 5.25)])
def test_what_comes_after_a_mark_can_be_taken_back(place: tuple[int, int] | None, kept: float, lost: float) -> None:
    account = Account()
    for step in (1, 2, 3):
        account.add("training", Spent(1.0, 10.0))
        account.mark((0, step))
        account.add("checkpoint", Spent(0.5, 1.0))
    account.add("training", Spent(0.25, 2.5))
    account.add("evaluation", Spent(2.0, 20.0))
    account.take_back(place)
    assert account.spent["training"] == Spent(kept, 10 * kept)
    assert account.spent["lost"] == Spent(lost, 10 * lost)
    assert account.spent["checkpoint"] == Spent(1.5, 3.0)
    assert account.spent["evaluation"] == Spent()


def test_a_checkpoint_knows_more_than_a_file_that_was_written_before_it() -> None:
    account = Account()
    account.add("training", Spent(5.0, 50.0))
    marked = account.mark((0, 5))
    behind = Account(spent={"training": Spent(4.0, 40.0)})
    behind.take_back((0, 5), json.loads(json.dumps(marked)))
    assert behind.spent == {"training": Spent(5.0, 50.0)}


WORK = """
import sys, time
from pathlib import Path
from ofa.energy.meter import EnergyMeter
from ofa.energy.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]) / "energy", "train", EnergyMeter(powercap=Path(sys.argv[1])), beat_s=0.02)
ledger.begin("training")
counter = Path(sys.argv[1]) / "intel-rapl:0" / "energy_uj"
for joules in range(1, 10**6):
    counter.write_text(str(joules * 10**6))
    time.sleep(0.001)
"""


def test_kill_9_leaves_what_was_spent_until_then(tmp_path: Path) -> None:
    domain = tmp_path / "intel-rapl:0"
    domain.mkdir()
    for name, content in (("name", "package-0"), ("max_energy_range_uj", str(10**12)), ("energy_uj", "0")):
        (domain / name).write_text(content)
    file = tmp_path / "energy" / "train-0.json"
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)])
    try:
        while not (file.exists() and Account.read(file).total(["training"]).joules > 20):
            assert process.poll() is None
            assert time.monotonic() < begun + 60
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    account = Account.read(file)
    assert account.kills == 1
    spent = account.spent["training"]
    assert 20 < spent.joules <= int((domain / "energy_uj").read_text() or 10**9) * 1e-6 + 1
    assert 0 < spent.seconds < time.monotonic() - begun
    account.take_back(None)
    assert account.spent == {"training": Spent(), "lost": spent}
    assert combined([(file, account)]).missing[-1] == f"at most {BEAT_S:g} s before each of 1 kills"


def test_energies_of_processes_add_up_and_their_time_does_not(tmp_path: Path) -> None:
    for rank, seconds in enumerate((4.0, 5.0)):
        ledger = Ledger(tmp_path, "train", Clock((seconds, 10.0)), World(rank, 2))
        ledger.begin("training")
        ledger.close()
    assert [path.name for path in ledger_files(tmp_path, World(1, 2))] == ["train-1.json"]
    files = ledger_files(tmp_path, World(0, 1))  # the second process is gone; what it spent is not
    assert combined((path, Account.read(path)) for path in files).spent == {"training": Spent(4.0, 20.0)}


def test_a_process_that_is_gone_is_taken_back_too(tmp_path: Path) -> None:
    gone = Account(spent={"training": Spent(1.0, 10.0)})
    gone.mark((0, 5))
    gone.add("training", Spent(2.0, 20.0))
    gone.write(tmp_path / "train-1.json", is_open=True)
    Ledger(tmp_path, "train", Clock()).take_back((0, 5))
    assert Account.read(tmp_path / "train-1.json").spent == {"training": Spent(1.0, 10.0), "lost": Spent(2.0, 20.0)}


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train-0.json"
    Account(spent={"training": Spent(3.0)}).write(file, is_open=False)
    flipped = file.read_text().replace("3.0", "2.0")
    for content in ("{}", "[]", '{"spent": {"x": {"joule": 1}}}', flipped):
        file.write_text(content)
        with pytest.raises(UserError, match=r"train-0.json: .*delete it to continue without what it had booked"):
            Ledger(tmp_path, "train", Clock())


# -- training ----------------------------------------------------------------------------------------------------------


def test_training_books_all_it_does(steady: type[Steady], tmp_path: Path) -> None:
    run = start(tmp_path, checkpoint_seconds=0)
    trainer = Trainer(run, quiet=True)
    begun = time.perf_counter()
    trainer.train()
    result = report_result(run, progress=False)
    whole_s = time.perf_counter() - begun
    assert 0.9 * whole_s < result["train_seconds"] <= whole_s
    assert result["train_energy_j"] == pytest.approx(WATTS * result["train_seconds"])
    spent = result["train_spent"]
    assert list(spent) == ["training", "evaluation", "checkpoint"]
    assert sum(part["seconds"] for part in spent.values()) == pytest.approx(result["train_seconds"])
    assert all(part["seconds"] > 0 for part in spent.values())
    rows = MetricsLog(run.metrics_path).rows()
    assert 0 < sum(row["seconds"] for row in rows) <= spent["training"]["seconds"]
    assert sum(row["energy_j"] for row in rows) == pytest.approx(WATTS * sum(row["seconds"] for row in rows))
    assert (result["train_energy_source"], result["train_energy_missing"]) == ("a steady counter", [])
    assert any(line.startswith("  minutes: training ") for line in result_lines(result, run.result_path))


@pytest.mark.parametrize("saves", [3, 11, 34])  # inside an epoch, behind one, in the second phase
def test_steps_lost_to_a_kill_are_booked_as_lost(
    saves: int, steady: type[Steady], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path, checkpoint_seconds=0)
    with killed_after(saves, monkeypatch):
        Trainer(run, quiet=True).train()
    latest = run.checkpoint_folder / "latest.json"
    kept = Spent(**json.loads(latest.read_text())["progress"]["spent"]["training"])
    with monkeypatch.context() as patch:  # now no checkpoint more, until the end of the phase
        patch.setattr(ofa.training.trainer, "save_checkpoint", lambda *args: None)
        stopped = Trainer(run, quiet=True)
        patch.setattr(stopped, "_enter_phase", stop)
        patch.setattr(stopped, "_train_epoch", stop_after(stopped, 1))
        with pytest.raises(KeyboardInterrupt):
            stopped.train()
    lost = Account.read(run.energy_folder / "train-0.json").spent["training"] - kept
    assert lost.seconds > 0
    Trainer(run, quiet=True).train()
    result = report_result(run, progress=False)
    assert result["train_spent"]["lost"]["seconds"] >= lost.seconds * 0.999
    assert result["train_energy_j"] == pytest.approx(WATTS * result["train_seconds"])


def stop(*args: object) -> None:
    raise KeyboardInterrupt


def stop_after(trainer: Trainer, epochs: int) -> Any:
    """Train so many epochs more, then stop."""
    train, done = trainer._train_epoch, []

    def next_epoch(*args: Any) -> None:
        if len(done) == epochs:
            raise KeyboardInterrupt
        train(*args)
        done.append(1)

    return next_epoch


def test_a_reading_that_fails_makes_no_sum_unknown(steady: type[Steady], tmp_path: Path) -> None:
    steady.unread = (2,)  # the first epoch
    run = start(tmp_path)
    Trainer(run, quiet=True).train()
    rows = MetricsLog(run.metrics_path).rows()
    assert rows[0]["energy_j"] is None
    assert rows[0]["unread_s"] == rows[0]["seconds"] > 0
    assert all(row["energy_j"] == pytest.approx(WATTS * row["seconds"]) and row["unread_s"] == 0 for row in rows[1:])
    result = report_result(run, progress=False)
    known_s = result["train_seconds"] - rows[0]["seconds"]
    assert result["train_energy_j"] == pytest.approx(WATTS * known_s)
    assert result["train_spent"]["training"]["unread_s"] == pytest.approx(rows[0]["seconds"])
    unread = f"{rows[0]['seconds']:.3g} s without any reading"
    assert result["train_energy_missing"] == [unread, "the counter: busy"]
    text = "\n".join(result_lines(result, run.result_path))
    assert "at least 0.0000 kWh (a steady counter; no energy counter is readable: busy)" in text
    assert f"  not counted: {unread}; the counter: busy" in text


def test_an_epoch_whose_first_part_other_processes_counted() -> None:
    progress = EpochSums(loss=2.0, steps=4, spent=Spent(8.0, 80.0, 1.0)).progress()
    assert EpochSums.from_checkpoint(progress, first=True) == EpochSums(2.0, 4, Spent(8.0, 80.0, 1.0))
    assert EpochSums.from_checkpoint(progress, first=False).spent == Spent(8.0, 0.0, 8.0)
    older = {"loss": 2.0, "steps": 4, "seconds": 8.0, "energy_j": None}
    assert EpochSums.from_checkpoint(older, first=True).spent == Spent(8.0, 0.0, 8.0)
    assert EpochSums.from_checkpoint(older | {"energy_j": 3.0}, first=True).spent == Spent(8.0, 3.0)


# -- runs of an older version ------------------------------------------------------------------------------------------


def older(run: RunDirectory) -> None:
    """Take from a run what version 0.1 did not write."""
    shutil.rmtree(run.energy_folder)
    checkpoint = load_checkpoint(run.checkpoint_folder, torch.device("cpu"))
    assert checkpoint is not None
    progress = {name: value for name, value in checkpoint.progress.items() if name not in ("spent", "unread_s")}
    save_checkpoint(run.checkpoint_folder, replace(checkpoint, progress=progress))
    rows = [{key: value for key, value in row.items() if key != "unread_s"} for row in MetricsLog(run.metrics_path).rows()]
    run.metrics_path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_older_run_goes_on_with_what_its_rows_tell(
    steady: type[Steady], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path, checkpoint_seconds=0)
    with killed_after(15, monkeypatch):
        Trainer(run, quiet=True).train()
    older(run)
    (row,) = MetricsLog(run.metrics_path).rows()
    unfinished = json.loads((run.checkpoint_folder / "latest.json").read_text())["progress"]
    before_s = row["seconds"] + unfinished["seconds"]
    with killed_after(1, monkeypatch):  # once more: nothing is carried over twice, nor lost
        Trainer(run, quiet=True).train()
    Trainer(run, quiet=True).train()
    rows = MetricsLog(run.metrics_path).rows()
    result = report_result(run, progress=False)
    assert result["train_spent"]["training"]["seconds"] > sum(row["seconds"] for row in rows) > before_s
    assert result["train_spent"]["training"]["seconds"] < before_s + sum(row["seconds"] for row in rows)
    assert result["train_energy_missing"] == ["evaluation, checkpoints and lost steps of an older version"]


def test_an_older_result_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    Trainer(run, quiet=True).train()
    older(run)
    result = report_result(run, progress=False)
    assert result["train_spent"]["training"]["seconds"] == sum(row["seconds"] for row in MetricsLog(run.metrics_path).rows())
    for name in ("train_spent", "train_energy_missing"):
        del result[name]
    run.result_path.write_text(json.dumps(result | {"train_seconds": 90.0, "train_energy_j": 7.2e6}))
    assert main(["train", str(tmp_path / "tiny.yaml"), "--run", str(run.path), "--device", "cpu"]) == 0
    assert "trained in 1.5 minutes; 2.0000 kWh (" in capsys.readouterr().out
