"""What a verb writes, every other verb reads: each kind of predictor, each searcher, each way to write a subnet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform
from ofa.cli.main import main
from ofa.deploy.subnet_directory import read_subnet
from ofa.measure.evaluator import SubnetEvaluator
from ofa.runs.run_files import RunFiles
from ofa.space.subnet import Subnet
from search.evaluations.log import read_log
from search.predictors.kinds import KINDS
from search.searchers.catalogue import AUTO, SEARCHERS
from tests.verbs import error, figures, ofa

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


# -- an easy data set: every subnet is right -------------------------------------------------------------------------------


@pytest.fixture
def easy_run(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny run without a predictor; every subnet that is measured has every image right."""
    shutil.copytree(trained_run, tmp_path / "easy", ignore=shutil.ignore_patterns("predictor"))
    monkeypatch.setattr(
        SubnetEvaluator, "correct", lambda self, subnet, split="validation": np.ones(self.size(split), dtype=np.bool_)
    )
    return tmp_path / "easy"


def test_where_every_subnet_is_right_every_verb_answers_with_the_cheapest(
    easy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = ofa(capsys, "predictor", easy_run, "--samples", 24, "--rounds", 1, "--platform", PLATFORM)
    assert list(fitted["reports"]) == ["constant"]
    assert (fitted["report"]["kendall_tau"], fitted["report"]["r2"], fitted["report"]["within_1_std"]) == (None,) * 3
    assert fitted["report"]["mean_absolute_error"] == 0
    assert fitted["noise"]["tau_ceiling"] is None
    assert fitted["why"] == "all 24 subnets are measured to have accuracy 1, so the cheapest is the best"
    space = RunFiles.open(easy_run).space
    smallest = space.encode([space.smallest()])[0].tolist()

    for words in (LIMIT, ("--minimize", "energy_mj", "--min-top1", "1"), ("--verify", 3)):
        found = ofa(capsys, "query", easy_run, "--platform", PLATFORM, *words, "--out", tmp_path / "net")
        assert found["genes"] == smallest
        accuracy = figures(found["card"])
        assert accuracy["Top-1, validation (measured)"]["value"] == 100
        assert accuracy["Top-1, validation (predicted)"]["value"] == 100
        assert accuracy["Top-1, validation (predicted)"]["uncertainty"] is None
    ofa(capsys, "evaluate", easy_run, "--subnet", tmp_path / "net")
    ofa(capsys, "extract", easy_run, "--subnet", tmp_path / "net", "--out", tmp_path / "again")
    ofa(capsys, "finetune", tmp_path / "again", "--run", easy_run, "--epochs", 1, "--out", tmp_path / "tuned")
    assert ofa(capsys, "predictor", easy_run, "--samples", 24, "--kind", "mlp")["measured_now"] == 0

    drawn = ofa(capsys, "pareto", easy_run, "--platform", PLATFORM, "--out", tmp_path / "front.svg")["platforms"][0]
    assert (drawn["front_points"], len(drawn["measured"]), drawn["measured"][0]["measured_top1"]) == (1, 1, 1.0)
    assert "nan" not in (tmp_path / "front.csv").read_text()
    (tmp_path / "fleet.csv").write_text(f"device,platform,latency_ms\na,{PLATFORM},1000\n")
    ofa(capsys, "query", easy_run, "--fleet", tmp_path / "fleet.csv", "--out", tmp_path / "answer.csv")
    assert (tmp_path / "answer.csv").read_text().count("100") >= 1


@pytest.mark.parametrize("algorithm", SEARCHERS)
def test_of_equally_accurate_subnets_every_searcher_prefers_the_cheapest_it_met(
    easy_run: Path, algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ofa(capsys, "predictor", easy_run, "--samples", 24)
    words = ["--algorithm", algorithm, "--budget", 20, "--history", tmp_path / "log.jsonl", "--no-verify"]
    words = words[:2] if algorithm == "exact" else words
    found = ofa(capsys, "query", easy_run, "--platform", PLATFORM, *LIMIT, *words, "--out", tmp_path / "net")
    space = RunFiles.open(easy_run).space
    if algorithm == "exact":
        assert found["genes"] == space.encode([space.smallest()])[0].tolist()
        return
    ofa(capsys, "pareto", "--history", tmp_path / "log.jsonl", "--out", tmp_path / "h.svg")
    met = read_log(tmp_path / "log.jsonl").genes
    latency_ms = load_platform(PLATFORM).costs(space).latency_ms(met)
    assert found["genes"] == met[latency_ms.argmin()].tolist()


def test_a_net_at_chance_is_to_be_trained_first(
    easy_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All subnets answer the most common class, whatever the image: no better than without a network."""

    def first_class(self: SubnetEvaluator, subnet: Subnet, split: str = "validation") -> np.ndarray:
        labels = self.data.labels(split)[: self.size(split)]
        return np.asarray(labels == np.bincount(labels).argmax())

    monkeypatch.setattr(SubnetEvaluator, "correct", first_class)
    assert "24 subnets have top-1 0.3833; a constant answer has 0.3833: there is nothing to predict: train first" in error(
        capsys, "predictor", easy_run, "--samples", 24, "--json"
    )


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
