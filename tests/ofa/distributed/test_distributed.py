"""Several processes train as one does: the same weights, one voice, a clean end when one dies, and any number goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ofa import UserError
from ofa.cli.main import main
from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.augment.mixup import MixConfig, mix
from ofa.data.augment.rand_augment import RandAugmentConfig
from ofa.data.balance import BalanceConfig
from ofa.data.batches import load_data
from ofa.data.config import DataConfig
from ofa.distributed import draws
from ofa.distributed.devices import choose_device
from ofa.distributed.draws import for_share
from ofa.distributed.world import ALONE, ITEMS_PER_ROUND, Share, World, join
from ofa.nets.elastic_layers import ElasticNorm
from ofa.training.synchronised_norm import SynchronisedNorm, synchronise_norms
from tests.tiny import write_recipe

OPTIONS = """
synchronise_norms: true
drop_connect: 0.2
average_decay: 0.9
mix: {mixup: 0.2, cutmix: 1.0}
balance: {method: weights}
"""
TOLERANCE = 1e-5
"""After 60 steps: a sum over a batch in two parts rounds differently (measured: 3e-6)."""


def write_options(folder: Path, checkpoint_seconds: float = 1e9) -> Path:
    """The tiny recipe with everything on that depends on the whole batch."""
    path = write_recipe(folder, checkpoint_seconds)
    path.write_text(OPTIONS + path.read_text())
    return path


@dataclass
class Started:
    """A process, and the files of what it prints."""

    process: BaseProcess
    out: Path
    err: Path

    def end(self, seconds: float = 60) -> int | None:
        self.process.join(seconds)
        assert self.process.exitcode is not None
        return self.process.exitcode


def start(folder: Path, *words: str, ranks: int = 2) -> list[Started]:
    """`ofa WORDS` in processes as torchrun starts them, forked off to save the imports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = []
    for rank in range(ranks):
        out, err = folder / f"out{rank}", folder / f"err{rank}"
        arguments = [*words, "--device", "cpu", "--json"]
        place = places | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = multiprocessing.get_context("fork").Process(target=run_main, args=(arguments, place, out, err))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .*is multi-threaded, use of fork", DeprecationWarning)
            process.start()
        started.append(Started(process, out, err))
    return started


def run_main(arguments: list[str], place: dict[str, str], out: Path, err: Path) -> None:
    os.environ.update(place)
    with out.open("w") as printed, err.open("w") as told, redirect_stdout(printed), redirect_stderr(told):
        sys.exit(main(arguments))


def write_folder(folder: Path) -> None:
    """Image files of two sizes, which are not kept in memory."""
    rng = np.random.default_rng(0)
    for label in "ab":
        place = folder / "train" / label
        place.mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (20, 20 + number % 2), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")


def difference(one: Path, other: Path) -> float:
    """The largest over all weights and statistics, relative to each tensor's largest value, or 0.05 where that is less.

    (A few biases only ever hold the rounding error of a gradient that is 0 in theory.)
    """
    left, right = (load_file(run / "supernet.safetensors") for run in (one, other))
    assert left.keys() == right.keys()
    scales = {name: max(0.05, float(value.abs().max())) for name, value in left.items()}
    return max(float((left[name] - right[name]).abs().max()) / scales[name] for name in left)


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    assert main(["train", str(write_options(folder)), "--run", str(folder / "run"), "--device", "cpu", "--json"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes."""
    folder = tmp_path_factory.mktemp("pair")
    for process in start(folder, "train", str(write_options(folder)), "--run", str(folder / "run")):
        assert process.end() == 0, process.err.read_text()
    return folder


def test_two_processes_give_the_weights_of_one(single: Path, pair: Path) -> None:
    assert difference(single, pair / "run") < TOLERANCE


def test_two_processes_log_what_one_does(single: Path, pair: Path) -> None:
    assert len(rows(pair / "run")) == len(rows(single)) == 6
    for one, other in zip(rows(single), rows(pair / "run"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        for name in ("phase", "epoch", "learning_rate"):
            assert other[name] == one[name]
    assert (pair / "out1").read_text() == ""  # one reports
    result = json.loads((pair / "out0").read_text())
    expected = json.loads((single / "result.json").read_text())
    assert [row["genes"] for row in result["subnets"]] == [row["genes"] for row in expected["subnets"]]
    top1, expected_top1 = ([row["top1"] for row in found["subnets"]] for found in (result, expected))
    assert top1 == pytest.approx(expected_top1, abs=0.051)  # 40 images: two may fall on the other side


def test_each_process_has_a_ledger(single: Path, pair: Path) -> None:
    names = [path.name for path in sorted((pair / "run" / "energy").iterdir())]
    assert names == ["result-0.json", "result-1.json", "train-0.json", "train-1.json"]
    spent = [json.loads((run / "energy" / "train-0.json").read_text())["spent"] for run in (single, pair / "run")]
    assert set(spent[0]) == set(spent[1]) == {"training", "evaluation", "checkpoint"}
    second = json.loads((pair / "run" / "energy" / "train-1.json").read_text())
    assert second["sources"] == ["counted by another process"]
    assert second["missing"] == []
    seconds = json.loads((pair / "run" / "result.json").read_text())["train_spent"]["training"]["seconds"]
    assert seconds == spent[1]["training"]["seconds"]  # that of the second passes meanwhile


def test_a_killed_process_ends_the_other_cleanly_and_any_number_goes_on(single: Path, tmp_path: Path) -> None:
    recipe, run = write_options(tmp_path, checkpoint_seconds=0), tmp_path / "run"
    first, second = start(tmp_path, "train", str(recipe), "--run", str(run))
    latest = run / "checkpoint" / "latest.json"
    deadline = time.monotonic() + 120
    while not (latest.exists() and json.loads(latest.read_text())["position"]["phase"] >= 1):
        assert first.process.is_alive(), "training ended before a process could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second.process.kill()
    assert first.end() == 2
    told = first.err.read_text().splitlines()
    assert len(told) == 1
    assert "ofa train: error: process 0 of 2 lost contact with another" in told[0]
    assert "the same command resumes at the last checkpoint" in told[0]
    before = rows(run)
    assert main(["train", str(recipe), "--run", str(run), "--device", "cpu", "--json"]) == 0  # now one process
    assert rows(run)[: len(before)] == before
    assert len(rows(run)) == 6
    assert difference(single, run) < TOLERANCE


@pytest.mark.parametrize("asked", [[0, 1], [1], [0]])
def test_sigterm_of_any_process_ends_all_after_one_checkpoint(asked: list[int], single: Path, tmp_path: Path) -> None:
    recipe, run = write_options(tmp_path), tmp_path / "run"  # whose checkpoints come only after epochs
    pair = start(tmp_path, "train", str(recipe), "--run", str(run))
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists():
        assert pair[0].process.is_alive(), "training ended before it could be terminated"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for rank in asked:
        pid = pair[rank].process.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
    assert [process.end() for process in pair] == [143, 143]
    told = pair[0].err.read_text().splitlines()
    assert [line for line in told if not line.startswith(str(tmp_path))] == [
        "ofa train: terminated; the same command resumes where it can"
    ]
    assert pair[1].err.read_text() == ""
    position = json.loads((run / "checkpoint" / "latest.json").read_text())["position"]
    assert (position["phase"], position["step"]) > (0, 0)
    assert not (run / "supernet.safetensors").exists()
    assert [process.end() for process in start(tmp_path, "train", str(recipe), "--run", str(run))] == [0, 0]
    assert difference(single, run) < TOLERANCE


def test_two_processes_hold_one_lock_and_others_are_told_once(single: Path, tmp_path: Path) -> None:
    recipe, run = write_options(tmp_path, checkpoint_seconds=0), tmp_path / "run"
    (tmp_path / "others").mkdir()
    pair = start(tmp_path, "train", str(recipe), "--run", str(run))
    latest = run / "checkpoint" / "latest.json"
    deadline = time.monotonic() + 120
    while not latest.exists():
        assert pair[0].process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first, second = start(tmp_path / "others", "train", str(recipe), "--run", str(run))
    assert (first.end(), second.end()) == (2, 2)
    told = first.err.read_text()
    assert told.startswith(f"ofa train: error: {run}: process {pair[0].process.pid} on {socket.gethostname()} (")
    assert told.count("\n") == 1
    assert second.err.read_text() == ""
    assert [process.end() for process in pair] == [0, 0]
    assert difference(single, run) < TOLERANCE


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace("batch_size: 20\nlr", "batch_size: 21\nlr"))
    first, second = start(tmp_path, "train", str(recipe), "--run", str(tmp_path / "run"))
    assert (first.end(), second.end()) == (2, 2)
    message = "ofa train: error: batch_size 21 does not divide by the 2 processes; it is the batch of all together\n"
    assert first.err.read_text() == message
    assert second.err.read_text() == ""


def test_two_processes_measure_what_one_does(single: Path, tmp_path: Path) -> None:
    found, runs = [], [tmp_path / "one" / "run", tmp_path / "two" / "run"]
    for run in runs:
        shutil.copytree(single, run)
    options = ["--samples", "20", "--kind", "ridge"]
    assert main(["predictor", str(runs[0]), *options, "--device", "cpu", "--json"]) == 0
    first, second = start(tmp_path, "predictor", str(runs[1]), *options)
    assert (first.end(), second.end()) == (0, 0), first.err.read_text() + second.err.read_text()
    assert json.loads(first.out.read_text())["measured_now"] == 20
    assert second.out.read_text() == ""
    for run in runs:
        lines = (run / "predictor" / "measurements.jsonl").read_text().splitlines()
        found.append([(entry["genes"], entry["correct"]) for entry in map(json.loads, lines)])
    assert found[0] == found[1]
    assert len(found[0]) == 20


def test_two_processes_evaluate_what_one_does(single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(single), "--subnet", "largest", "--random", "4"]
    assert main([*words, "--device", "cpu", "--json"]) == 0
    first, second = start(tmp_path, *words)
    assert (first.end(), second.end()) == (0, 0)
    assert json.loads(first.out.read_text()) == json.loads(capsys.readouterr().out)
    assert second.out.read_text() == ""
    first, second = start(tmp_path, *words, "--split", "tomorrow")
    assert (first.end(), second.end()) == (2, 2)
    assert "has no split 'tomorrow'" in first.err.read_text()
    assert second.err.read_text() == ""


LAUNCH = ["--standalone", "--nproc-per-node", "2", "-m", "--"]
"""Of torchrun; without the two dashes it takes `--run` for an option of its own."""


def test_the_launch_line_means_what_it_says() -> None:
    from torch.distributed.run import parse_args

    parsed = parse_args([*LAUNCH, "ofa", "train", "demo", "--run", "runs/demo"])
    assert (parsed.module, parsed.training_script) == (True, "ofa")
    assert parsed.training_script_args == ["train", "demo", "--run", "runs/demo"]


@pytest.mark.slow
def test_torchrun_trains(single: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", *LAUNCH, "ofa"]
    arguments = ["train", str(write_options(tmp_path)), "--run", str(tmp_path / "run"), "--device", "cpu", "--json"]
    done = subprocess.run([*torchrun, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 40
    assert difference(single, tmp_path / "run") < TOLERANCE


@pytest.mark.slow
def test_torchrun_that_is_terminated_leaves_a_checkpoint(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", *LAUNCH, "ofa"]
    arguments = ["train", str(write_options(tmp_path)), "--run", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    process = subprocess.Popen([*torchrun, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    _, text = process.communicate()
    assert text.count("ofa train: terminated; the same command resumes where it can") == 1
    assert (tmp_path / "run" / "checkpoint" / "latest.json").exists()


# -- threads in place of processes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Threaded(World):
    """A world whose members are threads that meet at a barrier."""

    board: list[Any] = field(default_factory=list)
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def gather(self, value: Any) -> list[Any]:
        self.board[self.rank] = value
        self.barrier.wait(10)
        values = list(self.board)
        self.barrier.wait(10)
        return values

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def stack(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack(self.gather(tensor))


def together(function: Callable[[World], Any], size: int) -> list[Any]:
    board: list[Any] = [None] * size
    barrier = threading.Barrier(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(function, [Threaded(rank, size, board=board, barrier=barrier) for rank in range(size)]))


def test_map_shares_the_work_and_keeps_the_order() -> None:
    items = list(range(3 * ITEMS_PER_ROUND + 5))

    def work(world: World) -> tuple[list[int], list[int]]:
        own: list[int] = []

        def square(item: int) -> int:
            own.append(item)
            return item**2

        return list(world.map(square, items)), own

    found = together(work, 3)
    assert all(results == [item**2 for item in items] for results, _ in found)
    assert sorted(item for _, own in found for item in own) == items
    assert max(len(own) for _, own in found) - min(len(own) for _, own in found) <= 1


def test_the_first_leads_and_the_others_follow_until_it_lets_go() -> None:
    def work(world: World) -> list[int]:
        own: list[int] = []

        def note(item: int) -> int:
            own.append(item)
            return -item

        if not world.first:
            world.follow(note)
            return own
        with world.leading():
            assert list(world.lead(note, [1, 2, 3])) == [-1, -2, -3]
            assert list(world.lead(note, [4])) == [-4]
        return own

    assert together(work, 2) == [[1, 3, 4], [2]]


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_mistake_in_the_middle_of_shared_work_ends_all(culprit: int) -> None:
    def work(world: World) -> str:
        def look(item: int) -> int:
            if item == 2 + culprit:
                raise UserError(f"image {item} is corrupt")
            return item

        try:
            if not world.first:
                world.follow(look)
                return "let go"
            with world.leading():
                list(world.lead(look, [0, 1, 2, 3]))
        except UserError as error:
            return str(error)
        return "went on"

    assert together(work, 2) == [f"image {2 + culprit} is corrupt", "let go"]


def test_a_mistake_in_the_middle_of_common_work_is_told_once() -> None:
    def work(world: World) -> str:
        def look(item: int) -> int:
            if item == 3:
                raise UserError(f"image {item} is corrupt")
            return item

        try:
            return str(list(world.map(look, [0, 1, 2, 3])))
        except UserError as error:
            return str(error)
        except SystemExit as end:
            return f"exit {end.code}"

    assert together(work, 2) == ["image 3 is corrupt", "exit 2"]


def test_what_one_does_once_is_known_to_all() -> None:
    def work(world: World) -> object:
        def look() -> str:
            assert world.first
            return "found"

        def fail() -> str:
            raise UserError("nothing there")

        found = world.once(look)
        with pytest.raises(UserError, match="nothing there"):
            world.once(fail)
        return found

    assert together(work, 3) == ["found"] * 3


def test_the_first_mistake_ends_all() -> None:
    def work(world: World) -> str:
        try:
            with world.agree():
                if world.rank > 0:
                    raise UserError(f"mistake of {world.rank}")
        except UserError as error:
            return str(error)
        except SystemExit as end:
            return f"exit {end.code}"
        return "went on"

    assert together(work, 3) == ["mistake of 1", "exit 2", "exit 2"]


def test_a_synchronised_norm_is_the_norm_of_the_whole_batch() -> None:
    torch_rng = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(12, 6, 5, 5, generator=torch_rng, dtype=torch.float64) * 3 + 2 for _ in range(2))
    plain = ElasticNorm(8).double()
    weight, bias = (torch.randn(8, generator=torch_rng, dtype=torch.float64) for _ in range(2))

    def norm() -> ElasticNorm:
        made = ElasticNorm(8).double()
        made.load_state_dict(plain.state_dict() | {"weight": weight, "bias": bias})
        return made

    def outcome(layer: torch.nn.Module, images: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
        images = images.clone().requires_grad_()
        out = layer(images)
        torch.autograd.backward(out, gradient)
        assert isinstance(layer, ElasticNorm)
        found = [out.detach(), images.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var]
        return [value for value in found if value is not None]

    def part(world: World) -> list[torch.Tensor]:
        layers = torch.nn.Sequential(norm())
        synchronise_norms(layers, world)
        assert isinstance(layers[0], SynchronisedNorm)
        return outcome(layers[0], x[world.share.of(12)], grad[world.share.of(12)])

    whole, parts = outcome(norm(), x, grad), together(part, 3)
    for place, join_parts in enumerate([torch.cat, torch.cat, sum, sum]):
        assert torch.allclose(join_parts([found[place] for found in parts]), whole[place], atol=1e-12)  # type: ignore[operator]
    for place in (4, 5):  # running statistics, the same on all
        assert all(torch.allclose(found[place], whole[place], atol=1e-12) for found in parts)


# -- one process -------------------------------------------------------------------------------------------------------


def test_alone_everything_is_what_it_is_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with join(torch.device("cpu")) as world:
        assert world is ALONE
    assert not torch.distributed.is_initialized()
    assert ALONE.gather(3) == [3]
    assert ALONE.broadcast(3) == 3
    seen: list[int] = []

    def note(item: int) -> int:
        seen.append(item)
        return -item

    results = ALONE.map(note, [1, 2, 3])
    assert next(results) == -1
    assert seen == [1]  # one after the other, as each is asked for
    with pytest.raises(UserError, match="as it was"), ALONE.agree():
        raise UserError("as it was")


def test_a_batch_that_has_no_equal_parts_is_refused() -> None:
    world = World(rank=1, size=3)
    world.check_batch(12)
    assert world.share.of(12) == slice(4, 8)
    with pytest.raises(UserError, match="batch_size 13 does not divide by the 3 processes"):
        world.check_batch(13)


@pytest.mark.parametrize("files", [False, True])
def test_parts_of_a_batch_are_what_the_whole_has(files: bool, tmp_path: Path) -> None:
    varied = AugmentConfig(
        horizontal_flip=True,
        vertical_flip=True,
        random_resized_crop=(0.3, 1.0) if files else None,
        crop_padding=0 if files else 2,
        brightness=0.3,
        contrast=0.3,
        erase_probability=0.5,
        rand_augment=RandAugmentConfig(),
    )
    if files:
        write_folder(tmp_path / "photos")
        source = tmp_path / "photos"
    else:
        write_recipe(tmp_path)
        source = tmp_path / "data.npz"
    data = load_data(DataConfig(source=str(source), augment=varied, workers=0, memory_limit_mb=0), channels=1)

    balance = BalanceConfig(method="sampling")

    def batches(share: Share) -> list[tuple[torch.Tensor, torch.Tensor]]:
        options: dict[str, Any] = {"resolution": 10, "shuffle": True, "augment": True, "drop_last": True}
        return list(data.batches("train", batch_size=12, epoch=3, seed=1, share=share, balance=balance, **options))

    parts = [batches(Share(index, 3)) for index in range(3)]
    for (images, labels), *found in zip(batches(Share()), *parts, strict=True):
        assert torch.allclose(torch.cat([part[0] for part in found]), images, atol=1e-5)  # products of another size round
        assert torch.equal(torch.cat([part[1] for part in found]), labels)
    with pytest.raises(ValueError, match="no 5 equal parts"):
        batches(Share(0, 5))


def test_dropout_and_mixing_of_parts_are_the_whole_batchs() -> None:
    x = torch.randn(12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 5
    config = MixConfig(mixup=0.5, cutmix=0.5)

    def dropped(share: Share) -> torch.Tensor:
        generator = for_share(torch.Generator().manual_seed(7), share)
        part = x[share.of(12)]
        return torch.cat([draws.keep(part.flatten(1), 0.7, generator), draws.keep(part[:, 0, 0], 0.5, generator)], 1)

    shares = [Share(index, 3) for index in range(3)]
    assert torch.equal(torch.cat([dropped(share) for share in shares]), dropped(Share()))
    for seed in range(4):  # of both kinds
        whole = mix(x, labels, 5, config, np.random.default_rng(seed))
        parts = [mix(x[share.of(12)], labels[share.of(12)], 5, config, np.random.default_rng(seed)) for share in shares]
        for place in range(2):
            assert torch.equal(torch.cat([part[place] for part in parts]), whole[place])
        assert not torch.equal(whole[0], x)


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device("auto") == torch.device("cuda")
    assert current == []  # the first one is it already
    assert choose_device("cuda:1") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    assert current == 3 * [torch.device("cuda:1")]
    with pytest.raises(UserError, match="--device meta cannot be used here: "):
        choose_device("meta")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="--device cuda:2: this machine has 2 CUDA devices"):
        choose_device("auto")
