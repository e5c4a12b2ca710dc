"""`ofa pareto` from end to end, on a tiny run that was really trained."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from ofa.cli.main import main
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from tests.verbs import error, ofa

PLATFORM = "edge-int8"


@pytest.fixture(scope="module")
def run(trained_run: Path) -> Path:
    """A trained run with a predictor of 24 measured subnets."""
    return trained_run


def test_pareto_measures_draws_and_writes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "front.png"
    words = (
        "pareto",
        run,
        "--platform",
        PLATFORM,
        "--platform",
        "eyeriss-like",
        "--samples",
        50,
        "--points",
        4,
        "--out",
        out,
    )
    result = ofa(capsys, *words)
    assert out.read_bytes().startswith(b"\x89PNG")
    header, *rows = (tmp_path / "front.csv").read_text().splitlines()
    assert header.startswith("platform,kind,energy_mj,predicted_top1")
    assert sum(",cloud," in row for row in rows) == 100
    assert [part["platform"] for part in result["platforms"]] == [PLATFORM, "eyeriss-like"]
    for part in result["platforms"]:
        assert 2 <= len(part["measured"]) <= 4
        assert part["images"] == 60
        assert part["largest"]["measured_top1"] is not None
    log = (run / "predictor" / "measurements.jsonl").read_text()
    assert ofa(capsys, *words) == result
    assert (run / "predictor" / "measurements.jsonl").read_text() == log


def test_the_front_is_measured_on_test_images_after_its_selection(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, log = tmp_path / "front.svg", run / "predictor" / "measurements.jsonl"
    words = ("pareto", run, "--platform", PLATFORM, "--samples", 20, "--points", 4, "--out", out)
    ofa(capsys, *words)
    selected = [row for row in _numbers(tmp_path / "front.csv") if row["on_measured_front"] == "1"]
    before = log.read_text()
    part = ofa(capsys, *words, "--split", "test")["platforms"][0]
    assert log.read_text() == before, "test accuracies are in no log from which anything is chosen"
    rows = [row for row in _numbers(tmp_path / "front.csv") if row["split"]]
    assert {row["genes"] for row in rows if row["kind"] == "front"} == {row["genes"] for row in selected}
    assert part["split"] == "test"
    assert "test (%)" in out.read_text()
    directory = RunDirectory.open(run)
    evaluator = evaluator_of_run(directory)
    for row in rows:
        assert (row["split"], int(row["images"])) == ("test", evaluator.size("test"))
        (subnet,) = directory.space.decode([[int(gene) for gene in row["genes"].split()]])
        assert float(row["measured_top1"]) == pytest.approx(evaluator.correct(subnet, "test").mean(), abs=1e-6)
    assert "--no-verify" in error(capsys, *words, "--split", "test", "--no-verify")
    history = ("pareto", "--history", log, "--out", out, "--split", "test")
    assert "--split does not go with --history" in error(capsys, *history)


def test_pareto_without_measuring_and_other_axes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, csv = tmp_path / "front.svg", tmp_path / "numbers.csv"
    words = ("pareto", run, "--platform", PLATFORM, "--x", "memory_kb", "--samples", 20, "--no-verify", "--out", out)
    result = ofa(capsys, *words, "--csv", csv)
    assert "Memory (kB)" in out.read_text()
    assert "nothing of the run is measured" in out.read_text()
    assert csv.exists()
    assert result["platforms"][0]["measured"] == []


def flat(figure: Path) -> str:
    """The text of a figure in one line."""
    return " ".join(re.sub("<[^>]*>", " ", figure.read_text()).split())


def test_pareto_says_of_what_its_energies_are(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "front.svg"
    words = ("pareto", run, "--samples", 20, "--no-verify", "--out", out, "--platform", "stm32-u575")
    result = ofa(capsys, *words)
    assert result["boundaries"] == {"stm32-u575": "chip"}
    assert result["mixed_boundaries"] is None
    text = flat(out)
    assert "boundary: chip" in text
    assert "is power x time" in text
    assert "sizes beyond the calibration of stm32-u575" in text
    ofa(capsys, *words[:-1], "pixel1")
    assert "power x time (a factor of 1.7): this front ranks as latency does" in flat(out)
    ofa(capsys, *words[:-1], "v100-batch64")
    assert "energy on v100-batch64 is expected within a factor of 1.4" in flat(out)
    assert main([*map(str, words), "--platform", PLATFORM]) == 0
    assert "warning: energies of different boundaries are not comparable (stm32-u575: chip" in capsys.readouterr().err
    assert "energies of different boundaries" in flat(out)
    assert main([*map(str, words), "--platform", PLATFORM, "--x", "latency_ms"]) == 0
    assert "boundaries" not in capsys.readouterr().err + out.read_text()


def test_pareto_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ("pareto", run, "--platform", PLATFORM)
    assert "--out is front.gif; allowed are names ending in .png" in error(capsys, *base, "--out", "front.gif")
    text = error(capsys, *base, "--platform", PLATFORM, "--out", tmp_path / "x.png")
    assert "--platform is edge-int8, edge-int8; must be distinct" in text
    assert "--points is 1; must be at least 2" in error(capsys, *base, "--points", 1, "--out", tmp_path / "x.png")
    same = (*base, "--out", tmp_path / "x.png", "--no-verify")
    assert "x.png, which is the file of --out; give another" in error(capsys, *same, "--csv", tmp_path / "x.png")
    (tmp_path / "x.csv").write_text("name,top1,energy_mj\nmine,0.7,0.002\n")
    assert "x.csv, which is the file of --overlay" in error(capsys, *same, "--overlay", tmp_path / "x.csv")
    assert "mine" in (tmp_path / "x.csv").read_text()
    assert "energy is unknown" in error(capsys, "pareto", run, "--platform", "note10", *same[4:])  # and no warning
    with pytest.raises(SystemExit) as caught:
        main([*map(str, base), "--x", "price", "--out", "x.png"])
    assert caught.value.code == 2
    assert "invalid choice: 'price'" in capsys.readouterr().err


def test_pareto_reports_hypervolumes_of_both_fronts(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = ofa(capsys, "pareto", run, "--platform", PLATFORM, "--samples", 30, "--points", 3, "--out", tmp_path / "a.png")
    volume = result["platforms"][0]["hypervolume"]
    assert volume["predicted"] > 0
    assert volume["measured"] >= 0
    with open(tmp_path / "a.csv", newline="") as file:
        rows = {row["kind"]: row for row in csv.DictReader(file) if row["kind"].startswith("hypervolume")}
    for kind in ("predicted", "measured"):
        row = rows[f"hypervolume, {kind}"]
        assert float(row["hypervolume"]) == pytest.approx(volume[kind], rel=1e-5)
        assert float(row["energy_mj"]) == pytest.approx(volume["reference"]["energy_mj"], rel=1e-5)
        assert float(row["predicted_top1"]) == pytest.approx(volume["reference"]["top1"], abs=1e-6)


def test_pareto_of_a_part(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("pareto", run, "--platform", PLATFORM, "--samples", 20, "--no-verify", "--out", tmp_path / "part.png")
    ofa(capsys, *words, "--fix", "resolutions=8", "--fix", "kernels=3")
    with open(tmp_path / "part.csv", newline="") as file:
        sizes = {row["resolution"] for row in csv.DictReader(file)} - {""}
    assert sizes == {"8"}


def test_overlay_is_drawn_and_checked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, out = tmp_path / "nets.csv", tmp_path / "front.svg"
    points.write_text("name,energy_mj,latency_ms,top1\nFamousNet,0.002,1,0.7\nOther,0.001,2,0.5\n$x_{$,0.003,2,0.6\n")
    words = ("pareto", run, "--platform", PLATFORM, "--samples", 20, "--no-verify", "--overlay", points, "--out", out)
    ofa(capsys, *words)
    for text in ("FamousNet", "Other", "$x_{$", "other networks, as given"):
        assert text in out.read_text()

    def refused(text: str) -> str:
        points.write_text(text)
        return error(capsys, *words)

    assert "nets.csv:1: column 'energy_mj' is missing; columns are name, top1, energy_mj and" in refused(
        "name,top1\na,0.7\n"
    )
    assert "nets.csv:1: unknown column 'top5'" in refused("name,top1,energy_mj,top5\na,0.7,1,2\n")
    assert "nets.csv:2: top1 is 76; must be a fraction of at most 1" in refused("name,top1,energy_mj\na,76,1\n")
    assert "nets.csv:3: energy_mj is ''; expected a number" in refused("name,top1,energy_mj\na,.7,1\nb,.7,\n")
    assert "nets.csv: no such file" in error(capsys, *words[:-3], tmp_path / "gone" / "nets.csv", *words[-2:])


def test_history_of_a_search_is_drawn(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "search.jsonl", tmp_path / "history.svg"
    words = ("--algorithm", "evolution", "--no-verify", "--budget", 200, "--history", log, "--out", tmp_path / "net")
    ofa(capsys, "query", run, "--platform", PLATFORM, "--macs-m", 0.08, *words)
    result = ofa(capsys, "pareto", "--history", log, "--out", out)
    end = json.loads(log.read_text().splitlines()[-1])
    assert result["histories"][0]["evaluations"] == end["evaluations"]
    assert result["histories"][0]["best"] == end["best"]
    assert "Best predicted top-1 so far (%)" in out.read_text()
    assert "RUN does not go with --history" in error(capsys, "pareto", run, "--history", log, "--out", out)
    (tmp_path / "other.jsonl").write_text("{}\n")
    text = error(capsys, "pareto", "--history", tmp_path / "other.jsonl", "--out", out)
    assert "other.jsonl: not a search's log" in text
    assert "RUN is missing" in error(capsys, "pareto", "--platform", PLATFORM, "--out", out)


def _numbers(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))
