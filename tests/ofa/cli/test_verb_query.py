"""`ofa predictor`, `ofa query`, `ofa pareto` from end to end, on a tiny run that was really trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofa.cli.main import main
from ofa.deploy.subnet_directory import FILES, load_subnet, read_subnet
from ofa.errors import UserError
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from tests.verbs import error, figures, ofa

ROOT = Path(__file__).resolve().parents[3]
PLATFORM = "edge-int8"
OLD_ADDRESS = ".".join(("ofa", "subnet_directory"))
"""Where the `load.py` of older subnets imports from; in two parts, for it must stay when modules are renamed."""


@pytest.fixture(scope="module")
def run(trained_run: Path) -> Path:
    """A trained run with a predictor of 24 measured subnets."""
    return trained_run


# -- predictor -----------------------------------------------------------------------------------------------------------


def test_predictor_measures_what_is_missing_and_reports(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = run / "predictor" / "measurements.jsonl"
    before = log.read_text()
    result = ofa(capsys, "predictor", run, "--samples", 24)
    assert result["measured_now"] == 0
    assert log.read_text() == before
    entries = [json.loads(line) for line in before.splitlines()]
    space = RunDirectory.open(run).space
    largest = next(entry for entry in entries if entry["genes"] == space.encode(space.largest())[0].tolist())
    assert result["top1_largest"] == largest["top1"]
    assert largest["images"] == result["images"] == 60
    stored = json.loads((run / "predictor" / "predictor.json").read_text())
    assert stored["report"] == result["report"]
    assert -1 <= result["report"]["kendall_tau"] <= 1
    assert result["report"]["samples"] == 24


def test_predictor_agrees_with_the_evaluator(run: Path) -> None:
    directory = RunDirectory.open(run)
    entries = [json.loads(line) for line in (run / "predictor" / "measurements.jsonl").read_text().splitlines()[:3]]
    subnets = directory.space.decode(np.array([entry["genes"] for entry in entries]))
    assert evaluator_of_run(directory).top1(subnets).tolist() == [entry["top1"] for entry in entries]


def test_predictor_prints_for_people(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["predictor", str(run), "--samples", "24"]) == 0
    text = capsys.readouterr().out
    assert "24 subnets on 60 validation images; 24 are measured already" in text
    assert "Kendall tau" in text


# -- query ---------------------------------------------------------------------------------------------------------------


def test_query_writes_a_subnet_that_keeps_its_promises(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ofa(capsys, "query", run, "--platform", PLATFORM, "--macs-m", 0.06, "--out", tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == sorted([*FILES, "label.svg"])
    card = figures(json.loads((tmp_path / "net" / "card.json").read_text()))
    assert card["Multiply-accumulates"]["value"] <= 0.06
    assert card["Multiply-accumulates"]["uncertainty"] == "exact"
    assert card["Energy per inference"]["source"].startswith("per-access energies")
    assert card["Latency"]["source"] == "modelled: analytic model"
    measured = card["Top-1, validation (measured)"]
    assert "60 held-out validation images" in measured["source"]
    assert "best of 5 measured" in measured["uncertainty"]

    # The directory alone gives the measured accuracy back.
    directory = RunDirectory.open(run)
    space, subnet = read_subnet(tmp_path / "net")
    assert space.fingerprint == directory.space.fingerprint
    assert space.encode(subnet)[0].tolist() == result["genes"]
    module = load_subnet(tmp_path / "net")
    assert not module.training
    batches = directory.data().batches(
        "validation", batch_size=60, resolution=subnet.resolution, shuffle=False, augment=False
    )
    with torch.inference_mode():
        correct = sum(int((module(images).argmax(1) == labels).sum()) for images, labels in batches)
    assert 100 * correct / 60 == pytest.approx(measured["value"])

    text = (tmp_path / "net" / "card.md").read_text()
    assert "| Top-1, validation (measured) |" in text
    assert "- **limits**: macs_m 0.06" in text


@pytest.mark.parametrize("address", ["ofa", OLD_ADDRESS])
def test_load_example_runs_elsewhere(address: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is written, and as it was written before version 0.2."""
    ofa(capsys, "query", run, "--platform", PLATFORM, "--no-verify", "--out", tmp_path / "net")
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "net", moved)
    example = (moved / "load.py").read_text()
    line = "from ofa import load_subnet\n"
    assert [text for text in example.splitlines(keepends=True) if "import" in text and "ofa" in text] == [line]
    (moved / "load.py").write_text(example.replace(line, f"from {address} import load_subnet\n"))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(moved / "load.py")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name, probability = done.stdout.strip().split(": ")
    assert name in {"0", "1", "2"}
    assert 1 / 3 <= float(probability) <= 1


def test_query_without_verification_measures_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "predictor" / "measurements.jsonl").read_bytes()
    result = ofa(capsys, "query", run, "--platform", PLATFORM, "--params-m", 0.01, "--no-verify")
    assert (run / "predictor" / "measurements.jsonl").read_bytes() == before
    assert "Top-1, validation (measured)" not in figures(result["card"])
    assert Path(result["out"]) == run / "queries" / "edge-int8_params_m-0.01"
    assert not result["verified"]
    load_subnet(result["out"])


def test_query_picks_the_best_measured_and_measures_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("query", run, "--platform", PLATFORM, "--verify", 7, "--out", tmp_path / "net")
    first = ofa(capsys, *words)
    log = (run / "predictor" / "measurements.jsonl").read_text()
    again = ofa(capsys, *words)
    assert (run / "predictor" / "measurements.jsonl").read_text() == log
    assert again["genes"] == first["genes"]
    top1 = {tuple(entry["genes"]): entry["top1"] for entry in map(json.loads, log.splitlines())}
    assert figures(first["card"])["Top-1, validation (measured)"]["value"] == 100 * top1[tuple(first["genes"])]


@pytest.mark.parametrize("algorithm", ["auto", "evolution", "random"])
def test_query_with_every_algorithm(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
    words = ("--macs-m", 0.08, "--algorithm", algorithm, "--no-verify", "--out", tmp_path / algorithm)
    result = ofa(capsys, "query", run, "--platform", PLATFORM, *words)
    assert figures(result["card"])["Multiply-accumulates"]["value"] <= 0.08


def test_query_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = ("query", run, "--platform", PLATFORM)
    text = error(capsys, *query, "--latency-ms", 1e-4)
    assert "no subnet of tiny runs under 0.0001 ms on edge-int8; the fastest takes 0." in text
    assert "algorithm is 'best'; available are auto, exact, evolution, nsga2, optuna, random" in error(
        capsys, *query, "--algorithm", "best"
    )
    assert "--energy-mj is -1; must be finite and above 0" in error(capsys, *query, "--energy-mj", -1)
    assert "--verify is 0; must be at least 1" in error(capsys, *query, "--verify", 0)
    assert "unknown platform 'toaster'; known are" in error(capsys, "query", run, "--platform", "toaster")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    text = error(capsys, *query, "--no-verify", "--out", tmp_path / "mine")
    assert "exists and holds no subnet; give another folder" in text
    assert "no run directory" in error(capsys, "query", tmp_path, "--platform", PLATFORM)


def test_predictor_of_other_weights_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "supernet.safetensors")
    save_file({key: value + 1e-3 for key, value in weights.items()}, copy / "supernet.safetensors")
    text = error(capsys, "query", copy, "--platform", PLATFORM, "--no-verify")
    assert "predictor.json: fitted to weights" in text
    shutil.rmtree(copy / "predictor")
    assert "no predictor there; `ofa predictor RUN` measures" in error(capsys, "query", copy, "--platform", PLATFORM)


# -- subnet directory ----------------------------------------------------------------------------------------------------


def test_damaged_subnet_directories_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net"
    ofa(capsys, "query", run, "--platform", PLATFORM, "--no-verify", "--out", out)
    document = read_vouched_json(out / "subnet.json", "")
    with pytest.raises(UserError, match=r"subnet.json: no such file"):
        load_subnet(tmp_path)

    def damaged(change: dict[str, Any], message: str) -> None:
        write_vouched_json(out / "subnet.json", document | change)
        with pytest.raises(UserError, match=message):
            load_subnet(out)

    damaged({"fingerprint": "beef"}, "made for a space with fingerprint beef; .*space.yaml has")
    damaged({"genes": [0] * len(document["genes"])}, "genes and subnet are not the same network")
    damaged({"weights_sha256": "0"}, r"weights.safetensors: its digest is not the one in subnet.json")
    damaged({"format": 3}, "not a subnet of format 1")
    (out / "subnet.json").write_text(json.dumps(document))  # as versions before 0.2 wrote it
    load_subnet(out)
    write_vouched_json(out / "subnet.json", document)
    text = (out / "subnet.json").read_text()
    (out / "subnet.json").write_text(text.replace(f'"resolution": {document["subnet"]["resolution"]}', '"resolution": 99'))
    with pytest.raises(UserError, match=r"subnet.json: damaged: its content is not .*query the subnet again"):
        load_subnet(out)


def test_weights_of_another_network_are_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    from ofa.files.atomic import sha256

    out = tmp_path / "net"
    ofa(capsys, "query", run, "--platform", PLATFORM, "--no-verify", "--out", out)
    file = out / "weights.safetensors"
    tensors = load_file(file)

    def replaced(change: dict[str, torch.Tensor | None], message: str) -> None:
        kept = {key: value for key, value in (tensors | change).items() if value is not None}
        save_file(kept, file)
        document = read_vouched_json(out / "subnet.json", "") | {"weights_sha256": sha256(file)}
        write_vouched_json(out / "subnet.json", document)
        with pytest.raises(UserError, match=message):
            load_subnet(out)

    replaced({"head.classifier.bias": None}, "missing weights head.classifier.bias$")
    replaced({"head.extra": torch.zeros(1)}, "unexpected weights head.extra$")
    replaced({"head.classifier.bias": torch.zeros(9)}, r"head.classifier.bias has shape \[9\]; the subnet needs \[3\]")
