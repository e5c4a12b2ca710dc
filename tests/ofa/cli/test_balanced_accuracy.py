"""Unequal classes, from recipe to front: balanced accuracy is measured, predicted and asked for, never mixed with top-1."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa.cli.main import main
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.measure.accuracy import BALANCED, TOP1
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.result import report_result, result_lines
from ofa.training.trainer import Trainer
from tests.tiny import write_recipe
from tests.verbs import error, figures, ofa

PLATFORM = ("--platform", "edge-int8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on classes of very unequal sizes, with weights in the loss and a predictor of balanced accuracy."""
    folder = tmp_path_factory.mktemp("unequal")
    path = write_recipe(folder)
    arrays = dict(np.load(folder / "data.npz"))
    for part in ("train", "test"):
        kept = (arrays[f"y_{part}"] < 2) | (np.arange(len(arrays[f"y_{part}"])) % 5 == 0)
        arrays |= {name: arrays[name][kept] for name in (f"x_{part}", f"y_{part}")}
    np.savez(folder / "data.npz", **arrays)
    recipe, space = load_recipe(path)
    recipe = replace(recipe, balance=replace(recipe.balance, method="weights"), phases=recipe.phases[:1])
    opened = replace(recipe.phases[0], opens=replace(recipe.phases[0].opens, everything=True))
    directory = RunDirectory.create(folder / "run", replace(recipe, phases=(opened,)), space)
    Trainer(directory, quiet=True).train()
    words = ("--samples", "20", "--kind", "ridge", "--accuracy", "balanced", "--json")
    assert main(["predictor", str(directory.path), *words]) == 0
    return directory.path


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_rows_and_result_have_both_metrics(run: Path) -> None:
    directory = RunDirectory.open(run)
    rows = [json.loads(line) for line in directory.metrics_path.read_text().splitlines()]
    assert all(0 < row["balanced_largest"] <= 1 for row in rows)
    result = report_result(directory, progress=False)
    assert result["largest_balanced"] == result["subnets"][0]["balanced"]
    assert result["random_balanced_mean"] == pytest.approx(np.mean([net["balanced"] for net in result["subnets"][2:]]))
    assert f"; balanced {100 * result['largest_balanced']:.2f}%" in result_lines(result, Path("result.json"))[1]


def test_evaluate_shows_every_class(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ofa(capsys, "evaluate", run, "--per-class")
    directory = RunDirectory.open(run)
    evaluator = evaluator_of_run(directory)
    right, labels = evaluator.correct(directory.space.largest()), evaluator.labels()
    assert [entry["images"] for entry in report["classes"]] == np.bincount(labels).tolist()
    largest = report["subnets"][0]
    assert largest["by_class"] == pytest.approx([right[labels == label].mean() for label in range(3)])
    assert largest["balanced"] == pytest.approx(np.mean(largest["by_class"]))
    assert largest["top1"] == right.mean() != largest["balanced"]
    assert main(["evaluate", str(run), "--per-class"]) == 0
    text = capsys.readouterr().out
    assert f"{100 * largest['balanced']:.2f}%" in text.splitlines()[1]
    table = text.split("\n\n")[1].splitlines()
    assert table[0].split() == ["class", "images", "largest", "smallest"]
    assert table[3].split()[:3] == ["2", str(report["classes"][2]["images"]), f"{100 * largest['by_class'][2]:.2f}%"]
    assert "by_class" not in ofa(capsys, "evaluate", run)["subnets"][0]


def test_the_predictor_says_what_it_was_fitted_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = read_vouched_json(run / "predictor" / "predictor.json", "")
    assert facts["accuracy"] == "balanced"
    again = ofa(capsys, "predictor", run, "--samples", 20, "--kind", "ridge", "--accuracy", "balanced")
    assert again["measured_now"] == 0
    evaluator = evaluator_of_run(RunDirectory.open(run))
    counts = evaluator.counts([evaluator.supernet.space.largest()])[0]
    assert again["balanced_largest"] == BALANCED.value(counts) != TOP1.value(counts)
    assert again["noise"]["std"] > 0


def test_a_query_ranks_by_balanced_accuracy_and_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ofa(capsys, "query", run, *PLATFORM, "--verify", 3, "--out", tmp_path / "net")
    assert result["accuracy"] == "balanced"
    shown = figures(result["card"])
    assert "Top-1, validation (measured)" not in shown
    figure = shown["Balanced accuracy, validation (measured)"]
    lines = [json.loads(line) for line in (run / "predictor" / "measurements.jsonl").read_text().splitlines()]
    measured = {tuple(line["genes"]): line for line in lines}[tuple(result["genes"])]
    assert figure["value"] == pytest.approx(100 * measured["balanced"])
    assert measured["balanced"] != measured["top1"]
    counts = evaluator_of_run(RunDirectory.open(run)).data.labels("validation")
    recall, images = np.array(measured["right_by_class"]) / np.bincount(counts), np.bincount(counts)
    wanted = 100 * np.sqrt((recall * (1 - recall) / images).sum()) / 3
    assert f"{wanted:.2f} points (1 standard error" in figure["uncertainty"]
    least = ofa(capsys, "query", run, *PLATFORM, "--minimize", "macs_m", "--min-balanced", 0.01, "--no-verify")
    assert least["card"]["min_balanced"] == 0.01
    assert Path(least["out"]).name == "edge-int8_least-macs_m_balanced-0.01"


def test_what_is_asked_for_in_another_metric_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    advice = f"run `ofa predictor {run} --accuracy top1`"
    assert f"fitted to balanced accuracy; asked for is top-1: {advice}" in error(
        capsys, "query", run, *PLATFORM, "--accuracy", "top1"
    )
    assert f"--min-top1 is 0.5, but the predictor is fitted to balanced accuracy: give --min-balanced, or {advice}" in error(
        capsys, "query", run, *PLATFORM, "--min-top1", 0.5
    )
    assert "asked for is top-1" in error(capsys, "pareto", run, *PLATFORM, "--accuracy", "top1", "--out", run / "a.png")


def test_a_front_is_of_balanced_accuracy(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--samples", 20, "--points", 3, "--out", tmp_path / "front.svg")
    (tmp_path / "others.csv").write_text("name,top1,energy_mj\na,0.5,0.1\n")
    assert "balanced" in error(capsys, "pareto", run, *PLATFORM, *words, "--overlay", tmp_path / "others.csv")
    report = ofa(capsys, "pareto", run, *PLATFORM, *words)
    assert report["accuracy"] == "balanced"
    assert report["platforms"][0]["largest"]["measured_balanced"] > 0
    assert "Balanced accuracy, validation (%)" in (tmp_path / "front.svg").read_text()
    rows = list(csv.DictReader((tmp_path / "front.csv").read_text().splitlines()))
    assert "measured_top1" not in rows[0]
    measured = [row for row in rows if row["measured_balanced"]]
    assert len(measured) > 1
    (tmp_path / "fleet.csv").write_text("platform\nedge-int8\n")
    ofa(capsys, "query", run, "--fleet", tmp_path / "fleet.csv", "--out", tmp_path / "answer.csv")
    answer = next(csv.DictReader((tmp_path / "answer.csv").read_text().splitlines()))
    assert float(answer["measured_balanced"]) > 0


def test_both_metrics_are_told_by_one_measurement(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ofa(capsys, "predictor", copied, "--samples", 20, "--kind", "ridge")
    assert report["accuracy"] == "top1"
    assert report["measured_now"] == 0
    assert report["top1_largest"] > 0
    assert ofa(capsys, "query", copied, *PLATFORM, "--no-verify")["accuracy"] == "top1"


def test_lines_of_earlier_versions_are_measured_again(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied / "predictor" / "measurements.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    new = ("balanced", "right_by_class", "balanced_by_group", "vouched", "sha256")
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k not in new}) + "\n" for line in lines))
    assert ofa(capsys, "predictor", copied, "--samples", 20, "--kind", "ridge")["measured_now"] == 0
    again = ofa(capsys, "predictor", copied, "--samples", 20, "--kind", "ridge", "--accuracy", "balanced")
    assert again["measured_now"] == 20
    facts = copied / "predictor" / "predictor.json"
    write_vouched_json(facts, read_vouched_json(facts, "") | {"accuracy": "f1"})
    assert "predictor.json: accuracy is 'f1'; known are top1, balanced" in error(capsys, "query", copied, *PLATFORM)


def test_few_images_without_a_class_have_no_balanced_accuracy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = error(capsys, "predictor", run, "--samples", 20, "--accuracy", "balanced", "--images", 2)
    assert "balanced accuracy needs images of every class; number " in text
    assert "measure on more, or ask for top-1" in text


def test_a_finetuned_subnet_has_its_cards_metric(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ofa(capsys, "query", run, *PLATFORM, "--no-verify", "--out", tmp_path / "net")
    words = ("finetune", asked["out"], "--run", run, "--epochs", 1, "--out", tmp_path / "tuned")
    result = ofa(capsys, *words)
    shown = figures(json.loads((tmp_path / "tuned" / "card.json").read_text()))
    assert shown["Balanced accuracy, validation (measured)"]["value"] == pytest.approx(100 * result["balanced_after"])
    assert not [name for name in shown if name.startswith("Top-1") or "predicted" in name]
