"""Progressive shrinking from start to end, and the promise that a killed run goes on bit by bit the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

import ofa.energy.choice
import ofa.training.checkpoint
import ofa.training.trainer
from ofa import UserError
from ofa.data.balance import BalanceConfig
from ofa.distributed.world import World
from ofa.energy.meter import EnergyMeter
from ofa.files.vouched import read_vouched_json
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.checkpoint import Checkpoint, Position, load_checkpoint, remove_strays, save_checkpoint
from ofa.training.optimiser import make_optimiser
from ofa.training.progress import LateReading, MetricsLog, Progress
from ofa.training.result import report_result
from ofa.training.trainer import Trainer
from tests.tiny import killed_after, write_recipe

STEPS_PER_EPOCH, EPOCHS = 10, 6


def start(folder: Path, name: str, checkpoint_seconds: float = 1e9) -> RunDirectory:
    recipe, space = load_recipe(write_recipe(folder, checkpoint_seconds))
    return RunDirectory.create(folder / name, recipe, space)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = start(tmp_path_factory.mktemp("training"), "run")
    Trainer(run, quiet=True).train()
    return run


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return load_file(run.weights_path)


def assert_same_weights(one: RunDirectory, other: RunDirectory) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert different == []


def test_every_epoch_of_every_phase_has_a_row(finished: RunDirectory) -> None:
    rows = [json.loads(line) for line in finished.metrics_path.read_text().splitlines()]
    expected = [("largest", 0), ("largest", 1), ("largest", 2), ("kernel", 0), ("depth", 0), ("width", 0)]
    assert [(row["name"], row["epoch"]) for row in rows] == expected
    for row in rows:
        assert row["loss"] > 0
        assert row["images_per_s"] > 0
        assert row["seconds"] > 0
        assert "energy_j" in row
        assert row["energy_source"]
        assert {"top1_largest", "top1_smallest", "top1_random"} <= row.keys()
    assert rows[2]["learning_rate"] < rows[1]["learning_rate"]


def test_the_supernet_has_learned(finished: RunDirectory) -> None:
    result = report_result(finished, progress=False)
    assert result["split"] == "test"
    assert result["images"] == 40
    assert result["largest_top1"] > 0.7  # chance is 0.33
    assert len(result["subnets"]) == 5
    assert read_vouched_json(finished.result_path, "") == result


def test_the_same_command_gives_the_same_weights(finished: RunDirectory, tmp_path: Path) -> None:
    again = start(tmp_path, "run")
    Trainer(again, quiet=True).train()
    assert_same_weights(finished, again)


# After these many checkpoints: inside an epoch, at the last step and the border of epochs and phases, inside each phase.
@pytest.mark.parametrize("saves", [3, 10, 11, 33, 34, 35, 47, 60, 69, 70])
def test_a_run_stopped_anywhere_goes_on_bit_by_bit(
    saves: int, finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path, "run", checkpoint_seconds=0)
    with killed_after(saves, monkeypatch):
        Trainer(run, quiet=True).train()
    assert not run.weights_path.exists()
    torch.rand(17)  # another global random state must not matter
    Trainer(run, quiet=True).train()
    assert_same_weights(finished, run)
    rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert len(rows) == EPOCHS
    assert [(row["phase"], row["epoch"]) for row in rows] == sorted((row["phase"], row["epoch"]) for row in rows)


@pytest.mark.parametrize("method", ["weights", "sampling"])
def test_balanced_classes_resume_bit_by_bit_and_change_the_weights(
    method: str, finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe(tmp_path)
    images = dict(np.load(tmp_path / "data.npz"))
    kept = np.flatnonzero((images["y_train"] > 0) | (np.arange(len(images["y_train"])) % 3 == 0))
    np.savez(tmp_path / "data.npz", **images | {name: images[name][kept] for name in ("x_train", "y_train")})
    path.write_text(f"balance: {{method: {method}, power: 0.5}}\n{path.read_text()}")
    recipe, space = load_recipe(path)
    runs = [RunDirectory.create(tmp_path / name, recipe, space) for name in ("whole", "stopped")]
    Trainer(runs[0], quiet=True).train()
    with killed_after(2, monkeypatch):
        Trainer(runs[1], quiet=True).train()
    Trainer(runs[1], quiet=True).train()
    assert_same_weights(*runs)
    without = RunDirectory.create(tmp_path / "without", replace(recipe, balance=BalanceConfig()), space)
    Trainer(without, quiet=True).train()
    assert not torch.equal(*(weights(run)["head.classifier.weight"] for run in (without, runs[0])))


def test_kill_9_and_the_same_command(finished: RunDirectory, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, checkpoint_seconds=0)
    command = [sys.executable, "-m", "ofa.cli.main", "train", str(recipe), "--run", str(tmp_path / "run"), "--quiet"]
    command += ["--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    latest = tmp_path / "run" / "checkpoint" / "latest.json"
    deadline = time.monotonic() + 120
    while not (latest.exists() and json.loads(latest.read_text())["position"]["phase"] >= 1):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "largest" in done.stdout
    assert_same_weights(finished, RunDirectory.open(tmp_path / "run"))


def test_sigterm_leaves_a_checkpoint_and_the_same_command_goes_on(finished: RunDirectory, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)  # whose checkpoints come only after epochs
    command = [sys.executable, "-m", "ofa.cli.main", "train", str(recipe), "--run", str(tmp_path / "run"), "--quiet"]
    command += ["--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists():
        assert process.poll() is None, "training ended before it could be terminated"
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGTERM)
    _, text = process.communicate()
    assert process.returncode == 143
    assert text.splitlines()[-1] == "ofa train: terminated; the same command resumes where it can"
    assert "Traceback" not in text
    assert (tmp_path / "run" / "checkpoint" / "latest.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_weights(finished, RunDirectory.open(tmp_path / "run"))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tmp_path, "run", checkpoint_seconds=0)

    def stop(*args: object) -> None:
        save_checkpoint(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(ofa.training.trainer, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        Trainer(run, quiet=True).train()
    file = next(run.checkpoint_folder.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged: its digest is not the one in"):
        Trainer(run, quiet=True).train()
    (run.checkpoint_folder / "latest.json").write_text("{}")
    with pytest.raises(UserError, match=r"latest.json: damaged: names no checkpoint; delete .* to start over"):
        Trainer(run, quiet=True).train()
    run.weights_path.write_bytes(bytes(content[:40]))
    with pytest.raises(UserError, match=r"supernet.safetensors: not a safetensors file: "):
        run.supernet()
    run.weights_path.write_bytes(save({"a": torch.zeros(1)}))
    with pytest.raises(UserError, match=r"supernet.safetensors: not the weights of this run: .*Supernet"):
        run.supernet()


def test_a_row_that_is_not_what_was_written_is_refused(finished: RunDirectory, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    rows = MetricsLog(finished.metrics_path).rows()
    for row in rows:
        log.append(row)
    assert log.rows() == rows
    good = log.path.read_text()
    for damaged, message in (
        (good.replace('"top1_largest": 0.', '"top1_largest": 0.9', 1), "1: damaged: its content is not what was written"),
        ('{"phase": 0, "epoch": 0}\n\ufffd{\n', "2: not valid JSON .* remove the line to continue without that row"),
        ("{}\n", "1: not an epoch's row; remove the line to continue without that row"),
        ('{"phase": "0", "epoch": 0}\n', "1: not an epoch's row; remove the line"),
        (good.splitlines(keepends=True)[0] + good, "2: an epoch's row is there twice, or out of order; remove the line"),
    ):
        log.path.write_text(damaged)
        with pytest.raises(UserError, match=f"metrics.jsonl:{message}"):
            log.rows()
    log.path.write_text("".join(json.dumps(row) + "\n" for row in rows))  # as versions before 0.2 wrote them
    assert log.rows() == rows
    log.keep_before(1, 0)
    assert log.rows() == [row for row in rows if row["phase"] == 0]
    assert all("sha256" in json.loads(line) for line in log.path.read_text().splitlines())


def test_a_crash_between_two_checkpoints_of_one_position_leaves_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Checkpoint(Position(0, 5), {"steps": n}, {"a": torch.full((2,), n)}) for n in (5, 0))
    save_checkpoint(tmp_path, first)

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ofa.training.checkpoint, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, second)
    found = load_checkpoint(tmp_path, torch.device("cpu"))
    assert found is not None
    assert found.progress == {"steps": 5}
    save_checkpoint(tmp_path, second)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_two_saves_at_once_leave_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no lock holds, as on some network file systems: one saves as a whole while another is between its two files."""

    def checkpoint(step: int) -> Checkpoint:
        return Checkpoint(Position(0, step), {"steps": step}, {"x": torch.full((2,), float(step))})

    write, nested = ofa.training.checkpoint.write_json, [True]

    def between(path: Path, data: object) -> None:
        if nested:
            nested.clear()
            save_checkpoint(tmp_path, checkpoint(7))
        write(path, data)

    monkeypatch.setattr(ofa.training.checkpoint, "write_json", between)
    save_checkpoint(tmp_path, checkpoint(8))
    found = load_checkpoint(tmp_path, torch.device("cpu"))
    assert found is not None
    assert found.position == Position(0, 8)
    remove_strays(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert load_checkpoint(tmp_path, torch.device("cpu")) is not None


def test_nobody_reads_the_teacher_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange by NCCL lets the host go on, so only a message makes the others wait for the first one."""
    done: list[str] = []

    class Noted(World):
        def wait(self) -> None:
            done.append("wait")

    def stop(*args: object) -> None:
        done.append("read")
        raise KeyboardInterrupt

    monkeypatch.setattr(ofa.training.trainer, "save_weights", lambda *args: done.append("write"))
    monkeypatch.setattr(ofa.training.trainer, "load_teacher", stop)
    with pytest.raises(KeyboardInterrupt):
        Trainer(start(tmp_path, "run"), quiet=True, world=Noted()).train()
    assert done == ["write", "wait", "read"]


def test_energy_is_that_of_the_device_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []

    class Noted(EnergyMeter):
        def __init__(self, device: str, **options: Any) -> None:
            super().__init__(device, **options)
            devices.append(device)

    monkeypatch.setattr(ofa.energy.choice, "EnergyMeter", Noted)
    Trainer(start(tmp_path, "run"), "cpu:0", quiet=True)
    assert devices == ["cpu:0"]  # of several GPUs the second would be cuda:1


def test_a_late_reading_waits_on_the_queue_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on that of the current device, where the copy may not be."""
    queues: list[object] = []
    value = Mock(device=torch.device("cuda:1"))
    monkeypatch.setattr(torch.cuda, "Event", lambda: Mock(record=lambda queue=None: queues.append(queue)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"queue of {device}")
    assert LateReading().exchange(value) is None
    assert queues == ["queue of cuda:1"]


def test_training_that_diverges_says_so(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text().replace("optimiser: {clip_norm: 1.0}\n", "").replace("peak_lr: 0.1", "peak_lr: 1e30"))
    run = RunDirectory.create(tmp_path / "run", *load_recipe(path))
    with pytest.raises(UserError, match=r"phase largest, epoch 1: the loss is nan: training has diverged; lower peak_lr"):
        Trainer(run, quiet=True).train()


def test_another_recipe_in_the_same_folder_is_refused(finished: RunDirectory, tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text().replace("peak_lr: 0.1", "peak_lr: 0.2"))
    recipe, space = load_recipe(path)
    with pytest.raises(UserError, match="holds a run with another recipe"):
        RunDirectory.create(finished.path, recipe, space)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    recipe, space = load_recipe(write_recipe(tmp_path))
    with pytest.raises(UserError, match="exists and is no run directory"):
        RunDirectory.create(tmp_path, recipe, space)
    with pytest.raises(UserError, match="no run directory"):
        RunDirectory.open(tmp_path / "nothing")
    RunDirectory.create(tmp_path / "begun", recipe, space)
    with pytest.raises(UserError, match="training is not finished"):
        RunDirectory.open(tmp_path / "begun")


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text().replace("batch_size: 20", "batch_size: 500"))
    recipe, space = load_recipe(path)
    run = RunDirectory.create(tmp_path / "run", recipe, space)
    with pytest.raises(UserError, match="batch_size 500 is more than the 200 training images"):
        Trainer(run, quiet=True)


def test_weight_decay_spares_norms_biases_and_transforms(finished: RunDirectory) -> None:
    net = finished.supernet()
    groups = make_optimiser(net, finished.recipe.optimiser).param_groups
    spared = {id(parameter) for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}
    names = {name for name, parameter in net.named_parameters() if id(parameter) in spared}
    assert any("transform_5to3" in name for name in names)
    assert any(name.endswith("norm.weight") for name in names)
    assert any(name.endswith(".bias") for name in names)
    assert not any(name.endswith("conv.weight") for name in names)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_progress_in_a_file_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(1000, 0)
    for _ in range(1000):
        progress.step("all", 0, 1, 0.5)
    progress.close()
    shown = capsys.readouterr().err
    assert 1 <= shown.count("step/s") <= 3
    assert "1000/1000" in shown
