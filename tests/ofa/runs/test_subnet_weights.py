"""The weights that a query writes: numpy's statistics are torch's, a bundle's those of the run, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.nets.plain import arrays
from ofa.runs import subnet_weights as subject
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.pack import pack
from ofa.runs.run_directory import RunDirectory
from ofa.runs.run_files import RunFiles
from ofa.runs.subnet_weights import subnet_weights
from ofa.space.subnet import Subnet


def subnets(run: RunFiles) -> list[Subnet]:
    return [run.space.smallest(), run.space.largest(), *run.space.decode(run.space.sample(3, np.random.default_rng(0)))]


def test_statistics_are_those_that_torch_measures(trained_run: Path) -> None:
    run = RunDirectory.open(trained_run)
    evaluator = evaluator_of_run(run)
    resolutions = set()
    for subnet in subnets(run):
        expected, found = arrays(evaluator.module(subnet)), subnet_weights(RunFiles.open(trained_run), subnet)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if key.endswith("running_var"):
                np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)
            elif key.endswith("running_mean"):
                std = np.sqrt(expected[key.replace("mean", "var")])
                np.testing.assert_allclose(found[key] / std, value / std, atol=1e-5, err_msg=key)
            else:
                assert np.array_equal(found[key], value), key
        resolutions.add(subnet.resolution)
    assert len(resolutions) > 1


def test_a_bundle_gives_the_bits_of_its_run(trained_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "packed.ofa"
    file.write_bytes(pack(RunDirectory.open(trained_run)).content)
    run, bundle = RunFiles.open(trained_run), RunFiles.open(file)
    for subnet in subnets(run):
        one, other = subnet_weights(run, subnet), subnet_weights(bundle, subnet)
        assert one.keys() == other.keys()
        assert all(one[key].tobytes() == other[key].tobytes() for key in one)


def test_much_work_is_left_to_torch(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of multiply-accumulates of all images together, of a run as of a bundle."""
    run = RunFiles.open(trained_run)
    subnet = run.space.largest()
    monkeypatch.setattr(subject, "ARRAY_WORK", 0)
    monkeypatch.setattr(subject, "recalibrated", None)
    found = subnet_weights(run, subnet)
    expected = arrays(evaluator_of_run(RunDirectory.open(trained_run)).module(subnet))
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_weights_of_another_space_are_refused(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFiles.open(trained_run)
    tensors = run.weights()
    wrong = r"supernet.safetensors: not the weights of this run: "
    missing = {key: value for key, value in tensors.items() if key != "head.classifier.bias"}
    monkeypatch.setattr(RunFiles, "weights", lambda self: missing)
    with pytest.raises(UserError, match=f"{wrong}'head.classifier.bias' is missing"):
        subnet_weights(run, run.space.largest())
    narrow = {"head.classifier.weight": np.zeros((3, 8), np.float32)}
    monkeypatch.setattr(RunFiles, "weights", lambda self: tensors | narrow)
    with pytest.raises(UserError, match=f"{wrong}head.classifier.weight has shape"):
        subnet_weights(run, run.space.largest())
