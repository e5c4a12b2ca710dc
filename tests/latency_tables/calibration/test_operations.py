"""Calibration on networks that are given as lists of operations: what it recovers, and what it refuses, in one line."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mlperf_edge import BOARDS
from latency_tables import load_platform
from latency_tables.blocks.fused_ops import fuse
from latency_tables.calibration.operations_csv import load_networks, load_operations
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpEnergy, OpTime
from ofa.errors import UserError
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks
from tests.verbs import error, ofa

SPACE = load_space("mbv3-w1.0")
LATENCY = LatencyModel(
    ops={
        "default": OpTime(ms_per_mmac=0.03, ms_per_weight_mb=0.3, ms_per_activation_mb=0.8, overhead_ms=0.02),
        "depthwise": OpTime(ms_per_mmac=0.2, ms_per_weight_mb=0.3, ms_per_activation_mb=0.8, overhead_ms=0.03),
    },
    fuse_add=False,
)
ENERGY = EnergyModel(
    source="made up",
    ops={
        "default": OpEnergy(pj_per_mac=200, pj_per_weight_byte=1500, pj_per_activation_byte=5000, overhead_uj=150),
        "depthwise": OpEnergy(pj_per_mac=900, pj_per_weight_byte=1500, pj_per_activation_byte=5000, overhead_uj=150),
    },
    fuse_add=False,
)
OPERATION = ("network", "index", "kind", "macs", "weights", "activations", "outputs")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(count: int = 12, batch: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Random networks, measured on a made-up device; the columns of the published files."""
    measured, operations = [], []
    for i, subnet in enumerate(SPACE.decode(SPACE.sample(count, np.random.default_rng(0)))):
        ops = [op for block in walk_blocks(SPACE, subnet) for op in fuse(block, fuse_add=False)]
        latency_ms, energy_mj = LATENCY.listed_ms(ops, "int8", batch), ENERGY.listed_mj(ops, "int8", batch)
        measured.append(
            {
                "round": "v1.0",
                "division": "open",
                "device": "board",
                "conditions": "1 GHz",
                "runtime": "runtime 2.0",
                "precision": "int8",
                "batch": batch,
                "network": f"net{i}-quantized",
                "family": "ab"[i % 2],
                "resolution": subnet.resolution,
                "mmacs": round(sum(op.macs for op in ops) / 1e6, 3),
                "weights_m": round(sum(op.weights for op in ops) / 1e6, 4),
                "activations_m": round(sum(op.activations for op in ops) / 1e6, 4),
                "operations": len(ops),
                "mean_latency_ms": latency_ms,
                "p50_latency_ms": latency_ms,
                "p90_latency_ms": latency_ms,
                "mean_w": energy_mj * batch / latency_ms,
                "idle_w": 2.5,
                "energy_mj": energy_mj,
            }
        )
        values = ((f"net{i}", k, op.kind, op.macs, op.weights, op.activations, op.outputs) for k, op in enumerate(ops))
        operations += [dict(zip(OPERATION, value, strict=True)) for value in values]
    return measured, operations


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    measured, operations = rows()
    return write(tmp_path / "networks.csv", measured), write(tmp_path / "operations.csv", operations)


def calibrated(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> dict[str, Any]:
    files = ("--measurements", folder / "networks.csv", "--operations", folder / "operations.csv")
    return ofa(capsys, "calibrate", *files, "--out", folder / "board.yaml", *words)


@pytest.mark.parametrize("batch", [1, 8])
def test_latency_and_energy_of_new_networks_follow(tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: int) -> None:
    measured, operations = rows(30, batch)
    write(tmp_path / "networks.csv", measured[:20])
    write(tmp_path / "operations.csv", operations)
    result = calibrated(capsys, tmp_path)
    assert result["mape"] < 0.02
    assert result["energy_mape"] < 0.02
    assert result["energy_spearman"] > 0.99
    platform = load_platform(tmp_path / "board.yaml")
    assert (platform.device, platform.runtime, platform.precision) == ("board, 1 GHz", "runtime 2.0", "int8")
    assert platform.batch == batch
    lists = load_operations(tmp_path / "operations.csv")
    for row in measured[20:]:
        listed = lists[row["network"].removesuffix("-quantized")]
        assert platform.listed_ms(listed) == pytest.approx(row["mean_latency_ms"], rel=0.06)
        assert platform.listed_mj(listed) == pytest.approx(row["energy_mj"], rel=0.06)


def test_subnets_of_a_space_cost_what_their_operations_do(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated(capsys, tmp_path)
    platform = load_platform(tmp_path / "board.yaml")
    genes = SPACE.sample(5, np.random.default_rng(3))
    costs = platform.costs(SPACE)
    for subnet, latency_ms, energy_mj in zip(
        SPACE.decode(genes), costs.latency_ms(genes), costs.energy_mj(genes), strict=True
    ):
        ops = [op for block in walk_blocks(SPACE, subnet) for op in fuse(block, fuse_add=False)]
        assert platform.listed_ms(ops) == pytest.approx(latency_ms)
        assert platform.listed_mj(ops) == pytest.approx(energy_mj)


def test_the_file_says_what_a_left_out_family_costs_and_the_idle_power(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated(capsys, tmp_path)
    details = load_platform(tmp_path / "board.yaml").details
    assert details["idle power"] == "2.5 W (median), part of the energy"
    assert details["error of energy, a whole family left out"].startswith("mean ")
    assert details["error of latency, a whole family left out"].startswith("mean ")


def test_the_boundary_is_the_users(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrated(capsys, tmp_path)["boundary"] is None
    assert calibrated(capsys, tmp_path, "--boundary", "mains")["boundary"] == "mains"
    energy = load_platform(tmp_path / "board.yaml").energy
    assert energy is not None
    assert energy.boundary == "mains"


def test_without_energies_only_latency_is_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, operations = rows()
    kept = [{"network": row["network"], "latency_ms": row["mean_latency_ms"]} for row in measured]
    write(tmp_path / "networks.csv", kept)
    write(tmp_path / "operations.csv", operations)
    assert calibrated(capsys, tmp_path, "--precision", "int8", "--device", "mine")["energy_mape"] is None
    platform = load_platform(tmp_path / "board.yaml")
    assert platform.energy is None
    words = ("--measurements", tmp_path / "networks.csv", "--operations", tmp_path / "operations.csv")
    message = error(capsys, "calibrate", *words, "--boundary", "mains", "--out", tmp_path / "board.yaml")
    assert "--boundary is mains, but no energy_mj is given" in message
    assert platform.device == "mine"


def test_rows_are_chosen_by_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, operations = rows()
    slow = [
        row | {"runtime": "runtime 1.0", "mean_latency_ms": 2 * row["mean_latency_ms"], "energy_mj": ""} for row in measured
    ]
    write(tmp_path / "networks.csv", slow + measured)
    write(tmp_path / "operations.csv", operations)
    words = ("calibrate", "--measurements", tmp_path / "networks.csv", "--operations", tmp_path / "operations.csv", "--out")
    message = error(capsys, *words, tmp_path / "board.yaml")
    assert "rows are of several values of runtime: runtime 1.0, runtime 2.0; choose one with --where" in message
    result = calibrated(capsys, tmp_path, "--where", "runtime=runtime 2.0")
    assert result["networks"] == 12
    assert result["energy_mape"] is not None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["speed=1"], "--where speed=1: no such column"),
        (["runtime=3"], "--where runtime=3: no such row is left; its values are runtime 2.0"),
        (["runtime"], "--where is 'runtime'; expected COLUMN=VALUE"),
        (["batch=1", "batch=1"], "each column once"),
    ],
)
def test_a_choice_of_rows_that_is_none(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], where: list[str], message: str
) -> None:
    words = [word for text in where for word in ("--where", text)]
    given = ("--measurements", files[0], "--operations", files[1], "--out", tmp_path / "board.yaml")
    assert message in error(capsys, "calibrate", *given, *words)


def test_where_needs_operations(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--measurements", files[0], "--where", "batch=1", "--out", tmp_path / "board.yaml")
    assert "--where goes with --operations only" in error(capsys, "calibrate", *words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"network": "other"},
            r"networks\.csv:2: network is 'other', which has no operations in .*operations\.csv; it has net0",
        ),
        ({"mean_latency_ms": "fast"}, r"networks\.csv:2: mean_latency_ms is 'fast'; expected a number"),
        ({"mean_latency_ms": "nan"}, r"networks\.csv:2: mean_latency_ms is nan; must be finite"),
        ({"energy_mj": -1}, r"networks\.csv:2: energy_mj is -1; must be finite and above 0"),
        ({"energy_mj": 1e6}, r"networks\.csv:2: energy_mj is 1e\+06 for net0.*, but mean_w x latency / batch is"),
        ({"mmacs": 1}, r"networks\.csv:2: mmacs is 1 for net0.*, but the multiply-accumulates of its operations"),
        ({"weights_m": 99}, r"networks\.csv:2: weights_m is 99 .*, but the weights of its operations"),
        ({"activations_m": 999}, r"networks\.csv:2: activations_m is 999 .*, but the activations of its operations"),
        ({"operations": 3}, r"networks\.csv:2: operations is 3 .*, but its operations are"),
        ({"precision": "int9"}, r"rows are of several values of precision: int8, int9"),
        ({"batch": 2}, r"rows are of several values of batch: 1, 2"),
    ],
)
def test_a_wrong_measurement_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    measured, operations = rows(5)
    write(tmp_path / "operations.csv", operations)
    write(tmp_path / "networks.csv", [measured[0] | change, *measured[1:]])
    with pytest.raises(UserError, match=message) as caught:
        load_networks(tmp_path / "networks.csv", tmp_path / "operations.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "attention"}, r"operations\.csv:3: kind is 'attention'; allowed are conv_1x1"),
        ({"index": 7}, r"operations\.csv:3: index is 7; expected 1, the next of net0: a line is missing, or twice"),
        ({"index": 0}, r"operations\.csv:3: index is 0; expected 1"),
        ({"macs": -5}, r"operations\.csv:3: macs is '-5'; expected a whole number, at least 0"),
        ({"weights": 1.5}, r"operations\.csv:3: weights is '1\.5'; expected a whole number"),
        ({"activations": ""}, r"operations\.csv:3: activations is ''; expected a whole number"),
        ({"macs": "9" * 5000}, r"operations\.csv:3: macs is '9+\.\.\.'; expected a whole number"),
        ({"outputs": 0}, r"operations\.csv:3: outputs is 0; must be 1 to \d+, the activations"),
        ({"outputs": 10**12}, r"operations\.csv:3: outputs is 1000000000000; must be 1 to"),
    ],
)
def test_a_wrong_operation_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _, operations = rows(2)
    path = write(tmp_path / "operations.csv", [operations[0], operations[1] | change, *operations[2:]])
    with pytest.raises(UserError, match=message) as caught:
        load_operations(path)
    assert "\n" not in str(caught.value)


def test_missing_columns_of_operations_are_named(tmp_path: Path) -> None:
    _, operations = rows(1)
    path = write(tmp_path / "operations.csv", [{k: v for k, v in row.items() if k != "kind"} for row in operations])
    with pytest.raises(UserError, match=r"operations\.csv:1: column 'kind' is missing; columns are network, .*, outputs$"):
        load_operations(path)


def test_networks_that_determine_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, operations = rows(12)
    write(tmp_path / "operations.csv", operations)
    words = ("calibrate", "--measurements", tmp_path / "networks.csv", "--operations", tmp_path / "operations.csv", "--out")

    def refusal(given: list[dict[str, Any]]) -> str:
        write(tmp_path / "networks.csv", given)
        return error(capsys, *words, tmp_path / "board.yaml")

    assert "3 distinct networks; at least 4 are needed" in refusal(measured[:3])
    twice = measured[0] | {"mean_latency_ms": 2 * measured[0]["mean_latency_ms"], "mean_w": ""}
    assert "networks.csv:14: latency_ms is" in refusal([*measured, twice])
    dear = measured[0] | {"energy_mj": 2 * measured[0]["energy_mj"], "mean_w": ""}
    assert "networks.csv:14: energy_mj is" in refusal([*measured, dear])
    assert "energy_mj is given for 3 networks" in refusal(
        [*measured[:3], *(row | {"energy_mj": ""} for row in measured[3:])]
    )
    rest = [row | {"energy_mj": "", "mean_w": ""} for row in measured]
    shuffled = [row | {"mean_latency_ms": 2.0 * 1.7**i} for i, row in enumerate(rest)]
    assert "mean error of" in refusal(shuffled)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "mape", "worst"),
    [
        ("raspi4-tflite", 0.06, 0.20),
        ("raspi4-tflite-int8", 0.05, 0.25),
        ("odroid-n2", 0.09, 0.25),
        ("odroid-n2-mali", 0.09, 0.40),
        ("xavier-cpu", 0.09, 0.30),
    ],
)
def test_shipped_boards_are_what_calibration_makes_of_the_published_networks(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, mape: float, worst: float
) -> None:
    _, device, runtime, precision = BOARDS[name]
    folder = reference / "energy" / "measured"
    files = (folder / "mlperf_edge_cpu_networks.csv", "--operations", folder / "mlperf_networks_operations.csv")
    where = (f"device={device}", f"runtime={runtime}", f"precision={precision}")
    chosen = [word for text in where for word in ("--where", text)]
    result = ofa(capsys, "calibrate", "--measurements", *files, *chosen, "--out", tmp_path / "board.yaml")
    assert result["energy_mape"] <= mape
    assert result["energy_worst"] <= worst
    assert result["energy_spearman"] >= 0.99
    fitted, shipped = load_platform(tmp_path / "board.yaml"), load_platform(name)
    assert fitted.latency == shipped.latency
    assert shipped.energy is not None
    assert fitted.energy == replace(shipped.energy, boundary=None)
    networks, _ = load_networks(files[0], files[2], dict(text.split("=") for text in where))
    errors = [
        abs(shipped.listed_mj(network.operations) / network.energy_mj - 1) for network in networks if network.energy_mj
    ]
    assert np.mean(errors) < result["energy_mape"]  # in the fit, so less than left out
