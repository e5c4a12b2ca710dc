"""What a verb writes, every other verb reads: each kind of predictor, each searcher, each way to write a subnet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ofa.cli.main import main
from ofa.deploy.subnet_directory import read_subnet
from search.predictors.kinds import KINDS
from search.searchers.catalogue import AUTO, SEARCHERS
from tests.verbs import ofa

PLATFORM = "edge-int8"
LIMIT = ("--latency-ms", "1000")
FIXED = ("ridge", "stage-additive", "mlp")


@pytest.fixture(scope="module")
def runs(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny run with a predictor of each kind."""
    found = {}
    for kind in FIXED:
        run = tmp_path_factory.mktemp("pairs") / kind
        shutil.copytree(trained_run, run)
        assert main(["predictor", str(run), "--samples", "24", "--kind", kind, "--json"]) == 0
        found[kind] = run
    return found


def test_every_kind_of_predictor_is_tried() -> None:
    assert set(KINDS) == set(FIXED)


@pytest.mark.parametrize("kind", FIXED)
def test_a_predictor_of_any_kind_is_read_by_query_pareto_fleet_and_predictor(
    runs: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs[kind]
    assert json.loads((run / "predictor" / "predictor.json").read_text())["kind"] == kind
    ofa(capsys, "query", run, "--platform", PLATFORM, *LIMIT, "--no-verify", "--out", tmp_path / "net")
    ofa(capsys, "query", run, "--platform", PLATFORM, *LIMIT, "--verify", 1, "--out", tmp_path / "measured")
    ofa(capsys, "pareto", run, "--platform", PLATFORM, "--no-verify", "--out", tmp_path / "front.png")
    (tmp_path / "fleet.csv").write_text(f"device,platform,latency_ms\na,{PLATFORM},1000\n")
    ofa(capsys, "query", run, "--fleet", tmp_path / "fleet.csv", "--no-verify", "--out", tmp_path / "answer.csv")
    assert ofa(capsys, "predictor", run, "--samples", 24, "--kind", kind)["measured_now"] == 0
    for folder in ("net", "measured"):
        ofa(capsys, "evaluate", run, "--subnet", tmp_path / folder)
        again, tuned = tmp_path / f"{folder}-again", tmp_path / f"{folder}-tuned"
        ofa(capsys, "extract", run, "--subnet", tmp_path / folder, "--out", again)
        ofa(capsys, "finetune", again, "--run", run, "--epochs", 1, "--out", tuned)
        ofa(capsys, "evaluate", run, "--subnet", tuned)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [*(("ridge", name) for name in (AUTO, *SEARCHERS)), *(("mlp", name) for name in (AUTO, "exact", "evolution"))],
)
def test_every_searcher_answers_with_every_predictor_and_its_log_is_read(
    runs: dict[str, Path], kind: str, algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["query", runs[kind], "--platform", PLATFORM, *LIMIT, "--no-verify", "--algorithm", algorithm]
    words += ["--out", tmp_path / "net"]
    if algorithm == "exact" and kind == "mlp":
        assert main([*map(str, words)]) == 2
        assert "Traceback" not in capsys.readouterr().err
        return
    if algorithm not in ("exact", "auto"):
        words += ["--budget", 40, "--history", tmp_path / "log.jsonl"]
    ofa(capsys, *words)
    first = read_subnet(tmp_path / "net")[1]
    ofa(capsys, *words)  # from the log, where there is one
    assert read_subnet(tmp_path / "net")[1] == first
    if algorithm not in ("exact", "auto"):
        ofa(capsys, "pareto", "--history", tmp_path / "log.jsonl", "--out", tmp_path / "h.svg")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_profile_of_any_runtime_and_batch_is_read_by_query_and_platforms(
    runs: dict[str, Path], runtime: str, batch: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = runs["ridge"], tmp_path / "here.yaml"
    options = ["--runs", 3, "--networks", 2, "--threads", 1, "--batch", batch, "--runtime", runtime]
    ofa(capsys, "profile", "--space", run / "space.yaml", "--out", out, *options)
    ofa(capsys, "platforms", out)
    ofa(capsys, "query", run, "--platform", out, *LIMIT, "--no-verify", "--out", tmp_path / "net")
    ofa(capsys, "pareto", run, "--platform", out, "--x", "latency_ms", "--no-verify", "--out", tmp_path / "front.svg")
