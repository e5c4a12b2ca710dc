"""`ofa train` and `ofa evaluate` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ofa.cli.main import main
from tests.tiny import write_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    recipe = write_recipe(folder)
    recipe.write_text(recipe.read_text().replace("checkpoint_seconds:", "tensorboard: true\ncheckpoint_seconds:"))
    assert main(["train", str(recipe), "--run", str(folder / "run"), "--device", "cpu", "--json"]) == 0
    return folder


def test_train_leaves_everything_in_the_run_directory(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {path.name for path in (trained / "run").iterdir()}
    assert {"recipe.yaml", "space.yaml", "metrics.jsonl", "supernet.safetensors", "result.json"} <= names
    assert list((trained / "run" / "tensorboard").glob("events*"))
    before = (trained / "run" / "supernet.safetensors").stat().st_mtime_ns
    # The same command once more reports what is there, and trains nothing.
    assert main(["train", str(trained / "tiny.yaml"), "--run", str(trained / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["split"] == "test"
    assert (trained / "run" / "supernet.safetensors").stat().st_mtime_ns == before


def test_evaluate_measures_named_and_random_subnets(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(trained / "run")
    assert main(["evaluate", run, "--subnet", "largest", "--random", "2", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 60
    assert [row["subnet"] for row in found["subnets"]] == ["largest", "random 0", "random 1"]
    assert all(0 <= row["top1"] <= 1 for row in found["subnets"])
    assert found["subnets"][0]["macs_m"] >= max(row["macs_m"] for row in found["subnets"])
    assert main(["evaluate", run, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "validation top-1" in out
    assert "smallest" in out
    assert "on 60 validation images" in out


def test_evaluate_on_training_images_looks_at_as_many_as_asked(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained / "run"), "--split", "train", "--images", "7", "--random", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 7
    for row in found["subnets"]:
        assert 7 * row["top1"] == pytest.approx(round(7 * row["top1"]))


def test_evaluate_reads_a_subnet_from_a_file(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ofa import load_space

    subnet = load_space(trained / "run" / "space.yaml").smallest()
    path = trained / "mine.json"
    path.write_text(json.dumps(subnet.to_dict()))
    assert main(["evaluate", str(trained / "run"), "--subnet", str(path), "--subnet", "smallest", "--json"]) == 0
    mine, smallest = json.loads(capsys.readouterr().out)["subnets"]
    assert mine["top1"] == smallest["top1"]
    path.write_text(json.dumps(subnet.to_dict() | {"resolution": 99}))
    assert main(["evaluate", str(trained / "run"), "--subnet", str(path)]) == 2
    assert "resolution is 99; allowed are [8, 12]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing.yaml"], "nothing.yaml: no such file"),
        (["train", "nothing"], "unknown recipe 'nothing'; known are"),
        (["train", "RECIPE", "--device", "cuda:99"], "this machine has"),
        (["train", "RECIPE", "--device", "abacus"], "is no device"),
        (["evaluate", "RUN", "--split", "tomorrow"], "has no split 'tomorrow'; it has train, validation, test"),
        (["evaluate", "RUN", "--random", "-1"], "--random is -1; must be at least 0"),
        (["evaluate", "RUN", "--random", "1", "--seed", "-1"], "--seed is -1; must be at least 0"),
        (["evaluate", "RUN", "--subnet", "median"], "median: no such file"),
        (["evaluate", "elsewhere"], "elsewhere: no run directory"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    known = {"RUN": str(trained / "run"), "RECIPE": str(trained / "tiny.yaml")}
    assert main([known.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
