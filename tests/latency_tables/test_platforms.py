"""Every platform that ships behaves alike; files round-trip; mistakes are named with their place."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform, platform_names, save_platform
from latency_tables.catalogue import platform_yaml
from latency_tables.cost_models.block_table import describe, op_from_list, op_to_list
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.costs.factors import ShapeGrid
from ofa.cli.main import main
from ofa.errors import UserError
from ofa.space.ops import conv
from ofa.space.search_space import load_space
from ofa.space.shapes import BlockShape, OpShape, macs, walk_blocks
from tests.platform_toys import MINIMAL, measured, small_space, write

# -- conformance -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", platform_names())
def test_a_shipped_platform_is_complete_and_says_where_it_is_from(name: str, tmp_path: Path) -> None:
    platform = load_platform(name)
    assert platform.name == name
    for text in (platform.device, platform.runtime, platform.description, platform.source, platform.licence):
        assert text
    assert platform.error.note
    assert platform.kind == "modelled" or platform.error.mape is not None
    space = load_space(platform.table.space if platform.table else "mbv3-w1.2")
    space = space.restrict(resolutions=[space.resolutions[0], space.resolutions[-1]])
    costs = platform.costs(space)
    genes = np.stack([0 * space.levels, space.levels - 1])  # smallest and largest
    for metric in costs.metrics:
        small, large = costs.of(metric, genes)
        assert 0 < small < large, metric
    save_platform(platform, tmp_path / "copy.yaml")
    assert load_platform(tmp_path / "copy.yaml") == platform


@pytest.mark.parametrize("name", platform_names())
def test_a_shipped_model_knows_every_shipped_space(name: str) -> None:
    platform = load_platform(name)
    if platform.table is not None:
        with pytest.raises(UserError, match="was not measured"):
            platform.costs(load_space("resnet50")).latency_ms(np.zeros((1, 1)))
        return
    for space in map(load_space, ("fmnist", "mbv3-w1.0", "proxyless-w1.3", "resnet50")):
        space = space.restrict(resolutions=[space.resolutions[0], space.resolutions[-1]])
        genes = space.sample(20, np.random.default_rng(0))
        costs = platform.costs(space)
        assert (costs.latency_ms(genes) > 0).all()
        assert "energy_mj" not in costs.metrics or (costs.energy_mj(genes) > 0).all()


def test_no_torch_is_imported() -> None:
    code = "import sys, latency_tables as t; t.load_platform('edge-int8'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_eyeriss_like_meets_the_published_figure_of_mobilenet() -> None:
    # Eyeriss v2 (JETCAS 2019): 1470.6 inferences/s and 2560.3 inferences/J, 12.6 and 2.5 times the original Eyeriss.
    ops = [conv(3, 16, 3, 128, 2, "relu")]  # MobileNet (Howard et al., 2017), width 0.5
    strides = {64: (1,), 128: (2, 1), 256: (2, 1), 512: (2, 1, 1, 1, 1, 1), 1024: (2, 1)}
    for width, stride in ((width // 2, stride) for width, each in strides.items() for stride in each):
        channels, size = ops[-1].out_channels, ops[-1].out_size
        ops.append(conv(channels, channels, 3, size, stride, "relu", groups=channels))
        ops.append(conv(channels, width, 1, ops[-1].out_size, 1, "relu"))
    ops += [OpShape("global_pool", 512, 512, 4, 1), OpShape("linear", 512, 1000, 1, 1, bias=True)]
    assert macs(ops) / 1e6 == pytest.approx(49.2, abs=0.1)
    platform, net = load_platform("eyeriss-like"), BlockShape("stem", tuple(ops))
    assert platform.block_ms(net) == pytest.approx(1e3 * 12.6 / 1470.6, rel=0.15)
    assert platform.block_mj(net) == pytest.approx(1e3 * 2.5 / 2560.3, rel=0.15)


# -- measured tables -------------------------------------------------------------------------------------------------------


def test_a_table_gives_the_corrected_sum_of_its_blocks() -> None:
    space = load_space("resnet50").restrict(resolutions=[128, 224])
    platform = measured(space, EnergyModel(source="a meter", power_w=3.0))
    genes = space.sample(20, np.random.default_rng(0))
    assert platform.table is not None
    table = platform.table
    sums = [sum(table.find(block).median_ms for block in walk_blocks(space, s)) for s in space.decode(genes)]
    costs = platform.costs(space)
    np.testing.assert_allclose(costs.latency_ms(genes), -0.2 + 1.5 * np.array(sums), rtol=1e-12)
    np.testing.assert_allclose(costs.energy_mj(genes), 3.0 * costs.latency_ms(genes), rtol=1e-12)


def test_energy_measured_block_by_block() -> None:
    space = small_space()
    platform = measured(space, EnergyModel(source="a meter", network_mj=0.5), energy_mj=0.25)
    genes = np.stack([0 * space.levels, space.levels - 1])  # smallest and largest
    np.testing.assert_allclose(platform.costs(space).energy_mj(genes), [0.5 + 0.25 * (2 + 1 + 1), 0.5 + 0.25 * (2 + 2 + 3)])


@pytest.mark.parametrize("name", ["small", "resnet50"])
def test_a_table_round_trips(name: str, tmp_path: Path) -> None:
    space = small_space() if name == "small" else load_space(name)
    space = space.restrict(resolutions=space.resolutions[-1:])
    platform = measured(space, EnergyModel(source="a meter", power_w=3.0))
    save_platform(platform, tmp_path / "table.yaml")
    again = load_platform(tmp_path / "table.yaml")
    assert again == platform
    save_platform(again, tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "table.yaml").read_text()
    longest = max(map(len, (tmp_path / "table.yaml").read_text().splitlines()))
    assert longest < 600  # compact: a block is one line


def test_a_block_that_was_not_measured_is_named() -> None:
    space = small_space()
    platform = measured(space.restrict(resolutions=[16]))
    message = r"platform made-up: stem 1->16 channels at 28->28 px was not measured.*of space small.*ofa profile --space"
    costs = platform.costs(space)
    assert costs.latency_ms(0 * space.levels) > 0  # at 16 px, which was measured
    with pytest.raises(UserError, match=message):
        costs.latency_ms(np.stack([0 * space.levels, space.levels - 1]))


def test_blocks_are_described() -> None:
    space = small_space()
    described = [describe(shape) for shape in ShapeGrid.of(space).distinct()]
    assert "mbconv 40->40 channels at 7->7 px, kernel 5, hidden 120, se, residual" in described
    assert len(set(described)) == len(described)


def test_a_table_says_which_resolutions_it_covers() -> None:
    space = small_space()
    costs = measured(space.restrict(resolutions=[16])).costs(space, confidence=0.9)
    assert costs.resolutions == (16,)
    assert costs.covered == space.restrict(resolutions=[16])
    assert measured(space).costs(space).resolutions == (16, 28)
    assert measured(space).costs(space).covered is None
    assert load_platform("edge-int8").costs(space).covered is None
    # A table that knows the stem and the head of a space at a resolution, but not all between them.
    platform = measured(space)
    assert platform.table is not None
    partial = [block for block in platform.table.blocks if describe(block.shape).find("kernel 5, hidden 120") < 0]
    costs = replace(platform, table=replace(platform.table, blocks=tuple(partial))).costs(space)
    assert costs.resolutions == ()
    with pytest.raises(UserError, match=r"mbconv .* kernel 5, hidden 120.* was not measured"):
        _ = costs.covered


def test_unknown_energy_is_an_error_not_zero() -> None:
    space = small_space()
    costs = measured(space).costs(space)
    assert "energy_mj" not in costs.metrics
    with pytest.raises(UserError, match="platform made-up: energy is unknown"):
        costs.energy_mj(space.sample(1, np.random.default_rng(0)))


# -- mistakes in files -----------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown platform 'toaster'; known are .*edge-int8.*or give a YAML file"):
        load_platform("toaster")
    with pytest.raises(UserError, match=r"toaster\.yaml: no such file"):
        load_platform("toaster.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: modelled", "kind: guessed", r"mine\.yaml:5: kind is 'guessed'; allowed are measured, calibrated, modelled"),
        ("precision: fp32", "precision: fp31", "precision is 'fp31'; allowed are fp32"),
        ("licence: MIT", "licence: MIT\nwatts: 3", r"mine\.yaml:9: unknown key 'watts'"),
        ("licence: MIT\n", "", "key 'licence' is missing"),
        (
            "ms_per_mmac: 1",
            "ms_per_mmac: -1",
            r"mine\.yaml:10: latency: ops\.default: ms_per_mmac is -1\.0; must be at least 0 and finite",
        ),
        ("ms_per_mmac: 1", "ms_per_mmac: .nan", "ms_per_mmac is nan; must be at least 0 and finite"),
        ("ms_per_mmac: 1", "us_per_mmac: 1", "unknown key 'us_per_mmac'; known keys are ms_per_activation_mb"),
        ("default:", "softmax:", "unknown kind 'softmax'; known are default, conv_1x1"),
        ("{ops: {default: {ms_per_mmac: 1}}}", "{ops: {}}", "ops is empty"),
        ("{ops:", "{combine: mean, ops:", "combine is 'mean'; allowed are sum, max"),
        ("device: a device", "device: a device\nbatch: 0", "batch is 0; must be at least 1"),
        ("latency:", "energy: {source: x}\nlatency:", "energy has neither power_w nor ops"),
        ("latency:", "energy: {source: x, power_w: 0}\nlatency:", r"power_w is 0\.0; must be above 0 and finite"),
        ("latency:", "energy: {source: x, static_w: 1}\nlatency:", "static_w is given without ops"),
        ("latency:", "energy: {source: x, power_w: 1, static_w: 1}\nlatency:", "power_w is given together with"),
        ("latency:", "energy: {power_w: 1}\nlatency:", "key 'source' is missing"),
        ("{note: made up}", "{note: made up, mape: 0.1}", "mape is 0.1 on 0 networks; give both or neither"),
        ("{note: made up}", "{note: made up, mape: .inf, networks: 3}", "mape is inf"),
        ("{note: made up}", "{note: x, networks: 3, mape: 0.1, worst: 0.05}", "worst is 0.05 and mape 0.1; the largest"),
        ("{ops:", "{array_rows: 64, ops:", "array_rows is 64 and ms_per_mconversion 0.0; give both, above 0, or neither"),
        ("{ops:", "{ms_per_mconversion: 2, ops:", "array_rows is None and ms_per_mconversion 2.0; give both"),
        ("latency:", "energy: {source: x, power_w: 1, error: {mape: 1}}\nlatency:", "energy: error: key 'note' is missing"),
        ("{ops:", "{seen: {depthwise: [3]}, ops:", r"seen\.depthwise is \[3\.0\]; give the least and the most"),
        ("{ops:", "{seen: {depthwise: [3, 2]}, ops:", r"seen\.depthwise is \[3\.0, 2\.0\]; give"),
        ("latency: {", "latent: {", "unknown key 'latent'"),
        ("latency: {ops: {default: {ms_per_mmac: 1}}}\n", "", "give either latency .* or table"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    with pytest.raises(UserError, match=message):
        load_platform(write(tmp_path, MINIMAL.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("median_ms: 0.1,", "median_ms: -0.1,", r"mine\.yaml:\d+: table: blocks\[0\]: median_ms is -0\.1; must be above 0"),
        ("median_ms: 0.1,", "median_ms: .nan,", "median_ms is nan"),
        ("median_ms: 0.1,", "median_ms: 9,", "p10_ms, median_ms, p90_ms are .*; must be ascending"),
        ("median_ms: 0.1,", "median_us: 100,", "unknown key 'median_us'"),
        ("count: 50", "count: 0", "count is 0; must be at least 1"),
        ("[conv, 1, 16, 16, 16", "[conv, 1, 16, 16", r"main\[0\]: groups is True; expected int"),
        ("[conv, 1, 16, 16, 16", "[conv, 1, x, 16, 16", r"main\[0\]: out_channels is 'x'; expected int"),
        ("[conv, 1, 16, 16, 16", "[conv, 0, 16, 16, 16", r"main\[0\]: in_channels is 0; must be at least 1"),
        ("factor: 1.5", "factor: 0", "factor is 0.0; must be above 0 and finite"),
        ("intercept_ms: -0.2", "intercept_ms: .nan", "intercept_ms is nan"),
    ],
)
def test_a_mistake_in_a_table_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    space = small_space().restrict(resolutions=[16])
    text = platform_yaml(measured(space))
    assert old in text
    with pytest.raises(UserError, match=message):
        load_platform(write(tmp_path, text.replace(old, new, 1)))


def test_a_block_given_twice_is_refused(tmp_path: Path) -> None:
    lines = platform_yaml(measured(small_space().restrict(resolutions=[16]))).splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("    - {"))
    with pytest.raises(UserError, match="a block is given twice: stem 1->16 channels"):
        load_platform(write(tmp_path, "".join(lines[: first + 1] + lines[first:])))


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_byte_of_a_written_platform_is_refused(tmp_path: Path, seed: int) -> None:
    """Anywhere in it, its first and its last line among them."""
    path = tmp_path / "mine.yaml"
    save_platform(measured(small_space().restrict(resolutions=[16])), path)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    begin, end = [(0, len(content)), (0, 80), (len(content) - 80, len(content))][seed % 3]
    content[rng.integers(begin, end)] ^= 1 << rng.integers(7)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.yaml: damaged: its content is not what was written"):
        load_platform(path)


def test_an_edit_that_is_meant_is_accepted_as_the_message_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    save_platform(measured(small_space().restrict(resolutions=[16])), path)
    edited = path.read_text().replace("device: none", "device: a board")
    path.write_text(edited)
    with pytest.raises(UserError, match="delete its first and its last line"):
        load_platform(path)
    path.write_text("".join(line for line in edited.splitlines(keepends=True) if not line.startswith("# ")))
    assert load_platform(path).device == "a board"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("precision: fp32", "batch: 1" + 400 * "0", "batch: expected a whole number of at most 64 bits, got 1000"),
        ("precision: fp32", "batch: 1.0e+300", "batch: expected a whole number of at most 64 bits, got 1000"),
        ("precision: fp32\n", "", "precision is missing; a model of operations needs it"),
    ],
)
def test_numbers_beyond_use_in_a_platform(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_platform(write(tmp_path, MINIMAL.replace(old, new)))
    assert len(str(caught.value)) < 400


def test_missing_coefficients_are_named(tmp_path: Path) -> None:
    platform = load_platform(write(tmp_path, MINIMAL.replace("default:", "conv_1x1:")))
    space = small_space()
    with pytest.raises(
        UserError, match="platform mine: the latency model has no coefficients for conv_kxk; it has conv_1x1"
    ):
        platform.costs(space).latency_ms(space.sample(1, np.random.default_rng(0)))


def test_operations_as_lists() -> None:
    op = OpShape("conv", 16, 96, 28, 14, 3, 2, norm=True, activation="relu")
    assert op_to_list(op) == ["conv", 16, 96, 28, 14, 3, 2, 1, True, False, "relu"]
    assert op_to_list(OpShape("add", 8, 8, 4, 4)) == ["add", 8, 8, 4, 4]
    assert op_from_list(op_to_list(op), "op") == op
    with pytest.raises(ValueError, match="op has 2 values; an operation is a list of kind, in_channels"):
        op_from_list(["conv", 1], "op")


# -- the command line ------------------------------------------------------------------------------------------------------


def test_ofa_platforms_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platforms"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in platform_names())
    assert max(map(len, printed.splitlines())) <= 100
    assert main(["platforms", "edge-int8"]) == 0
    assert "Horowitz" in capsys.readouterr().out
    assert main(["platforms", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["platforms"]] == platform_names()
    assert main(["platforms", "eyeriss-like", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["error"]["mape"] is None
    assert main(["platforms", "toaster"]) == 2
    assert "unknown platform 'toaster'" in capsys.readouterr().err


def test_ofa_platforms_shows_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    save_platform(measured(small_space().restrict(resolutions=[16])), path)
    assert main(["platforms", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "measured blocks of space small" in printed
    assert "mean 5.0%, Spearman 0.900, of 4 networks: made up" in " ".join(printed.split())
    assert "1.096 x the estimate" in printed  # t(4, 0.9) sqrt(pi / 2) 5%
    assert "none: a test's" in printed
