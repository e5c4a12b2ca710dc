"""A recipe that trains for a chip: its keys change the weights, resume bit by bit, and are checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ofa.errors import UserError
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.training.trainer import Trainer
from tests.tiny import killed_after, write_recipe

CHIPS = {
    "noise": "weight_noise: 0.1\n",
    "layer": "weight_noise: 0.1\nnoise_relative_to: layer\n",
    "int8": "fake_quantisation: int8\n",
    "int4": "fake_quantisation: int4_weights\n",
}


def trained(folder: Path, name: str, lines: str, monkeypatch: pytest.MonkeyPatch | None = None) -> dict[str, torch.Tensor]:
    """Weights of a tiny supernet trained by a recipe with these lines more, killed once if a monkeypatch is given."""
    path = write_recipe(folder, checkpoint_seconds=1e9 if monkeypatch is None else 0)
    path.write_text(lines + path.read_text().partition("  - {name: depth")[0])
    run = RunDirectory.create(folder / name, *load_recipe(path))
    if monkeypatch is not None:
        with killed_after(7, monkeypatch):
            Trainer(run, quiet=True).train()
        torch.rand(5)  # another global random state must not matter
    Trainer(run, quiet=True).train()
    return load_file(run.weights_path)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return trained(tmp_path_factory.mktemp("exact"), "run", "")


@pytest.mark.parametrize("name", CHIPS)
def test_training_for_a_chip_changes_the_weights_and_resumes_bit_by_bit(
    name: str, exact: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path, "whole", CHIPS[name])
    assert whole.keys() == exact.keys()
    assert not torch.equal(whole["head.classifier.weight"], exact["head.classifier.weight"])
    stopped = trained(tmp_path, "stopped", CHIPS[name], monkeypatch)
    assert [key for key in whole if not torch.equal(whole[key], stopped[key])] == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("weight_noise: -0.1", "weight_noise is -0.1; must be at least 0 and below 1"),
        ("weight_noise: much", "weight_noise: expected a number"),
        ("fake_quantisation: int2", "fake_quantisation is 'int2'; allowed are int8, int4_weights"),
        ("noise_relative_to: row", "noise_relative_to is 'row'; allowed are column, layer"),
    ],
)
def test_a_wrong_value_is_one_line(lines: str, message: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(f"{lines}\n{path.read_text()}")
    with pytest.raises(UserError, match=r"tiny.yaml:1: ") as caught:
        load_recipe(path)
    assert message in str(caught.value)
