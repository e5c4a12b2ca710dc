"""Energy of a device without a counter: recordings become a calibrated platform, or the power of a measured one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from latency_tables import load_platform
from latency_tables.cost_models.op_model import LatencyModel, OpTime
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.platform import Platform
from ofa.cli.main import main
from ofa.deploy.subnet_directory import save_subnet
from ofa.space.search_space import load_space
from tests.tiny import SPACE as TINY
from tests.verbs import error, ofa

WATTS = 0.05
SPACE = load_space("fmnist")
MCU = Platform(
    name="truth",
    device="none",
    runtime="none",
    precision="fp32",
    kind="modelled",
    description="a test",
    source="made up",
    licence="MIT",
    error=ErrorReport(note="made up"),
    latency=LatencyModel(ops={"default": OpTime(ms_per_mmac=20.0, ms_per_weight_mb=5.0, overhead_ms=0.1)}),
)


def record(path: Path, seconds: float, watts: float = WATTS, inferences: int = 3) -> Path:
    """A PPK2's recording at 3 V: each inference takes `seconds`, with D0 high, and as much rest after it, at 1 mW."""
    step_ms, lines = 1000 * seconds / 50, ["Timestamp(ms),Current(uA),D0-D7"]
    for i in range(100 * inferences + 10):
        during = i % 100 >= 10 and i % 100 < 60
        power = watts if during or i % 100 == 60 else 0.001
        lines.append(f"{i * step_ms:.6f},{1e6 * power / 3:.3f},{int(during)}0000000")
    path.write_text("\n".join(lines))
    return path


def directory(folder: Path, row: np.ndarray) -> Path:
    given = {"channels": 1, "resolution": 28, "mean": [0.5], "std": [0.5], "classes": ["a", "b"]}
    card = {"title": "a subnet", "figures": [], "input": given}
    return save_subnet(folder, SPACE, SPACE.decode(row[None])[0], None, card)


METER = ("--marker", "D0", "--volts", 3, "--boundary", "board")


def test_recordings_of_networks_make_a_platform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genes = SPACE.sample(12, np.random.default_rng(0))
    latency_ms = MCU.costs(SPACE).latency_ms(genes)
    out = tmp_path / "mcu.csv"
    for i, (row, milliseconds) in enumerate(zip(genes, latency_ms, strict=True)):
        subnet = directory(tmp_path / f"subnet-{i}", row)
        recording = record(tmp_path / "recording.csv", milliseconds / 1000)
        found = ofa(capsys, "profile", "--recording", recording, *METER, "--subnet", subnet, "--out", out)
        assert found["joules"] == pytest.approx(WATTS * milliseconds / 1000, rel=1e-3)
        assert found["seconds"] == pytest.approx(milliseconds / 1000, rel=1e-3)
        assert (found["windows"], found["networks"]) == (3, i + 1)
    again = ofa(capsys, "profile", "--recording", recording, *METER, "--subnet", subnet, "--out", out)
    assert again["networks"] == 12  # the row of the same network is replaced
    platform = tmp_path / "mcu.yaml"
    options = ("--device", "an MCU", "--runtime", "a runtime", "--precision", "fp32", "--unit", "ms")
    ofa(capsys, "calibrate", "--measurements", out, "--out", platform, *options)
    energy = load_platform(platform).energy
    assert energy is not None
    assert energy.power_w == pytest.approx(WATTS, rel=1e-3)
    assert energy.source.endswith("of 12 networks, metered with Nordic PPK2")
    assert energy.boundary == "board"
    refusal = error(capsys, "calibrate", "--measurements", out, "--out", platform, *options, "--boundary", "mains")
    assert "--boundary is mains; the measurements say board" in refusal
    assert load_platform(platform).costs(SPACE).energy_mj(genes) == pytest.approx(WATTS * latency_ms, rel=0.15)


def test_a_calibration_does_not_mix_boundaries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genes = SPACE.sample(2, np.random.default_rng(0))
    subnets = [directory(tmp_path / f"subnet-{i}", row) for i, row in enumerate(genes)]
    recording, out = record(tmp_path / "recording.csv", 0.01), tmp_path / "mcu.csv"
    words = ("profile", "--recording", recording, "--out", out)
    ofa(capsys, *words, *METER, "--subnet", subnets[0])
    refusal = error(capsys, *words, *METER[:-1], "core rail", "--subnet", subnets[1])
    assert "mcu.csv: holds energies at the boundary 'board'; this one is at 'core rail': write it to another file" in refusal
    refusal = error(capsys, *words, *METER, "--idle-w", 0.001, "--subnet", subnets[1])
    assert "this one is at 'board minus idle'" in refusal
    assert out.read_text().count("\n") == 2
    rows = out.read_text().splitlines()
    genes = SPACE.sample(12, np.random.default_rng(1))
    lines = [rows[0]]
    for subnet, milliseconds in zip(SPACE.decode(genes), MCU.costs(SPACE).latency_ms(genes), strict=True):
        architecture = json.dumps(subnet.to_dict()).replace('"', '""')
        boundary = "board" if len(lines) < 6 else "module"
        lines.append(f'fmnist,"{architecture}",,{milliseconds:g},{0.05 * milliseconds:g},PPK2,{boundary}')
    out.write_text("\n".join(lines))
    options = ("--device", "an MCU", "--runtime", "a runtime", "--precision", "fp32", "--unit", "ms")
    refusal = error(capsys, "calibrate", "--measurements", out, "--out", tmp_path / "mcu.yaml", *options)
    assert "mcu.csv:7: boundary is 'module';" in refusal
    assert "mcu.csv:2 has 'board': a platform's energies are measured at one boundary" in refusal


def test_the_power_of_a_measured_platform_is_that_of_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY.replace("resolutions: [8, 12]", "resolutions: [8]"))
    out = tmp_path / "here.yaml"
    words = ("profile", "--space", space, "--out", out, "--threads", 1, "--runs", 5, "--networks", 2)
    ofa(capsys, *words, "--recording", record(tmp_path / "recording.csv", 0.01), *METER)
    energy = yaml.safe_load(out.read_text())["energy"]
    assert energy["power_w"] == pytest.approx(WATTS, rel=1e-3)
    assert energy["boundary"] == "board"
    assert energy["source"].startswith("power x time; power: 0.05 W, metered: Nordic PPK2 (recording.csv")
    assert "boundary: board; 3 windows in which D0 is high, 1 inference each; idle power included" in energy["source"]


def test_a_recording_alone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = record(tmp_path / "recording.csv", 0.01)
    found = ofa(capsys, "profile", "--recording", recording, *METER)
    assert found["joules"] == pytest.approx(WATTS * 0.01, rel=1e-3)
    assert main([*map(str, ("profile", "--recording", recording, *METER))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.5 \N{PLUS-MINUS SIGN}")
    assert lines[0].endswith(" mJ and 10 ms per inference, 50 mW")
    assert lines[1] == found["source"]
    refusal = error(capsys, "profile", "--recording", recording, *METER, "--out", "x.yaml")
    assert "--out has no meaning with --recording without --subnet or --space" in refusal


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = record(tmp_path / "recording.csv", 0.01)
    subnet, out = directory(tmp_path / "subnet", SPACE.sample(1, np.random.default_rng(0))[0]), tmp_path / "mcu.csv"
    for words, message in (
        ((), "--space SPACE is missing"),
        (("--subnet", subnet, "--out", out), "needs --recording FILE"),
        (("--subnet", subnet, "--recording", recording), "--out FILE is missing: where to write the measurement"),
        (("--subnet", subnet, "--recording", recording, "--out", "x.yaml"), "it must end in .csv"),
        (("--subnet", subnet, "--recording", recording, "--out", out), "needs --boundary: what the meter feeds"),
        (("--subnet", subnet, "--recording", recording, "--out", out, "--boundary", "board"), "no window: give --marker D0"),
        (("--subnet", subnet, "--recording", recording, "--out", out, "--space", "fmnist"), "--space has no meaning with"),
        (("--subnet", subnet, "--out", out, "--marker", "D0"), "--marker says what a recording means; give --recording"),
        (("--space", "fmnist", "--out", "x.yaml", "--volts", 3), "--volts says what a recording means"),
        (
            ("--space", "fmnist", "--out", "x.yaml", "--recording", recording, "--power-w", 1),
            "--power-w has no meaning with",
        ),
        (("--space", "fmnist", "--export", "x.zip", "--recording", recording), "--recording has no meaning with --export"),
        (
            ("--subnet", subnet, "--recording", recording, *METER, "--out", out, "--window", "1-2"),
            "--window is '1-2'; expected",
        ),
        (
            ("--subnet", subnet, "--recording", recording, "--out", out, "--boundary", "b", "--marker", "D0"),
            ":1: has a current",
        ),
        (("--subnet", tmp_path, "--recording", recording, *METER, "--out", out), "subnet.json"),
    ):
        assert message in error(capsys, "profile", *words)
    out.write_text("space,latency\nfmnist,3\n")
    refusal = error(capsys, "profile", "--subnet", subnet, "--recording", recording, *METER, "--out", out)
    assert "mcu.csv:1: unknown column 'latency'" in refusal
