"""Measuring this machine on a tiny space, with few runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from latency_tables import load_platform
from latency_tables import profile as profiling
from latency_tables.factors import ShapeGrid
from latency_tables.measure import block_calls, measure
from latency_tables.profile import Settings, correction, profile
from ofa.cli.main import main
from ofa.energy import EnergyReading
from ofa.errors import UserError
from ofa.shapes import walk_blocks
from ofa.space import SearchSpace, load_space

SPACE = """\
name: tiny
block: mbconv
in_channels: 1
classes: 3
resolutions: [8, 12]
stem: {widths: [8], stride: 2}
stages:
  - {widths: [8], depths: [1, 2], kernels: [3], expands: [2, 3], se: true}
head: {width: 16}
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def space(space_file: Path) -> SearchSpace:
    return load_space(space_file)


def few(**changes: object) -> Settings:
    return Settings(**{"runs": 5, "threads": 1, "fit_networks": 2, "test_networks": 2, **changes})  # type: ignore[arg-type]


def test_ofa_profile_writes_a_platform_that_ofa_can_use(
    space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "here.yaml"
    arguments = ["profile", "--space", str(space_file), "--out", str(out), "--runs", "7", "--threads", "1"]
    assert main([*arguments, "--networks", "5", "--power-w", "12.5", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    platform = load_platform(out)
    space = load_space(space_file)
    assert (platform.name, platform.kind, platform.threads, platform.batch) == ("here", "measured", 1, 1)
    assert platform.table is not None
    assert {block.shape for block in platform.table.blocks} == set(ShapeGrid.of(space).distinct())
    assert {block.count for block in platform.table.blocks} == {10}  # 7 runs, in visits of 5
    assert platform.table.fingerprint == space.fingerprint
    assert (platform.error.networks, platform.error.mape) == (2, summary["mape"])
    assert platform.details["torch"] == torch.__version__
    costs = platform.costs(space)
    genes = space.sample(10, np.random.default_rng(0))
    assert (costs.latency_ms(genes) > 0).all()
    np.testing.assert_allclose(costs.energy_mj(genes), platform.energy.power_w * costs.latency_ms(genes))  # type: ignore[union-attr, operator]


def test_ofa_profile_prints_for_people(space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "here.yml"
    arguments = ["--space", str(space_file), "--out", str(out), "--runs", "5", "--networks", "2", "--resolutions", "8"]
    assert main(["profile", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "held out: error" in printed
    platform = load_platform(out)
    assert platform.table is not None
    assert {op.in_size for block in platform.table.blocks for op in block.shape.main[:1]} == {8, 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.json"], "--out is x.json; it must end in .yaml"),
        (["--out", "x.yaml", "--runs", "0"], "runs is 0; must be at least 1"),
        (["--out", "x.yaml", "--threads", "0"], "threads is 0; must be at least 1"),
        (["--out", "x.yaml", "--networks", "1"], "--networks is 1; must be at least 2"),
        (["--out", "x.yaml", "--power-w", "-3"], "power_w is -3.0; must be above 0"),
        (["--out", "x.yaml", "--resolutions", "9"], "resolutions has 9, which no stage of the space has"),
    ],
)
def test_wrong_options(space_file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--space", str(space_file), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_threads_of_torch_are_restored(space: SearchSpace) -> None:
    before = torch.get_num_threads()
    for channels_last in (False, True):
        platform = profile(space, "here", few(channels_last=channels_last), np.random.default_rng(0))
        assert torch.get_num_threads() == before
        assert platform.details["memory format"] == ("channels last" if channels_last else "contiguous")


def test_every_call_runs_and_is_timed(space: SearchSpace) -> None:
    counts = [0, 0, 0]

    def call(i: int) -> None:
        counts[i] += 1

    times_ms = measure([lambda i=i: call(i) for i in range(3)], 11, np.random.default_rng(0))  # type: ignore[misc]
    assert times_ms.shape == (3, 15)
    assert counts == [1 + 3 * 6] * 3  # one warm-up, then per visit one untimed and five timed runs
    assert (times_ms > 0).all()


def test_blocks_are_the_blocks_of_the_network(space: SearchSpace) -> None:
    shapes = ShapeGrid.of(space).distinct()
    calls = block_calls(shapes, 2, False, np.random.default_rng(0))
    with torch.inference_mode():
        for shape, call in zip(shapes, calls, strict=True):
            last = shape.main[-1]
            size = (2, last.out_channels) if shape.kind == "head" else (2, last.out_channels, last.out_size, last.out_size)
            assert call().shape == size


def test_correction_recovers_intercept_and_factor() -> None:
    sums_ms = np.array([1.0, 2.0, 3.0, 5.0])
    assert correction(sums_ms, 0.3 + 1.2 * sums_ms, 0.5) == pytest.approx((0.3, 1.2))
    assert correction(sums_ms, -0.1 + 1.2 * sums_ms, 0.5) == pytest.approx((-0.1, 1.2))


def test_correction_that_cannot_be_told_is_the_factor_alone() -> None:
    assert correction(np.full(5, 2.0), np.full(5, 3.0), 1.0) == pytest.approx((0.0, 1.5))  # sums all alike
    sums_ms = np.array([1.0, 2.0, 3.0])
    backwards = np.array([3.0, 2.0, 1.0])
    assert correction(sums_ms, backwards, 1.0) == pytest.approx((0.0, np.mean(backwards / sums_ms)))
    steep = -0.9 + 2 * sums_ms  # would be negative for the smallest subnet
    assert correction(sums_ms, steep, 0.3) == pytest.approx((0.0, np.mean(steep / sums_ms)))


def test_held_out_error_and_a_profile_that_fails_its_check() -> None:
    whole = np.array([1.0, 2.0, 3.0, 4.0])
    report = profiling._report(whole * 1.05, whole)
    assert report.mape == pytest.approx(0.05)
    assert report.spearman == pytest.approx(1.0)
    assert "FAILS" not in report.note
    assert profiling._report(whole * 1.5, whole).note.startswith("FAILS its own check")


def test_energy_is_measured_given_or_modelled_and_says_which(space: SearchSpace) -> None:
    counter = profiling._energy(Settings(), EnergyReading(30.0, 2.0, "RAPL package-0"))
    assert counter.power_w == 15.0
    assert "RAPL package-0" in counter.source
    nothing = EnergyReading(None, 2.0, "no energy counter is readable: none")
    given = profiling._energy(Settings(power_w=9.0), nothing)
    assert given.power_w == 9.0
    assert "given by the user" in given.source
    modelled = profiling._energy(Settings(), nothing)
    assert modelled.power_w is None
    assert "modelled, a lower bound" in modelled.source
    block = next(walk_blocks(space, space.largest()))
    (op,) = block.main
    activations = 4 * (1 * 12**2 + 8 * 6**2)
    expected = 4.6 * op.macs + 244 * 4 * (9 * 8 + 8) + 12.5 * activations
    assert modelled.ops_mj(block, "fp32", 1) == pytest.approx(expected * 1e-9)


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="batch is 0; must be at least 1"):
        Settings(batch=0)
    with pytest.raises(UserError, match="power_w is inf; must be above 0 and finite"):
        Settings(power_w=float("inf"))
