"""Measuring this machine on a tiny space, with few runs; and what becomes of times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from latency_tables import load_platform
from latency_tables.costs.factors import ShapeGrid
from latency_tables.on_device import timing
from latency_tables.on_device.litert_runtime import LitertRuntime
from latency_tables.on_device.ort_runtime import OrtRuntime
from latency_tables.on_device.results import read
from latency_tables.on_device.timing import VISITS, Item
from latency_tables.profiling.plan import Settings, SpacePlan
from latency_tables.profiling.profile import ProfileTarget, profile
from latency_tables.profiling.torch_runtime import TorchRuntime
from ofa.cli.main import main
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import EnergyReading
from ofa.space.search_space import SearchSpace, load_space
from tests.space_toys import PROFILED

FEW = Settings(runs=5, fit_networks=2, test_networks=2)

PROCESSOR_TIME = SimpleNamespace(monotonic=time.monotonic, perf_counter_ns=time.thread_time_ns)
"""The time that this thread had a processor, in place of the clock's. A block that seems faster than an empty call, as on a
busy machine, is refused; what is tested here is not that the machine is calm."""
PROFILE = """
import sys, time
from types import SimpleNamespace
from latency_tables.on_device import timing
from ofa.cli.main import main
timing.time = SimpleNamespace(monotonic=time.monotonic, perf_counter_ns=time.thread_time_ns)
sys.exit(main(sys.argv[1:]))
"""
"""A process of its own that profiles so."""

NO_LITERT = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="needs ai-edge-litert")
NO_EXECUTORCH = pytest.mark.skipif(find_spec("executorch") is None, reason="needs executorch")
RUNTIMES = [
    "torch",
    "onnxruntime",
    pytest.param("litert", marks=[pytest.mark.export, NO_LITERT]),
    pytest.param("executorch", marks=[pytest.mark.export, NO_EXECUTORCH, pytest.mark.timeout(1800)]),
]
MACHINE = {"processor": "a processor", "runtime": "a runtime", "threads": "1"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short visits, and no further ones where the machine is busy; what else runs there makes no block slower."""
    monkeypatch.setattr(timing, "MOST_RUNS", 5)
    monkeypatch.setattr(timing, "MOST_VISITS", VISITS)
    monkeypatch.setattr(timing, "time", PROCESSOR_TIME)


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(PROFILED)
    return path


@pytest.fixture
def space(space_file: Path) -> SearchSpace:
    return load_space(space_file)


# -- the command -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_ofa_profile_writes_a_platform_that_ofa_can_use(
    runtime: str, space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "here.yaml"
    arguments = ["profile", "--space", str(space_file), "--out", str(out), "--runtime", runtime, "--threads", "1"]
    assert main([*arguments, "--runs", "7", "--networks", "5", "--power-w", "12.5", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    platform = load_platform(out)
    space = load_space(space_file)
    assert (platform.name, platform.kind, platform.threads, platform.batch) == ("here", "measured", 1, 1)
    assert platform.runtime.startswith(
        {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "litert": "LiteRT", "executorch": "ExecuTorch"}[runtime]
    )
    assert platform.table is not None
    assert {block.shape for block in platform.table.blocks} == set(ShapeGrid.of(space).distinct())
    assert all(block.count + (block.rejected or 0) >= 10 for block in platform.table.blocks)  # 7 runs, in 5 visits of 2
    assert platform.table.fingerprint == space.fingerprint
    assert (platform.error.networks, platform.error.mape) == (3, summary["mape"])
    assert platform.error.within_10 == summary["within_10"]
    costs = platform.costs(space)
    genes = space.sample(10, np.random.default_rng(0))
    assert (costs.latency_ms(genes) > 0).all()
    np.testing.assert_allclose(costs.energy_mj(genes), platform.energy.power_w * costs.latency_ms(genes))  # type: ignore[union-attr, operator]
    assert list(tmp_path.glob("*.partial.csv")) == []  # removed when the platform is written


def test_ofa_profile_prints_for_people(space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "here.yml"
    arguments = ["--space", str(space_file), "--out", str(out), "--runs", "5", "--networks", "2", "--resolutions", "8"]
    assert main(["profile", *arguments, "--threads", "1"]) == 0
    assert "1 held-out networks: error" in capsys.readouterr().out
    platform = load_platform(out)
    assert platform.table is not None
    assert {op.in_size for block in platform.table.blocks for op in block.shape.main[:1]} == {8, 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out FILE is missing: where to write the platform"),
        (["--out", "x.json"], "--out is x.json; it must end in .yaml"),
        (["--out", "x.yaml", "--runs", "0"], "runs is 0; must be at least 1"),
        (["--out", "x.yaml", "--seed", "-1"], "seed is -1; must be at least 0"),
        (["--out", "x.yaml", "--threads", "0"], "threads is 0; must be at least 1"),
        (["--out", "x.yaml", "--networks", "1"], "--networks is 1; must be at least 2"),
        (["--out", "x.yaml", "--power-w", "-3"], "power_w is -3.0; must be above 0"),
        (["--out", "x.yaml", "--energy-s", "nan"], "energy_s is nan; must be at least 0 and finite"),
        (["--out", "x.yaml", "--resolutions", "9"], "resolutions has 9, which no stage of the space has"),
        (
            ["--out", "x.yaml", "--runtime", "tflite"],
            "runtime is 'tflite'; allowed are torch, onnxruntime, litert, executorch",
        ),
        (["--out", "x.yaml", "--runtime", "onnxruntime", "--device", "cuda"], "runtime onnxruntime is measured on"),
        (["--out", "x.yaml", "--runtime", "onnxruntime", "--channels-last"], "runtime onnxruntime is measured on"),
        (["--out", "x.yaml", "--runtime", "litert", "--channels-last"], "runtime litert is measured on device cpu"),
        (["--export", "x.zip", "--runtime", "torch"], "--runtime is torch; a kit measures onnxruntime or litert"),
        (["--out", "x.yaml", "--device", "cuda:77"], "--device cuda:77: this machine has"),
        (["--export", "x.zip", "--import", "y.csv"], "give --export or --import, not both"),
        (["--export", "x.tar"], "--export is x.tar; it must end in .zip"),
        (["--export", "x.zip", "--threads", "2"], "--threads has no meaning with --export"),
        (["--import", "x.csv", "--out", "x.yaml", "--runs", "2"], "--runs has no meaning with --import"),
        (["--import", "nowhere.csv", "--out", "x.yaml"], "nowhere.csv: no such file"),
    ],
)
def test_wrong_options(space_file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--space", str(space_file), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_killed_profile_goes_on(space_file: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle; the same command measures what is left, and nothing twice."""
    out = tmp_path / "here.yaml"
    command = [sys.executable, "-c", PROFILE, "profile", "--space", str(space_file), "--out", str(out)]
    command += ["--runs", "40", "--networks", "4", "--threads", "1", "--runtime", "onnxruntime", "--json"]
    partial = tmp_path / "here.yaml.partial.csv"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not partial.exists() or partial.stat().st_size < 5000:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    plan = SpacePlan.of(load_space(space_file), Settings(runs=40, fit_networks=2, test_networks=2))
    _, before, _ = read(partial, plan.timing)
    assert 0 < len(before) < VISITS * len(plan.timing.items)
    torn = partial.read_bytes()
    assert main([*command[3:], "--runtime", "torch"]) == 2  # other settings: refused, and the file stays
    assert partial.read_bytes() == torn
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not partial.exists()
    table = load_platform(out).table
    assert table is not None
    times = {block.shape: block.count + (block.rejected or 0) for block in table.blocks}
    for item, shape in plan.blocks.items():
        already = sum(len(row[4]) for row in before if row[2] == item)
        assert times[shape] >= max(already, 40)


def test_a_profile_goes_on_after_a_full_disk(space_file: Path, tmp_path: Path) -> None:
    """A process that may not make a larger file: a full disk as it sees it, in the middle of the times."""
    out, partial = tmp_path / "here.yaml", tmp_path / "here.yaml.partial.csv"
    arguments = ["profile", "--space", str(space_file), "--out", str(out), "--threads", "1"]
    arguments += ["--runs", "5", "--networks", "2"]
    full = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n{PROFILE}"
    done = subprocess.run([sys.executable, "-c", full, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ofa profile: error: {partial}: cannot be written: ")
    assert done.stderr.endswith("; free some space: the same command goes on with what is there\n")
    assert done.stderr.count("\n") == 1
    plan = SpacePlan.of(load_space(space_file), Settings(runs=5, fit_networks=1, test_networks=1))
    assert 0 < len(read(partial, plan.timing)[1]) < VISITS * len(plan.timing.items)
    assert subprocess.run([sys.executable, "-c", PROFILE, *arguments], check=False).returncode == 0
    assert load_platform(out).kind == "measured"
    assert not partial.exists()


# -- measuring -------------------------------------------------------------------------------------------------------------


def test_the_threads_of_torch_are_restored(space: SearchSpace, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    for channels_last in (False, True):
        target = ProfileTarget(threads=1, channels_last=channels_last)
        platform = profile(space, "here", FEW, target, tmp_path / f"{channels_last}.csv")
        assert torch.get_num_threads() == before
        assert platform.threads == 1
        assert platform.details["memory format"] == ("channels last" if channels_last else "contiguous")


def test_blocks_are_the_blocks_of_the_network(space: SearchSpace) -> None:
    plan = SpacePlan.of(space, FEW)
    runtime = TorchRuntime(plan.models, "cpu", 1, channels_last=False, seed=0)
    with torch.inference_mode():
        for name, shape in plan.blocks.items():
            item, last = plan.timing.items[name], shape.main[-1]
            size = (2, last.out_channels) if shape.kind == "head" else (2, last.out_channels, last.out_size, last.out_size)
            assert runtime.open(item)(runtime.feed(item, 2)).shape == size


def test_onnx_runtime_gives_the_output_of_its_input() -> None:
    """Its calls bind input and output once; another input must still be computed."""
    from latency_tables.on_device.timing import Item
    from ofa.deploy.formats.onnx_graph import build_empty

    runtime = OrtRuntime(lambda _: build_empty(1).SerializeToString(), 1, 0)
    call = runtime.open(Item("empty", 1, 1))
    for _ in range(3):
        x = runtime.feed(Item("empty", 1, 1), 1)
        for _ in range(2):
            assert call(x).numpy() == x.numpy()


def test_a_missing_onnx_runtime_is_named(
    space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["profile", "--space", str(space_file), "--out", str(tmp_path / "x.yaml"), "--runtime", "onnxruntime"]) == 2
    assert "the package onnxruntime is not installed; install it with: pip install onnxruntime" in capsys.readouterr().err


def test_a_profile_that_fails_its_check_says_so(
    space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("latency_tables.cost_models.uncertainty.ACCEPTED_MAPE", -1.0)
    out = tmp_path / "bad.yaml"
    assert main(["profile", "--space", str(space_file), "--out", str(out), "--runs", "5", "--networks", "2"]) == 0
    assert "ofa profile: warning: latency: FAILS its own check" in capsys.readouterr().err
    assert load_platform(out).error.note.startswith("FAILS its own check")


# -- energy ----------------------------------------------------------------------------------------------------------------


def test_a_counter_makes_the_energy_of_a_profile(space: SearchSpace, tmp_path: Path) -> None:
    devices = []

    class Counted(EnergyMeter):
        available = True  # type: ignore[assignment]

        def __init__(self, device: str, **options: Any) -> None:
            super().__init__(device, **options)
            devices.append(device)

        def stop(self) -> EnergyReading:
            return EnergyReading(7.0, 2.0, "a fake counter")

    for energy_s in (0.0, 0.001):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ofa.energy.choice.EnergyMeter", Counted)
            target = ProfileTarget(threads=1, energy_s=energy_s, device="auto")
            platform = profile(space, "here", FEW, target, tmp_path / f"{energy_s}.csv")
        assert devices.pop() == platform.details["device"]  # the one that was chosen
        assert platform.energy is not None
        assert platform.table is not None
        if energy_s:
            assert "each block and network repeated for 0.001 s" in platform.energy.source
            assert all(block.energy_mj is not None for block in platform.table.blocks)
            assert platform.energy.error is not None
            assert platform.energy.error.mape == platform.error.mape  # the power is constant
        else:
            assert platform.energy.power_w == 3.5
        genes = space.sample(3, np.random.default_rng(0))
        costs = platform.costs(space)
        np.testing.assert_allclose(costs.energy_mj(genes), 3.5 * costs.latency_ms(genes), rtol=1e-3)


# -- CUDA ------------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_cuda_device_is_timed_with_events(space: SearchSpace, tmp_path: Path) -> None:
    platform = profile(space, "gpu", FEW, ProfileTarget(device="cuda", energy_s=0.05), tmp_path / "gpu.csv")
    assert platform.device == torch.cuda.get_device_name()
    assert platform.table is not None
    assert all(0 < block.median_ms < 50 for block in platform.table.blocks)
    runtime = TorchRuntime({"m": ()}, "cuda", None, channels_last=False, seed=0)
    big = torch.randn(4096, 4096, device="cuda")
    (times_ms,) = runtime.time([lambda x: x @ x @ x @ x], big, 5).times_ms
    assert min(times_ms) > 1.0  # three products of 137 GFLOP each: not just the launches


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_any_batch_with_any_runtime(space_file: Path, tmp_path: Path, batch: int, runtime: str) -> None:
    """The graph of the empty call had batch 1 built in: a traceback with any other."""
    out = tmp_path / "here.yaml"
    options = ["--runs", "5", "--networks", "2", "--threads", "1", "--batch", str(batch), "--runtime", runtime]
    assert main(["profile", "--space", str(space_file), "--out", str(out), *options, "--json"]) == 0
    assert load_platform(out).batch == batch


@pytest.mark.export
@NO_LITERT
def test_an_error_of_litert_is_one_line() -> None:
    runtime = LitertRuntime(lambda _: b"no model", None, 0)
    with pytest.raises(ValueError, match=r"LiteRT: .*") as caught:
        runtime.open(Item("a", 1, 4))
    assert "\n" not in str(caught.value)


def test_an_error_of_onnx_runtime_is_one_line() -> None:
    runtime = OrtRuntime(lambda _: b"no graph", 1, 0)
    with pytest.raises(ValueError, match=r"ONNX Runtime: .*") as caught:
        runtime.open(Item("a", 1, 4))
    assert "\n" not in str(caught.value)
