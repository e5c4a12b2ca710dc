"""The accuracy of a subnet as a platform computes it, measured and told by `ofa evaluate --numerics`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ofa.deploy.accuracy_under import correct_in_int8
from ofa.deploy.formats import catalogue
from ofa.deploy.formats.onnx_format import OnnxFormat
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from tests.verbs import error, ofa


def test_int8_is_classified_by_the_exported_file(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = evaluator_of_run(RunDirectory.open(trained_run), images=50)
    subnet = evaluator.supernet.space.largest()
    right = correct_in_int8(evaluator, subnet)
    assert right.shape == (50,)
    assert (right == evaluator.correct(subnet)).mean() > 0.9
    classes = len(evaluator.data.classes)
    monkeypatch.setattr(OnnxFormat, "runner", lambda *_: lambda pixels: np.eye(classes)[np.ones(len(pixels), int)])
    assert (correct_in_int8(evaluator, subnet) == (evaluator.labels() == 1)).all()


def test_a_platform_of_int8(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ofa(capsys, "evaluate", trained_run, "--numerics", "edge-int8", "--images", 50)
    assert report["numerics"]["numerics"] == "int8"
    assert report["numerics"]["runtime"].startswith("ONNX Runtime 1.")
    for row in report["subnets"]:
        found = row["numerics"]
        assert found["top1"] == pytest.approx(row["top1"] + found["top1_change"])
        assert abs(found["top1_change"]) < 0.2
        assert found["top1_change_error"] >= 0
        assert "top1_draws" not in found


def test_an_analog_platform(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate", trained_run, "--numerics", "analog-imc", "--subnet", "largest", "--images", 40
    report = ofa(capsys, *words, "--draws", 3, "--seed", 4)
    assert report["numerics"]["draws"] == 3
    assert report["numerics"]["numerics"]["analog"]["weight_noise"] == 0.02
    found = report["subnets"][0]["numerics"]
    assert len(found["top1_draws"]) == 3
    assert found["top1_mean"] == pytest.approx(np.mean(found["top1_draws"]))
    assert found["top1_deviation"] == pytest.approx(np.std(found["top1_draws"], ddof=1))
    assert found == ofa(capsys, *words, "--draws", 3, "--seed", 4)["subnets"][0]["numerics"]
    bundle = tmp_path / "net.ofa"
    ofa(capsys, "pack", trained_run, "--out", bundle, "--validation", 40)
    of_bundle = ofa(capsys, "evaluate", bundle, *words[2:], "--draws", 3, "--seed", 4)["subnets"][0]["numerics"]
    assert of_bundle == found


def test_the_text_names_platform_draws_and_deviation(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ofa.cli.main import main

    words = ["evaluate", str(trained_run), "--numerics", "analog-imc", "--subnet", "largest", "--images", "40"]
    assert main([*words, "--draws", "2"]) == 0
    text = capsys.readouterr().out
    assert "on analog-imc: analog, weight noise 2% of the column's largest" in text
    assert "mean and deviation of 2 draws" in text
    assert "below the deviation" in text


def test_mistakes_are_one_line(
    trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "evaluate", trained_run, "--numerics"
    assert "platform note10: its numerics are fp32" in error(capsys, *words, "note10")
    assert "unknown platform 'nowhere'" in error(capsys, *words, "nowhere")
    assert "--draws is 1; must be at least 2" in error(capsys, *words, "analog-imc", "--draws", 1)
    assert "nothing is drawn on edge-int8" in error(capsys, *words, "edge-int8", "--draws", 4)
    assert "goes with --numerics" in error(capsys, *words[:2], "--draws", 4)
    monkeypatch.setattr(catalogue, "version_of", lambda _: None)
    assert "pip install 'ofa-energy[onnx]'" in error(capsys, *words, "edge-int8")
