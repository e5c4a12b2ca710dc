"""What `ofa query` can be asked besides one platform's limits: several platforms, a confidence, a part, a fleet, a log."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import load_platform, save_platform
from latency_tables.metrics import least_number, limit_number
from ofa.cli.main import main
from ofa.cli.shared.options import Measured
from ofa.runs.run_files import RunFiles
from ofa.space.search_space import Genes
from search import load_predictor
from search.arrays import Floats
from tests.platform_toys import measured
from tests.verbs import error, figures, ofa

EDGE, EYERISS, NOTE10 = "edge-int8", "eyeriss-like", "note10"


@pytest.fixture(scope="module")
def run(trained_run: Path) -> Path:
    """A trained run with a predictor of 24 measured subnets."""
    return trained_run


def costs(run: Path, platform: str, result: dict[str, Any], confidence: float | None = None) -> dict[str, float]:
    known = load_platform(platform).costs(RunFiles.open(run).space, confidence)
    return {metric: float(known.of(metric, np.array(result["genes"], dtype=np.int8))[0]) for metric in known.metrics}


def bounds(run: Path, platform: str, metric: str, share: float) -> float:
    """A limit between the cheapest and the dearest subnet."""
    space = RunFiles.open(run).space
    ends = load_platform(platform).costs(space).of(metric, space.encode([space.smallest(), space.largest()]))
    return float(ends[0] + share * (ends[1] - ends[0]))


def test_one_subnet_for_several_platforms(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loose = bounds(run, EDGE, "energy_mj", 1.0)
    tight = bounds(run, EYERISS, "energy_mj", 0.4)
    words = ("query", run, "--platform", EDGE, "--platform", EYERISS, "--no-verify", "--out", tmp_path / "net")
    result = ofa(capsys, *words, "--energy-mj", loose, "--energy-mj", f"{EYERISS}={tight}")
    assert costs(run, EYERISS, result)["energy_mj"] <= tight
    alone = ofa(capsys, "query", run, "--platform", EYERISS, "--no-verify", "--energy-mj", tight, "--out", tmp_path / "one")
    assert alone["genes"] == result["genes"]
    card = result["card"]
    assert card["title"] == "Subnet of tiny for edge-int8 and eyeriss-like"
    assert card["limits"] == {"energy_mj on edge-int8": loose, "energy_mj on eyeriss-like": tight}
    shown = figures(card)
    for platform in (EDGE, EYERISS):
        assert shown[f"Energy per inference on {platform}"]["value"] == pytest.approx(
            costs(run, platform, result)["energy_mj"]
        )
        assert card[f"platform_{platform}"].startswith(f"{platform}: ")
    assert shown["Parameters"]["uncertainty"] == "exact"
    everywhere = ofa(capsys, *words, "--latency-ms", bounds(run, EYERISS, "latency_ms", 0.3))
    for platform in (EDGE, EYERISS):
        assert costs(run, platform, everywhere)["latency_ms"] <= bounds(run, EYERISS, "latency_ms", 0.3)


def test_the_default_folder_says_what_was_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = bounds(run, EYERISS, "latency_ms", 0.9)
    words = ("--latency-ms", f"{EYERISS}={limit:.3g}", "--fix", "kernels=3", "--no-verify")
    result = ofa(capsys, "query", run, "--platform", EDGE, "--platform", EYERISS, *words)
    assert Path(result["out"]).name == f"edge-int8+eyeriss-like_latency_ms-eyeriss-like-{float(f'{limit:.3g}'):g}_kernels-3"


def test_a_judged_energy_has_its_factor_beside_it_on_the_screen(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("query", run, "--platform", "pixel1", "--latency-ms", 1000, "--confidence", 0.8, "--no-verify")
    assert main([*map(str, words), "--out", str(tmp_path / "net")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Energy per inference")]
    assert len(lines) == 1  # no upper bound: nothing was compared
    assert "mJ  within a factor of 1.7: 1.74 W times latency" in lines[0]


def test_confidence_budgets_on_the_upper_bound(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = bounds(run, NOTE10, "latency_ms", 0.5)
    words = ("query", run, "--platform", NOTE10, "--latency-ms", limit, "--no-verify", "--out", tmp_path / "net")
    plain, sure = ofa(capsys, *words), ofa(capsys, *words, "--confidence", 0.95)
    assert costs(run, NOTE10, sure, 0.95)["latency_ms"] <= limit
    assert costs(run, NOTE10, sure)["latency_ms"] < limit
    shown = figures(sure["card"])
    assert shown["Latency"]["value"] == pytest.approx(costs(run, NOTE10, sure)["latency_ms"])
    assert shown["Latency"]["p90"] == pytest.approx(costs(run, NOTE10, sure, 0.9)["latency_ms"])
    assert "p90 " in shown["Latency"]["uncertainty"]
    assert shown["Latency, upper at 95%"]["value"] == pytest.approx(costs(run, NOTE10, sure, 0.95)["latency_ms"])
    assert sure["card"]["confidence"] == 0.95
    assert not any("upper" in name for name in figures(plain["card"]))
    assert "p90" in figures(plain["card"])["Latency"]
    assert main([*map(str, words[:4]), "--confidence", "0.9", "--latency-ms", str(limit / 1000), "--no-verify"]) == 2
    assert "at 90% confidence; the fastest takes" in capsys.readouterr().err


def test_fixed_choices_are_kept_to(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("query", run, "--platform", EDGE, "--no-verify", "--out", tmp_path / "net")
    result = ofa(capsys, *words, "--fix", "kernels=3", "--fix", "depths=1", "--fix", "resolutions=8")
    subnet = RunFiles.open(run).space.decode(np.array(result["genes"], dtype=np.int8))[0]
    assert subnet.resolution == 8
    assert all(len(stage.blocks) == 1 for stage in subnet.stages)
    assert {block.kernel for stage in subnet.stages for block in stage.blocks} == {3}


def test_a_table_that_lacks_a_resolution_confines_the_search(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.yaml"
    save_platform(measured(RunFiles.open(run).space.restrict(resolutions=[8])), path)
    capsys.readouterr()
    result = ofa(capsys, "query", run, "--platform", path, "--no-verify", "--out", tmp_path / "net")
    assert RunFiles.open(run).space.decode(np.array(result["genes"], dtype=np.int8))[0].resolution == 8
    text = error(capsys, "query", run, "--platform", path, "--fix", "resolutions=12", "--no-verify")
    assert "has costs at 8 px; searched are 12 px" in text


def test_the_cheapest_subnet_that_is_accurate_enough(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all subnets the one with the least energy that is predicted to reach it, found without search."""
    words = ("query", run, "--platform", EDGE, "--no-verify", "--out", tmp_path / "net")
    space = RunFiles.open(run).space
    genes = np.unique(space.sample(3000, np.random.default_rng(0)), axis=0)
    top1 = load_predictor(run, space).top1(genes)
    energy = load_platform(EDGE).costs(space).energy_mj(genes)
    for least in np.quantile(top1, [0.3, 0.9]):
        result = ofa(capsys, *words, "--minimize", "energy_mj", "--min-top1", least)
        predicted = figures(result["card"])["Top-1, validation (predicted)"]["value"]
        assert predicted >= 100 * least
        assert costs(run, EDGE, result)["energy_mj"] <= energy[top1 >= least].min() * (1 + 1e-9)
        assert result["card"]["least"] == "energy per inference on edge-int8"
        assert result["card"]["min_top1"] == least
    smallest = ofa(capsys, *words, "--minimize", "macs_m")
    assert costs(run, EDGE, smallest)["macs_m"] == bounds(run, EDGE, "macs_m", 0.0)


def test_the_cheapest_is_measured_to_be_accurate_enough(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cheapest on, until one is; were none, that is an error."""
    words = ("query", run, "--platform", EDGE, "--minimize", "energy_mj", "--out", tmp_path / "net")
    chosen = ofa(capsys, *words, "--no-verify")
    least = figures(chosen["card"])["Top-1, validation (predicted)"]["value"] / 100
    values = [least - 0.01, least - 0.02, (least + 1) / 2]
    asked: list[list[int]] = []

    def top1(self: Measured, genes: Genes) -> Floats:
        rows = genes.tolist()
        asked.extend(row for row in rows if row not in asked)  # the card asks for the chosen one again
        return np.array([values[asked.index(row)] for row in rows])

    monkeypatch.setattr(Measured, "top1", top1)
    result = ofa(capsys, *words, "--min-top1", least)
    assert asked[0] == chosen["genes"]
    assert result["genes"] == asked[2]
    assert figures(result["card"])["Top-1, validation (measured)"]["value"] == pytest.approx(100 * values[2])
    energy = [costs(run, EDGE, {"genes": genes})["energy_mj"] for genes in asked]
    assert energy == sorted(energy)
    asked.clear()
    text = error(capsys, *words, "--min-top1", least, "--verify", 2, "--json")
    assert f"none of 2 subnets predicted to have a top-1 of {least:g} is measured to have it" in text
    assert f"the best has {least_number(values[0])}" in text
    assert "with a predicted accuracy of 1.0; the most accurate has" in error(capsys, *words, "--min-top1", 1)


def test_the_default_folder_says_what_is_least(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("query", run, "--platform", EDGE, "--platform", EYERISS, "--no-verify", "--minimize", f"{EYERISS}=latency_ms")
    result = ofa(capsys, *words)
    assert Path(result["out"]).name == f"{EDGE}+{EYERISS}_least-{EYERISS}-latency_ms"


def test_optuna_with_a_sampler_and_a_storage(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = f"journal://{tmp_path / 'study.log'}"
    words = ("--algorithm", "optuna", "--sampler", "RandomSampler", "--storage", storage, "--study", "mine", "--budget", 40)
    result = ofa(
        capsys, "query", run, "--platform", EDGE, "--macs-m", 0.08, *words, "--no-verify", "--out", tmp_path / "net"
    )
    assert result["card"]["algorithm"].startswith("optuna, ")
    assert "mine" in (tmp_path / "study.log").read_text()


def test_a_logged_search_resumes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "search.jsonl"
    words = ("query", run, "--platform", EDGE, "--macs-m", 0.08, "--algorithm", "evolution", "--no-verify", "--budget", 150)
    first = ofa(capsys, *words, "--history", log, "--out", tmp_path / "net")
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:2]) + "\n")
    assert ofa(capsys, *words, "--history", log, "--out", tmp_path / "net")["genes"] == first["genes"]
    assert log.read_text().splitlines() == lines
    text = error(capsys, *words, "--history", log, "--seed", 1, "--out", tmp_path / "net")
    assert "search.jsonl: the log of another search: its seed is 0, not 1" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--platform is missing; give one or more"),
        (("--platform", EDGE, "--platform", EDGE), "--platform is edge-int8, edge-int8; must be distinct"),
        (("--platform", EDGE, "--latency-ms", "fast"), "--latency-ms is 'fast'; expected a number, or PLATFORM=NUMBER"),
        (("--platform", EDGE, "--latency-ms", "nan"), "--latency-ms is nan; must be finite and above 0"),
        (
            ("--platform", EDGE, "--latency-ms", "note10=2"),
            "--latency-ms is for platform 'note10'; asked about",
        ),
        (
            ("--platform", EDGE, "--latency-ms", "2", "--latency-ms", "3"),
            "--latency-ms is given twice for the same",
        ),
        (("--platform", EDGE, "--macs-m", "edge-int8=2"), "--macs-m is for platform 'edge-int8', but the same on all"),
        (("--platform", EDGE, "--minimize", "size"), "--minimize is 'size'; expected one of latency_ms, energy_mj"),
        (("--platform", EDGE, "--minimize", "note10=latency_ms"), "after PLATFORM= of edge-int8, or alone"),
        (
            ("--platform", EDGE, "--platform", NOTE10, "--minimize", "latency_ms"),
            "--minimize is latency_ms, but on which platform? Give --minimize edge-int8=latency_ms, say",
        ),
        (("--platform", NOTE10, "--energy-mj", "2"), "platform note10: energy is unknown"),
        (("--platform", NOTE10, "--latency-ms", "1e-6"), "the fastest takes"),
        (("--platform", EDGE, "--min-top1", "88"), "min_top1 is 88; must be above 0 and at most 1"),
        (
            ("--platform", EDGE, "--minimize", "macs_m", "--algorithm", "evolution"),
            "this algorithm searches for accuracy alone",
        ),
        (("--platform", EDGE, "--fix", "kernel=3"), "--fix is 'kernel=3'; expected WHAT=VALUES, WHAT being one of kernels"),
        (("--platform", EDGE, "--fix", "kernels"), "--fix is 'kernels'; expected WHAT=VALUES"),
        (("--platform", EDGE, "--fix", "kernels=a"), "--fix is 'kernels=a'; expected whole numbers separated by commas"),
        (("--platform", EDGE, "--fix", "kernels=4"), "kernels has 4, which no stage of the space has; known are"),
        (("--platform", EDGE, "--fix", "kernels=3", "--fix", "kernels=5"), "--fix kernels is given twice"),
        (("--platform", EDGE, "--fix", "widths=1,2"), "--fix is 'widths=1,2'; expected one number"),
        (("--platform", EDGE, "--sampler", "RandomSampler"), "--sampler goes with --algorithm optuna; it is auto"),
        (("--platform", EDGE, "--algorithm", "optuna", "--sampler", "Best"), "Best"),
        (("--platform", EDGE, "--confidence", "1"), "confidence is 1; must be at least 0.5"),
        (
            ("--platform", EDGE, "--confidence", "0.9", "--latency-ms", "2"),
            "the error of its latency_ms on whole networks is unknown",
        ),
    ],
)
def test_mistakes_are_one_line(run: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    assert message in error(capsys, "query", run, "--no-verify", *words)


# -- a fleet -------------------------------------------------------------------------------------------------------------


def write_fleet(run: Path, path: Path) -> None:
    rows = [
        f"door,{EDGE},{bounds(run, EDGE, 'latency_ms', 0.4)},,,",
        f"hall,{EDGE},{bounds(run, EDGE, 'latency_ms', 0.4)},{bounds(run, EDGE, 'energy_mj', 0.3)},,",
        f"phone,{NOTE10},{bounds(run, NOTE10, 'latency_ms', 0.7)},,,0.9",
        f"slow,{EDGE},1e-6,,,",
        f",{EDGE},,,,",
    ]
    path.write_text("\n".join(["device,platform,latency_ms,energy_mj,macs_m,confidence", *rows]) + "\n")


def test_fleet_rows_are_what_queries_answer(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fleet(run, tmp_path / "devices.csv")
    result = ofa(capsys, "query", run, "--fleet", tmp_path / "devices.csv", "--no-verify", "--out", tmp_path / "out.csv")
    assert (result["devices"], result["platforms"], result["served"], result["out_of_reach"]) == (5, 2, 4, 1)
    assert result["exact"]
    assert result["measured"] == 0
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    subnets = json.loads((tmp_path / "out-subnets.json").read_text())["subnets"]
    for row in rows:
        words = ["--platform", row["platform"], "--no-verify", "--out", tmp_path / "net"]
        for metric in ("latency_ms", "energy_mj"):
            if row[f"max_{metric}"]:
                words += [f"--{metric.replace('_', '-')}", row[f"max_{metric}"]]
        if row["confidence"]:
            words += ["--confidence", row["confidence"]]
        if row["feasible"] == "1":
            fresh = ofa(capsys, "query", run, *words)
            assert figures(fresh["card"])["Top-1, validation (predicted)"]["value"] == pytest.approx(
                100 * float(row["predicted_top1"])
            )
            genes = {"genes": subnets[row["subnet"]]["genes"]}
            assert float(row["energy_mj"] or 0) == pytest.approx(costs(run, row["platform"], genes).get("energy_mj", 0))
            assert float(row["latency_ms"]) == pytest.approx(costs(run, row["platform"], genes)["latency_ms"])
        else:
            attainable = float(row["attainable"].removeprefix("latency_ms="))
            message = error(capsys, "query", run, *words)
            assert f"the fastest takes {limit_number(attainable)} ms" in message
            for value in (attainable, message.split()[-2]):  # both are limits that can be met
                ofa(capsys, "query", run, *(str(value) if word == row["max_latency_ms"] else word for word in words))
    phone = rows[2]
    assert float(phone["latency_ms"]) < float(phone["upper_latency_ms"]) <= float(phone["max_latency_ms"])
    assert rows[4]["device"] == "line 6"


def test_fleet_measures_the_subnets_chosen(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fleet(run, tmp_path / "devices.csv")
    words = ("query", run, "--fleet", tmp_path / "devices.csv", "--out", tmp_path / "out.json")
    result = ofa(capsys, *words)
    assert result["measured"] == result["subnets"] >= 2
    document = json.loads((tmp_path / "out.json").read_text())
    known = {
        tuple(entry["genes"]): entry["top1"]
        for entry in map(json.loads, (run / "predictor" / "measurements.jsonl").read_text().splitlines())
    }
    for subnet in document["subnets"].values():
        assert subnet["measured_top1"] == known[tuple(subnet["genes"])]
        assert subnet["images"] == 60
    few = ofa(capsys, *words, "--verify", 1)
    assert few["measured"] == 1
    most = max(document["subnets"].values(), key=lambda subnet: subnet["devices"])
    again = json.loads((tmp_path / "out.json").read_text())["subnets"]
    measured = [subnet for subnet in again.values() if subnet["measured_top1"] is not None]
    assert [subnet["devices"] for subnet in measured] == [most["devices"]]


def test_fleet_for_people(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fleet(run, tmp_path / "devices.csv")
    capsys.readouterr()
    assert main(["query", str(run), "--fleet", str(tmp_path / "devices.csv"), "--no-verify"]) == 0
    text = capsys.readouterr().out
    assert "5 devices on 2 platforms: 4 are served by" in text
    assert "5 devices: exact: the complete front" in text
    assert "out of reach: slow (line 5); attainable: latency_ms" in text
    assert (run / "queries" / "devices-answer.csv").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("toaster,1,,", "devices.csv:2: unknown platform 'toaster'; known are"),
        ("missing.yaml,1,,", "missing.yaml: no such file"),
        ("note10,1,3,", "devices.csv:2: platform note10: energy is unknown"),
        ("edge-int8,1,,0.9", "devices.csv:2: platform edge-int8: the error of its latency_ms on whole networks is unknown"),
        ("note10,x,,", "devices.csv:2: latency_ms is 'x'; expected a number, or nothing"),
    ],
)
def test_bad_devices_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, message: str
) -> None:
    (tmp_path / "devices.csv").write_text(f"platform,latency_ms,energy_mj,confidence\n{row}\n")
    words = ("query", run, "--fleet", tmp_path / "devices.csv", "--no-verify", "--out", tmp_path / "out.csv")
    assert message in error(capsys, *words)
    assert not (tmp_path / "out.csv").exists()


def test_options_that_do_not_go_with_a_fleet(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fleet(run, tmp_path / "devices.csv")
    words = ("query", run, "--fleet", tmp_path / "devices.csv", "--no-verify")
    assert "--platform does not go with --fleet" in error(capsys, *words, "--platform", EDGE)
    assert "--macs-m does not go with --fleet" in error(capsys, *words, "--macs-m", 3)
    assert "--history does not go with --fleet" in error(capsys, *words, "--history", "a.jsonl")
    assert "--algorithm is 'random'; with --fleet" in error(capsys, *words, "--algorithm", "random")
    replaced = error(capsys, *words, "--out", tmp_path / "devices.csv")
    assert f"--out is {tmp_path / 'devices.csv'}, which would replace --fleet" in replaced
    assert "--out is net; with --fleet it is a file, ending in .csv or .json" in error(capsys, *words, "--out", "net")
