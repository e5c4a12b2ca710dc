"""Calibration: what it recovers, what it refuses; the shipped results of it against the published measurements."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform
from latency_tables.calibration.calibrate import TERMS, Subject, block_terms, calibrate, network_terms, prior_weights
from latency_tables.calibration.prior import PRIOR
from latency_tables.calibration.timings_csv import Timing, load_timings
from latency_tables.cost_models.op_model import LatencyModel, OpTime
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.platform import Platform
from latency_tables.units import doubt
from ofa import official
from ofa.cli.main import main
from ofa.errors import UserError
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks
from tests.verbs import error, ofa

SPACE = load_space("mbv3-w1.0")
SUBJECT = Subject(name="mine", device="a phone", runtime="a runtime", source="a stopwatch")


def a_device(precision: str = "fp32", batch: int = 1) -> Platform:
    """Made up: not the prior's proportions."""
    ops = {
        "default": OpTime(ms_per_mmac=0.05, ms_per_weight_mb=0.3, ms_per_activation_mb=0.4, overhead_ms=0.02),
        "depthwise": OpTime(ms_per_mmac=0.2, ms_per_activation_mb=0.6, overhead_ms=0.05),
    }
    return Platform(
        name="truth",
        device="none",
        runtime="none",
        precision=precision,
        batch=batch,
        kind="modelled",
        description="a test",
        source="made up",
        licence="MIT",
        error=ErrorReport(note="made up"),
        latency=LatencyModel(ops=ops),
    )


def timings(count: int, platform: Platform, noise: float = 0.0, seed: int = 0) -> list[Timing]:
    """Random networks, timed on a made-up device."""
    rng = np.random.default_rng(seed)
    subnets = SPACE.decode(SPACE.sample(count, rng))
    factors = 1 + noise * rng.standard_normal(count)
    return [
        Timing(
            space=SPACE,
            subnet=subnet,
            latency_ms=factor * sum(platform.block_ms(block) for block in walk_blocks(SPACE, subnet)),
            energy_mj=None,
            place=f"row {i}",
        )
        for i, (subnet, factor) in enumerate(zip(subnets, factors, strict=True))
    ]


def errors(platform: Platform, tested: list[Timing]) -> np.ndarray:
    costs = platform.costs(SPACE)
    predicted = costs.latency_ms(SPACE.encode([timing.subnet for timing in tested]))
    return predicted / np.array([timing.latency_ms for timing in tested]) - 1


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def csv_rows(count: int = 6) -> list[dict[str, object]]:
    """Alternately our JSON and the published package's."""
    rows: list[dict[str, object]] = []
    for i, timing in enumerate(timings(count, a_device())):
        arch = timing.subnet.to_dict() if i % 2 else official.to_arch(SPACE, timing.subnet)
        row = {"space": "mbv3-w1.0", "architecture": json.dumps(arch), "resolution": timing.subnet.resolution}
        rows.append({**row, "latency_ms": timing.latency_ms, "energy_mj": 2.5 * timing.latency_ms})
    return rows


# -- the fit ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "batch"), [("fp32", 1), ("int8", 1), ("fp16", 16)])
def test_terms_are_those_of_the_model(precision: str, batch: int) -> None:
    model = a_device(precision, batch).latency
    assert model is not None
    weights = np.array([getattr(model.ops.get(kind, model.ops["default"]), name) for kind, name in TERMS])
    for block in walk_blocks(SPACE, SPACE.largest()):
        assert block_terms(block, precision, batch) @ weights == pytest.approx(model.block_ms(block, precision, batch))


@pytest.mark.parametrize(("count", "noise", "bound"), [(4, 0, 0.08), (10, 0.01, 0.03), (20, 0.01, 0.02), (200, 0.01, 0.005)])
def test_random_networks_calibrate_another_device(count: int, noise: float, bound: float) -> None:
    platform = calibrate(timings(count, a_device(), noise), SUBJECT)
    error = errors(platform, timings(100, a_device(), seed=1))
    assert np.abs(error).mean() < bound
    assert platform.kind == "calibrated"
    assert platform.error.networks == count
    assert platform.error.mape is not None
    assert platform.error.worst is not None
    assert 0 < platform.error.mape < platform.error.worst


def test_the_reported_error_is_of_networks_left_out() -> None:
    given = timings(6, a_device(), 0.02)
    report = calibrate(given, SUBJECT).error
    left_out = []
    for i, timing in enumerate(given):
        left_out.append(abs(errors(calibrate(given[:i] + given[i + 1 :], SUBJECT), [timing])[0]))
    assert report.mape == pytest.approx(np.mean(left_out), abs=1e-4)
    assert report.worst == pytest.approx(np.max(left_out), abs=1e-4)


def test_the_prior_is_scaled_and_a_similar_device_needs_no_more() -> None:
    truth = a_device()
    assert truth.latency is not None
    slower = replace(truth, latency=LatencyModel(ops={k: _times(o, 3.0) for k, o in truth.latency.ops.items()}))
    platform = calibrate(timings(4, slower), SUBJECT, truth.latency)
    assert np.abs(errors(platform, timings(50, slower, seed=1))).max() < 1e-4


def _times(op: OpTime, factor: float) -> OpTime:
    return OpTime(**{name: factor * getattr(op, name) for name in OpTime.__dataclass_fields__})


@pytest.mark.parametrize(("precision", "batch"), [("int8", 1), ("fp32", 32)])
def test_a_prior_keeps_its_proportions_at_another_precision_and_batch(precision: str, batch: int) -> None:
    given = timings(5, a_device())
    usual = network_terms(given, "fp32", 1) * prior_weights(PRIOR, "fp32", 1)
    other = network_terms(given, precision, batch) * prior_weights(PRIOR, precision, batch)
    np.testing.assert_allclose(other, usual, rtol=1e-12)


def test_a_bad_calibration_says_so() -> None:
    noisy = timings(12, a_device(), 0.25)
    assert calibrate(noisy, SUBJECT).error.note.startswith("FAILS its own check (error above 10%")


# -- what it refuses -------------------------------------------------------------------------------------------------------


def test_data_that_cannot_identify_the_terms_are_refused() -> None:
    good = timings(6, a_device())
    with pytest.raises(UserError, match="3 distinct networks; at least 4 are needed, better 10: time random networks"):
        calibrate(good[:3] + good[:3], SUBJECT)
    one_size = [replace(t, subnet=replace(t.subnet, resolution=160)) for t in good]
    with pytest.raises(UserError, match="all networks are at resolution 160; at least two"):
        calibrate(one_size, SUBJECT)
    alike = [replace(good[0], subnet=replace(good[0].subnet, resolution=r)) for r in (200, 204, 208, 212)]
    with pytest.raises(UserError, match=r"the networks are too alike: \d+ to \d+ million .* at least 1\.3 times"):
        calibrate(alike, SUBJECT)
    again = replace(good[0], latency_ms=1.5 * good[0].latency_ms, place="row 9")
    with pytest.raises(UserError, match=r"row 9: latency_ms is .* but the same network has .* in row 0; .* by 20%"):
        calibrate([*good, again], SUBJECT)
    order = sorted(range(6), key=lambda i: good[i].latency_ms)
    swapped = [replace(good[i], latency_ms=100.0 ** (5 - rank)) for rank, i in enumerate(order)]
    with pytest.raises(UserError, match="these timings do not follow from these networks"):
        calibrate(swapped, SUBJECT)


# -- CSV and command -------------------------------------------------------------------------------------------------------


def test_a_csv_in_both_spellings_and_from_files(tmp_path: Path) -> None:
    rows = csv_rows()
    (tmp_path / "net.json").write_text(str(rows[1]["architecture"]))
    rows[1] |= {"architecture": "net.json", "resolution": "", "energy_mj": ""}
    loaded = load_timings(write_csv(tmp_path / "timings.csv", rows))
    expected = timings(6, a_device())
    assert [t.subnet for t in loaded] == [t.subnet for t in expected]
    np.testing.assert_allclose([t.latency_ms for t in loaded], [t.latency_ms for t in expected])
    assert loaded[0].energy_mj == pytest.approx(2.5 * loaded[0].latency_ms)
    assert loaded[1].energy_mj is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency_ms": "fast"}, r"timings\.csv:2: latency_ms is 'fast'; expected a number"),
        ({"latency_ms": -3}, r"timings\.csv:2: latency_ms is -3; must be finite and above 0"),
        ({"latency_ms": "nan"}, r"timings\.csv:2: latency_ms is nan; must be finite"),
        ({"energy_mj": 0}, r"timings\.csv:2: energy_mj is 0; must be finite and above 0"),
        ({"space": "mbv9"}, r"timings\.csv:2: unknown space 'mbv9'; known are"),
        ({"resolution": "big"}, r"timings\.csv:2: resolution is 'big'; expected a whole number"),
        ({"resolution": ""}, r"timings\.csv:2: resolution is empty; an architecture of the published"),
        ({"resolution": 8}, r"timings\.csv:2: arch: resolution is 8; expected a whole number of at least 32"),
        ({"architecture": "{ks}"}, r"timings\.csv:2: architecture: not valid JSON"),
        ({"architecture": '{"ks": ' + 5000 * "9" + "}"}, r"timings\.csv:2: architecture: not valid JSON: Exceeds the limit"),
        ({"architecture": '{"ks": ' + 3000 * "["}, r"timings\.csv:2: architecture: not valid JSON: maximum recursion depth"),
        ({"architecture": "gone.json"}, r"timings\.csv:2: .*gone\.json: no such file"),
        ({"architecture": '{"ks": 3, "e": 3}'}, r"timings\.csv:2: arch: key 'd' is missing"),
        ({"latency_us": 3}, r"timings\.csv:1: unknown column 'latency_us'; columns are space, architecture"),
    ],
)
def test_a_mistake_in_a_csv_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    rows = csv_rows(2)
    fill = dict.fromkeys(change, "")
    rows = [rows[0] | change, fill | rows[1]]
    with pytest.raises(UserError, match=message):
        load_timings(write_csv(tmp_path / "timings.csv", rows))


def test_mistakes_in_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "timings.csv"
    for text, message in (
        ("space,architecture,resolution\n", "column 'latency_ms' is missing"),
        ("space,architecture,resolution,latency_ms\n", "has no rows"),
        (
            'space,architecture,resolution,latency_ms\nmbv3-w1.0,{"ks": 3, "e": 3},128,4\n',
            ":2: has 5 values; line 1 has 4 columns",
        ),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_timings(path)
    with pytest.raises(UserError, match=r"gone\.csv: no such file"):
        load_timings(tmp_path / "gone.csv")


def test_ofa_calibrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_csv(tmp_path / "timings.csv", csv_rows(8)), tmp_path / "phone.yaml"
    command = ["calibrate", "--measurements", str(path), "--out", str(out), "--device", "My phone"]
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    platform = load_platform(out)
    assert (platform.name, platform.device, platform.kind) == ("phone", "My phone", "calibrated")
    assert facts["mape"] == platform.error.mape
    assert facts["power_w"] == pytest.approx(2.5)
    assert platform.energy is not None
    assert platform.energy.error is not None
    # The power is the same for all here, so an energy is as wrong as its latency.
    assert (facts["energy_mape"], platform.energy.error.networks) == (pytest.approx(facts["mape"], abs=1e-3), 8)
    genes = SPACE.sample(5, np.random.default_rng(0))
    costs = platform.costs(SPACE)
    np.testing.assert_allclose(costs.energy_mj(genes), 2.5 * costs.latency_ms(genes), rtol=1e-4)
    assert main([*command, "--prior", "edge-int8"]) == 0
    printed = capsys.readouterr().out
    assert "leave-one-out" in printed
    assert "measured energy / latency of 8 networks; error: mean" in printed
    for extra, message in (
        (["--out", "phone"], "--out is phone; must end in .yaml"),
        (["--unit", "h"], "--unit is h; allowed are ms, us, s"),
        (["--precision", "fp31"], "--precision is fp31; allowed are fp32"),
        (["--batch", "0"], "--batch is 0; must be at least 1"),
    ):
        assert main([*command, *extra]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("unit", "per_ms"), [("s", 1e-3), ("us", 1e3)])
def test_a_unit_in_doubt_is_asked_for_and_the_answer_taken(
    unit: str, per_ms: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"latency_ms": per_ms * float(str(row["latency_ms"]))} for row in csv_rows(8)]
    path, out = write_csv(tmp_path / "timings.csv", rows), tmp_path / "phone.yaml"
    command = ["calibrate", "--measurements", path, "--out", out]
    asked = error(capsys, *command)
    assert "timings.csv:" in asked
    assert "GMAC/s if it is in ms, where 0.05 to 500 are usual: which unit is it?" in asked
    assert not out.exists()
    ofa(capsys, *command, "--unit", unit)
    stated = load_platform(out)
    assert stated.details["unit of the latencies"] == f"{unit}, as stated"
    ofa(capsys, "calibrate", "--measurements", write_csv(tmp_path / "ms.csv", csv_rows(8)), "--out", out)
    in_ms = load_platform(out)
    assert in_ms.details["unit of the latencies"] == "ms, as nobody said otherwise"
    genes = SPACE.sample(5, np.random.default_rng(0))
    np.testing.assert_allclose(stated.costs(SPACE).latency_ms(genes), in_ms.costs(SPACE).latency_ms(genes), rtol=1e-3)
    ofa(capsys, *command, "--unit", "ms")  # a device so fast, or so slow, is taken at its word
    as_ms = load_platform(out).costs(SPACE).latency_ms(genes)
    np.testing.assert_allclose(as_ms, per_ms * in_ms.costs(SPACE).latency_ms(genes), rtol=1e-3)


@pytest.mark.parametrize(
    ("macs", "time_ms", "batch", "asked"),
    [
        (3e8, 30, 1, False),
        (3e8, 0.03, 1, True),  # s
        (3e8, 30_000, 1, True),  # us, or a microcontroller
        (3e4, 1.9, 1, False),  # tiny: a call's overhead
        (3e8, 25, 64, False),
        (3e8, 0.025, 64, True),
    ],
)
def test_when_a_unit_is_in_doubt(macs: float, time_ms: float, batch: int, asked: bool) -> None:
    assert (doubt(macs, time_ms, batch) is not None) == asked


def test_a_precision_that_nobody_stated_is_said_to_be_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_csv(tmp_path / "timings.csv", csv_rows(8)), tmp_path / "phone.yaml"
    ofa(capsys, "calibrate", "--measurements", path, "--out", out)
    assert load_platform(out).details["precision"] == "fp32 is assumed; nobody stated it"
    ofa(capsys, "calibrate", "--measurements", path, "--out", out, "--precision", "fp32")
    assert "precision" not in load_platform(out).details


def test_from_ten_networks_on_a_calibration_keeps_quantiles() -> None:
    ten = calibrate(timings(10, a_device(), 0.05), SUBJECT).error
    assert list(ten.quantiles) == [0.5, 0.6, 0.7, 0.8, 0.85, 0.9]
    assert ten.ratio(0.9) > 1
    nine = calibrate(timings(9, a_device(), 0.05), SUBJECT).error
    assert nine.quantiles == {}


def test_energies_that_do_not_follow_from_the_networks_are_refused() -> None:
    given = timings(12, a_device())
    powers = np.geomspace(1, 1000, len(given))
    mixed = [replace(t, energy_mj=float(power)) for t, power in zip(given, powers, strict=True)]
    with pytest.raises(UserError, match=r"^energies of networks left out are predicted with a mean error of .*: these"):
        calibrate(mixed, SUBJECT)


def test_energies_of_one_network_that_contradict_each_other_are_refused() -> None:
    given = [replace(t, energy_mj=2 * t.latency_ms) for t in timings(6, a_device())]
    dear = replace(given[0], energy_mj=3 * given[0].latency_ms, place="row 9")
    with pytest.raises(UserError, match=r"^row 9: energy_mj is .* but the same network has .* in row 0; .* by 20%"):
        calibrate([*given, dear], SUBJECT)
    elsewhere = replace(given[0], boundary="wall", place="row 9")
    with pytest.raises(UserError, match=r"^row 9: boundary is 'wall'; row 0 has ''"):
        calibrate([*given, elsewhere], SUBJECT)


def test_the_meter_of_a_network_that_was_also_timed_without_one_is_kept() -> None:
    metered = [replace(t, energy_mj=2 * t.latency_ms, meter="a shunt", boundary="board") for t in timings(6, a_device())]
    energy = calibrate([*timings(6, a_device()), *metered], SUBJECT).energy
    assert energy is not None
    assert energy.boundary == "board"
    assert "metered with a shunt" in energy.source


def test_energy_of_too_few_networks_is_refused(tmp_path: Path) -> None:
    given = timings(6, a_device())
    some = [replace(t, energy_mj=1.0) for t in given[:2]] + given[2:]
    with pytest.raises(UserError, match="energy_mj is given for 2 networks; at least 4 are needed, or none"):
        calibrate(some, SUBJECT)
