"""`ofa footprint`: parts with kind and source, totals over what is known, comparisons; mistakes in one line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from latency_tables import load_platform
from ofa import footprint
from ofa.cli.main import main
from ofa.energy.account import Account, Spent
from ofa.files.atomic import read_json
from ofa.files.vouched import write_vouched_json
from ofa.runs.run_files import RunFiles
from ofa.space.search_space import load_space
from tests.verbs import error, ofa

NUMBERS = ("--inferences", 1e6, "--inference-mj", 0.03)


def booked(run: Path, verb: str, spent: dict[str, Spent], missing: list[str] | None = None) -> None:
    account = Account(spent, ["RAPL package-0"], missing=missing or [])
    account.write(run / "energy" / f"{verb}-0.json", is_open=False)


@pytest.fixture
def metered(trained_run: Path, tmp_path: Path) -> Path:
    """A run whose training, lost steps and predictor were metered."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    shutil.rmtree(run / "energy")
    booked(run, "train", {"training": Spent(3600, 7.2e6), "lost": Spent(600, 3.6e6), "checkpoint": Spent(1, 0.0)})
    booked(run, "predictor", {"predictor": Spent(60, 3.6e5)})
    return run


def test_numbers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--devices", 1000, "--training-kwh", 1.5, "--grid", 56, "--train-grid", "475", "--rival-kwh", 0.4)
    found = ofa(capsys, "footprint", *NUMBERS, *words)
    inference = footprint.kwh_of_joules(3e-5 * 1e9)
    assert found["parts"]["inference"]["kwh"] == pytest.approx(inference)
    assert found["parts"]["inference"]["kg_co2e"] == pytest.approx(inference * 0.056)
    assert found["parts"]["training"] == {
        "kwh": 1.5,
        "kg_co2e": pytest.approx(1.5 * 0.475),
        "kind": "estimated",
        "source": "--training-kwh, as given; PUE 1 (no data centre is stated)",
        "missing": [],
    }
    assert found["total"]["kwh"] == pytest.approx(1.5 + inference)
    assert found["total"]["kg_co2e"] == pytest.approx(1.5 * 0.475 + inference * 0.056)
    assert found["total"]["kwh_without"] == ["search", "transmission"]
    assert found["total"]["kg_without"] == ["search", "transmission", "embodied"]
    points = found["break_even"]
    assert points["inferences"]["inferences"] == pytest.approx(1.5 * 3.6e6 / 3e-5)
    assert points["inferences"]["inferences_co2e"] == pytest.approx(1.5 * 3.6e6 / 3e-5 * 475 / 56)
    assert points["devices"]["devices"] == 4
    assert found["label"] is None


def test_without_a_region_there_is_energy_alone(capsys: pytest.CaptureFixture[str]) -> None:
    found = ofa(capsys, "footprint", *NUMBERS, "--training-kwh", 1, "--send", "none")
    assert [part["kg_co2e"] for part in found["parts"].values()] == [None] * 5
    assert found["total"]["kg_co2e"] is None
    assert found["grids"] == {"use": None, "training": None, "server": None}
    assert found["parts"]["transmission"]["kwh"] == 0
    assert main(["footprint", *map(str, NUMBERS)]) == 0
    shown = capsys.readouterr().out
    assert "no --grid: energy alone" in shown
    assert "kWh without: training, search, transmission" in shown


def test_lost_steps_and_the_search_count(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    found = ofa(capsys, "footprint", metered, "--platform", "edge-int8", "--inferences", 10, "--grid", "DEU")
    training, search = found["parts"]["training"], found["parts"]["search"]
    assert (training["kwh"], training["kind"]) == (pytest.approx(3.0), "metered")
    assert (search["kwh"], search["kind"]) == (pytest.approx(0.1), "metered")
    assert "RAPL package-0" in training["source"]
    assert "lost" in training["source"]
    assert training["kg_co2e"] == pytest.approx(3.0 * 0.38095)
    assert "Germany" in found["grids"]["training"]["name"]
    point = found["break_even"]["inferences"]
    assert point["inferences"] == pytest.approx(3.1 * 3.6e6 / found["inference_j"])


def test_pue_counts_for_training_alone(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    words = ("footprint", metered, "--platform", "edge-int8", "--inferences", 1e9, "--grid", "FRA")
    plain = ofa(capsys, *words)
    given = ofa(capsys, *words, "--pue", "aws")
    region = ofa(capsys, *words, "--train-grid", "europe-west1")
    for found, pue in ((given, 1.2), (region, 1.09)):
        assert found["pue"]["value"] == pue
        for name in ("training", "search"):
            assert found["parts"][name]["kwh"] == pytest.approx(plain["parts"][name]["kwh"] * pue)
        assert found["parts"]["inference"] == plain["parts"]["inference"]


def test_a_training_before_there_were_ledgers(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    (metered / "energy" / "train-0.json").unlink()
    facts = {"train_seconds": 60.0, "train_energy_j": 3.6e6, "train_energy_source": "RAPL", "train_energy_missing": ["DRAM"]}
    write_vouched_json(metered / "result.json", facts)
    parts = ofa(capsys, "footprint", metered, "--platform", "edge-int8", "--inferences", 10)["parts"]
    assert (parts["training"]["kwh"], parts["training"]["missing"]) == (pytest.approx(1.0), ["DRAM"])
    assert parts["search"]["kwh"] == pytest.approx(0.1)


def test_failed_runs_count(capsys: pytest.CaptureFixture[str], metered: Path, tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    shutil.copytree(metered, failed)
    (failed / "supernet.safetensors").unlink()  # it never finished
    words = ("footprint", metered, "--platform", "edge-int8", "--inferences", 10)
    found = ofa(capsys, *words, "--failed", failed)
    assert found["parts"]["training"]["kwh"] == pytest.approx(6.0)
    assert "counts already" in error(capsys, *words, "--failed", metered)
    assert "counts already" in error(capsys, *words, "--failed", failed, "--failed", failed)


def test_what_was_not_read_is_missing_or_estimated_apart(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    booked(metered, "train", {"training": Spent(7200, 3.6e6, 3600)}, ["nvidia GPU 1: lost"])
    words = ("footprint", metered, "--platform", "edge-int8", "--inferences", 10)
    found = ofa(capsys, *words)
    training = found["parts"]["training"]
    assert training["kwh"] == pytest.approx(1.0)
    assert training["missing"] == ["nvidia GPU 1: lost", "1 h without any reading"]
    assert found["total"]["missing"] == [f"training: {text}" for text in training["missing"]]
    found = ofa(capsys, *words, "--accelerator", "V100", "--utilisation", 0.6, "--accelerators", 2)
    assert found["parts"]["training"]["kwh"] == pytest.approx(1.0)
    apart = found["parts"]["training (from --accelerator)"]
    assert (apart["kwh"], apart["kind"]) == (pytest.approx(0.36), "estimated")
    assert "2 x Tesla V100-SXM2-16GB, 300 W" in apart["source"]
    assert found["total"]["kwh"] == pytest.approx(1.0 + 0.36 + 0.1 + found["parts"]["inference"]["kwh"])


def test_what_was_booked_as_estimated_stays_apart(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    spent = Spent(7200, 3.6e6, estimated_j=7.2e6, estimated_s=3600)
    Account({"training": spent}, ["RAPL package-0"], ["V100 x 0.6"]).write(
        metered / "energy" / "train-0.json", is_open=False
    )
    parts = ofa(capsys, "footprint", metered, "--platform", "edge-int8", "--inferences", 10)["parts"]
    assert (parts["training"]["kwh"], parts["training"]["kind"]) == (pytest.approx(1.0), "metered")
    apart = parts["training (estimated)"]
    assert (apart["kwh"], apart["kind"]) == (pytest.approx(2.0), "estimated")
    assert "V100 x 0.6" in apart["source"]


def test_a_run_without_counters_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("footprint", "fashion-mnist", "--platform", "edge-int8", "--inferences", 1e6)
    found = ofa(capsys, *words)
    training = found["parts"]["training"]
    assert (training["kwh"], training["kind"]) == (None, "unknown")
    hours = read_json(RunFiles.open("zoo:fashion-mnist").result_path)["train_seconds"] / 3600
    assert f"{hours:.2f} h without a reading (no energy counter is readable" in training["source"]
    assert found["break_even"]["inferences"]["why"] == "the energy of training is unknown"
    estimated = ofa(capsys, *words, "--power-w", 15)["parts"]["training"]
    assert (estimated["kwh"], estimated["kind"]) == (pytest.approx(15 * hours / 1000, rel=0.01), "estimated")


def test_the_energy_of_an_inference_is_the_platforms(capsys: pytest.CaptureFixture[str], trained_run: Path) -> None:
    run = RunFiles.open(trained_run)
    costs = load_platform("stm32-u575").costs(run.space)
    for subnet in ("largest", "smallest"):
        genes = run.space.encode([getattr(run.space, subnet)()])
        words = ("--platform", "stm32-u575", "--inferences", 5, "--subnet", subnet)
        found = ofa(capsys, "footprint", trained_run, *words)
        assert found["inference_j"] == pytest.approx(float(costs.energy_mj(genes)[0]) / 1000)
        assert found["inference_p90_j"] > found["inference_j"]
        assert found["parts"]["inference"]["kind"] == "modelled"


def test_a_platform_without_energy_is_unknown(capsys: pytest.CaptureFixture[str], trained_run: Path) -> None:
    found = ofa(capsys, "footprint", trained_run, "--platform", "epyc-milan-torch-1", "--inferences", 5)
    assert (found["parts"]["inference"]["kwh"], found["parts"]["inference"]["kind"]) == (None, "unknown")
    assert found["label"]["letter"] is None


def test_a_queried_subnet_of_a_run(capsys: pytest.CaptureFixture[str], subnet_folder: Path, tmp_path: Path) -> None:
    words = ("--platform", "edge-int8", "--inferences", 5)
    inside = ofa(capsys, "footprint", subnet_folder, *words)
    card = read_json(subnet_folder / "card.json")
    figure = next(line for line in card["figures"] if line["name"] == "Energy per inference")
    assert inside["inference_j"] == pytest.approx(figure["value"] / 1000)
    assert inside["parts"]["training"]["source"] != "nothing is booked; --training-kwh gives it"
    assert inside["label"] == card["labels"][0]
    moved = tmp_path / "net"
    shutil.copytree(subnet_folder, moved)
    alone = ofa(capsys, "footprint", moved, *words)
    assert alone["parts"]["training"]["source"] == "nothing is booked; --training-kwh gives it"
    assert alone["label"]["ratio_note"] == "its run is not here"
    with_run = ofa(capsys, "footprint", moved, "--run", subnet_folder.parents[1], *words)
    assert with_run["parts"] == inside["parts"]
    assert "--run goes with a SUBNET_DIR" in error(capsys, "footprint", subnet_folder.parents[1], "--run", moved, *words)


def test_a_bundle_knows_what_its_training_took(capsys: pytest.CaptureFixture[str], metered: Path, tmp_path: Path) -> None:
    write_vouched_json(
        metered / "result.json", {"train_seconds": 7200.0, "train_energy_j": None, "train_energy_source": "x"}
    )
    bundle = tmp_path / "packed.ofa"
    ofa(capsys, "pack", metered, "--out", bundle)
    words = ("--platform", "edge-int8", "--inferences", 5, "--power-w", 10)
    packed = ofa(capsys, "footprint", bundle, *words)
    assert packed["parts"]["training"]["kwh"] == pytest.approx(0.02)


def test_edge_against_cloud(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cloud", "wifi", "--server-mj", 140, "--server-pue", 1.2, "--cloud-bytes", 20000, "--per-burst", 10)
    found = ofa(capsys, "footprint", *NUMBERS, *words, "--grid", "USA", "--server-grid", "FRA")
    cloud = found["edge_against_cloud"]
    by_formula = footprint.edge_against_cloud(3e-5, 0.14, 20000, 2.443e-6, 0.0315, 1.2, 0, 0.02841, 10)
    for name in ("edge_j", "radio_j", "network_j", "server_j", "cloud_j", "cloud_over_edge"):
        assert cloud[name] == pytest.approx(getattr(by_formula, name), rel=1e-3), name
    grams = by_formula.grams({"edge": 369.473, "network": 369.473, "server": 56.039})
    assert cloud["cloud_g"] == pytest.approx(grams["cloud"], rel=1e-3)
    assert cloud["break_even_bytes"] == found["break_even"]["bytes"]["bytes"] == 0
    assert "recalled" in cloud["radio_source"]


def test_bytes_from_which_the_edge_wins(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--inferences", 1, "--inference-mj", 500, "--cloud", "fixed", "--server-mj", 100, "--cloud-bytes", 10)
    found = ofa(capsys, "footprint", *words, "--network-kwh-per-gb", 0.1)
    assert found["break_even"]["bytes"]["bytes"] == pytest.approx(0.4 / (0.1 * 3.6e6 / 1e9))


def test_the_server_may_be_a_platform(capsys: pytest.CaptureFixture[str], trained_run: Path) -> None:
    words = ("--platform", "edge-int8", "--inferences", 1, "--cloud", "ble", "--server-platform", "stm32-u575")
    cloud = ofa(capsys, "footprint", trained_run, *words)["edge_against_cloud"]
    assert cloud["bytes"] == 12 * 12
    assert "energies of different boundaries are not comparable" in cloud["warning"]
    space = load_space(trained_run / "space.yaml")
    genes = space.encode([space.largest()])
    energy = float(load_platform("stm32-u575").costs(space).energy_mj(genes)[0]) / 1000
    assert cloud["server_j"] == pytest.approx(energy)


def test_what_the_device_sends(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--send", "lte", "--bytes", 100, "--per-burst", 1000, "--devices", 2)
    sent = ofa(capsys, "footprint", *NUMBERS, *words)["parts"]["transmission"]
    joules = 2e6 * 100 * (5.225e-6 + 0.104 * 3.6e6 / 1e9) + 2e6 / 1000 * (0.3149 + 12.271)
    assert sent["kwh"] == pytest.approx(joules / 3.6e6)
    assert sent["kind"] == "modelled"
    bound = ofa(capsys, "footprint", *NUMBERS, "--send", "5g", "--bytes", 100)["parts"]["transmission"]
    assert bound["missing"] == ["the device's radio (no figure of a device was found that could be read (none; unknown))"]
    given = ofa(capsys, "footprint", *NUMBERS, "--send", "5g", "--bytes", 100, "--radio-uj-per-byte", 2)
    assert given["parts"]["transmission"]["missing"] == []


def test_manufacture(capsys: pytest.CaptureFixture[str]) -> None:
    made = ("--device", "smartphone", "--inference-ms", 60, "--devices", 3)
    found = ofa(capsys, "footprint", *NUMBERS, *made)["parts"]["embodied"]
    assert found["kg_co2e"] == pytest.approx(3 * 84 * 0.06e6 / 3600 / (2.5 * 8766))
    assert found["kwh"] is None
    assert "not of the time in use" in found["source"]
    bought = ofa(capsys, "footprint", *NUMBERS, "--embodied-kg", 20, "--life-share", 1)["parts"]["embodied"]
    assert bought["kg_co2e"] == 20
    unknown = ofa(capsys, "footprint", *NUMBERS, "--device", "camera")["parts"]["embodied"]
    assert (unknown["kg_co2e"], unknown["kind"]) == (None, "unknown")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_it_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"life{suffix}"
    ofa(capsys, "footprint", *NUMBERS, "--training-kwh", 1, "--grid", 100, "--plot", file)
    assert file.stat().st_size > 1000
    nothing = tmp_path / f"nothing{suffix}"
    ofa(capsys, "footprint", "--inferences", 0, "--inference-mj", 0, "--plot", nothing)
    assert nothing.exists()


def test_the_table_names_kind_and_source(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    words = ["footprint", metered, "--platform", "edge-int8", "--inferences", 1e6, "--devices", 20, "--grid", "FRA"]
    assert main([*map(str, words), "--cloud", "lte", "--server-mj", "140"]) == 0
    shown = capsys.readouterr().out
    for wanted in (
        "1,000,000 inferences on each of 20 devices, edge-int8",
        "metered    checkpoint + lost + training: RAPL package-0",
        "56.039 g CO2e/kWh, France, 2023; Our World in Data",
        "times as much",
        "energy label:",
        "inferences until use passes training and search:",
    ):
        assert wanted in shown, wanted


MISTAKES: list[tuple[str, tuple[object, ...]]] = [
    ("--inferences is nan; must be finite", ("--inferences", "nan", "--inference-mj", 1)),
    ("--inferences is -5; must be finite", ("--inferences", -5, "--inference-mj", 1)),
    ("--inferences is inf", ("--inferences", "inf", "--inference-mj", 1)),
    ("--inference-mj is -1", ("--inferences", 1, "--inference-mj", -1)),
    ("--inference-mj is nan", ("--inferences", 1, "--inference-mj", "nan")),
    ("--platform is missing", ("--inferences", 1)),
    ("--platform is missing, or RUN", ("--inferences", 1, "--platform", "edge-int8")),
    ("no-such-device", ("--inferences", 1, "--platform", "no-such-device")),
    ("--devices is 0", (*NUMBERS, "--devices", 0)),
    ("--devices is 1.5; must be a whole number", (*NUMBERS, "--devices", 1.5)),
    ("--devices is nan", (*NUMBERS, "--devices", "nan")),
    ("--grid: grid 'Atlantis' is unknown", (*NUMBERS, "--grid", "Atlantis")),
    ("--grid: grid is -3", (*NUMBERS, "--grid=-3")),
    ("--train-grid: grid is nan", (*NUMBERS, "--train-grid", "nan")),
    ("--server-grid goes with --cloud", (*NUMBERS, "--server-grid", "FRA")),
    ("--grid-file goes with --grid", (*NUMBERS, "--grid-file", "x.csv")),
    ("x.csv: no such file", (*NUMBERS, "--grid-file", "x.csv", "--grid", "mine")),
    ("--pue: PUE is 0.5; must be finite and at least 1", (*NUMBERS, "--pue", 0.5)),
    ("--pue: PUE 'mine' is unknown", (*NUMBERS, "--pue", "mine")),
    ("--server-pue goes with --cloud", (*NUMBERS, "--server-pue", 1.2)),
    ("--training-kwh is -1", (*NUMBERS, "--training-kwh", -1)),
    ("--search-kwh is inf", (*NUMBERS, "--search-kwh", "inf")),
    ("--power-w and --accelerator are both given", (*NUMBERS, "--power-w", 5, "--accelerator", "T4")),
    ("--utilisation goes with --accelerator", (*NUMBERS, "--utilisation", 0.5)),
    ("--accelerators is 0; must be at least 1", (*NUMBERS, "--accelerators", 0)),
    ("--send: way to send 'pigeon' is unknown", (*NUMBERS, "--send", "pigeon", "--bytes", 5)),
    ("--bytes is missing", (*NUMBERS, "--send", "wifi")),
    ("--bytes is -5", (*NUMBERS, "--send", "wifi", "--bytes", -5)),
    ("--bytes goes with --send", (*NUMBERS, "--bytes", 5)),
    ("--per-burst is 0.5", (*NUMBERS, "--send", "wifi", "--bytes", 5, "--per-burst", 0.5)),
    ("--cloud: way to send 'x' is unknown", (*NUMBERS, "--cloud", "x", "--server-mj", 1)),
    ("--cloud needs the server", (*NUMBERS, "--cloud", "wifi")),
    ("--cloud needs the server", (*NUMBERS, "--cloud", "wifi", "--server-mj", 1, "--server-platform", "edge-int8")),
    ("--cloud-bytes is missing", (*NUMBERS, "--cloud", "wifi", "--server-mj", 1)),
    ("--cloud-bytes is nan", (*NUMBERS, "--cloud", "wifi", "--server-mj", 1, "--cloud-bytes", "nan")),
    ("--server-mj is -1", (*NUMBERS, "--cloud", "wifi", "--server-mj", -1, "--cloud-bytes", 5)),
    ("--server-mj goes with --cloud", (*NUMBERS, "--server-mj", 1)),
    ("--server-platform goes with a RUN", (*NUMBERS, "--cloud", "wifi", "--server-platform", "edge-int8")),
    ("give --radio-uj-per-byte", (*NUMBERS, "--cloud", "5g", "--server-mj", 1, "--cloud-bytes", 5)),
    ("--radio-uj-per-byte is -1", (*NUMBERS, "--send", "5g", "--bytes", 1, "--radio-uj-per-byte", -1)),
    ("--network-kwh-per-gb is nan", (*NUMBERS, "--send", "5g", "--bytes", 1, "--network-kwh-per-gb", "nan")),
    ("--device: device 'toaster' is unknown", (*NUMBERS, "--device", "toaster")),
    ("--device and --embodied-kg are both given", (*NUMBERS, "--device", "camera", "--embodied-kg", 5)),
    ("--lifetime-years is missing", (*NUMBERS, "--embodied-kg", 5)),
    ("--lifetime-years is -1", (*NUMBERS, "--embodied-kg", 5, "--lifetime-years", -1, "--inference-ms", 1)),
    ("--embodied-kg is -5", (*NUMBERS, "--embodied-kg", -5, "--life-share", 1)),
    ("--life-share is 2; .* at most 1", (*NUMBERS, "--device", "camera", "--life-share", 2)),
    (
        "--life-share and --lifetime-years are both",
        (*NUMBERS, "--device", "camera", "--life-share", 1, "--lifetime-years", 3),
    ),
    ("its life is 43830 h", ("--inferences", 1e12, "--inference-mj", 1, "--inference-ms", 60, "--device", "camera")),
    ("--inference-ms is 0", (*NUMBERS, "--inference-ms", 0)),
    ("--rival-kwh is -1", (*NUMBERS, "--training-kwh", 1, "--rival-kwh", -1)),
    ("--each-kwh is nan", (*NUMBERS, "--training-kwh", 1, "--rival-kwh", 1, "--each-kwh", "nan")),
    ("--run goes with a RUN or SUBNET_DIR", (*NUMBERS, "--run", "x")),
    ("--subnet goes with a RUN or SUBNET_DIR", (*NUMBERS, "--subnet", "largest")),
    ("no-such-run: no run directory", ("no-such-run", *NUMBERS)),
    ("no-such-run: no run directory", ("fashion-mnist", *NUMBERS, "--failed", "no-such-run")),
    ("no-such.json", ("fashion-mnist", *NUMBERS, "--subnet", "no-such.json")),
    ("--accelerator: accelerator 'V2' is unknown", ("fashion-mnist", *NUMBERS, "--accelerator", "V2")),
    ("--utilisation is missing", ("fashion-mnist", *NUMBERS, "--accelerator", "V100")),
    ("--utilisation is 1.5", ("fashion-mnist", *NUMBERS, "--accelerator", "V100", "--utilisation", 1.5)),
    ("--power-w is 0", ("fashion-mnist", *NUMBERS, "--power-w", 0)),
    ("--plot is life.xyz", (*NUMBERS, "--plot", "life.xyz")),
]


@pytest.mark.parametrize(("message", "words"), MISTAKES)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], message: str, words: tuple[object, ...]) -> None:
    found = error(capsys, "footprint", *words)
    assert found.startswith("ofa footprint: error: ")
    assert re.search(message, found), found


@pytest.mark.parametrize("words", [("--inferences", "many"), (), ("--inferences", 1, "--colour", "red")])
def test_what_the_parser_refuses(capsys: pytest.CaptureFixture[str], words: tuple[Any, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["footprint", *map(str, words)])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_ledger_is_named(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    file = metered / "energy" / "train-0.json"
    file.write_text(file.read_text().replace("7200000.0", "7300000.0"))
    message = error(capsys, "footprint", metered, "--platform", "edge-int8", "--inferences", 1)
    assert "train-0.json: damaged" in message


def test_a_ledger_in_the_place_of_another_is_named(capsys: pytest.CaptureFixture[str], metered: Path) -> None:
    shutil.copy(metered / "energy" / "train-0.json", metered / "energy" / "predictor-0.json")
    message = error(capsys, "footprint", metered, "--platform", "edge-int8", "--inferences", 1)
    assert "predictor-0.json: another ledger is in its place: it was written as train-0.json" in message


def test_bounds_of_another_label(capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "label.json"
    write_vouched_json(file, {"id": "mine-1", "bounds_nj": {"X": [0, 1e-9], "Y": [1e-9, 1e9], "Z": [1e9, None]}})
    words = ("footprint", trained_run, "--platform", "edge-int8", "--inferences", 1, "--label", file)
    label = ofa(capsys, *words)["label"]
    assert (label["id"], label["shown"]) == ("mine-1", "Y")
    file.write_text(file.read_text().replace("mine", "ours"))
    assert "label.json: damaged" in error(capsys, *words)


def test_the_accuracy_of_another_platform_is_not_that_of_this_one(
    capsys: pytest.CaptureFixture[str], trained_run: Path, tmp_path: Path
) -> None:
    net = tmp_path / "net"
    card = ofa(capsys, "query", trained_run, "--platform", "edge-int8", "--verify", 1, "--out", net)["card"]
    measured = next(line["value"] for line in card["figures"] if line["name"] == "Top-1, validation (measured)")
    label = ofa(capsys, "footprint", net, "--platform", "stm32-u575", "--inferences", 1)["label"]
    assert (label["top1"], label["top1_numerics"]) == (pytest.approx(measured / 100), "fp32")
