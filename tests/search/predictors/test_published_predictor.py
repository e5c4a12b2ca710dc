from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.official import to_arch, to_subnet
from ofa.space.search_space import load_space
from search import load_predictor
from search.predictors.published import INPUT_RESOLUTIONS, SPELLINGS, PublishedPredictor
from search.predictors.storage import save_predictor

pytestmark = pytest.mark.reference
FILES = {"mbv3-w1.2": "ofa_mbv3_w1.2_acc_predictor.pth", "resnet50": "ofa_resnet50_acc_predictor.pth"}


def load(reference: Path, name: str) -> PublishedPredictor:
    predictor = load_predictor(reference / "predictors" / FILES[name], load_space(name))
    assert isinstance(predictor, PublishedPredictor)
    return predictor


@pytest.mark.parametrize("name", FILES)
def test_equals_the_package(reference: Path, name: str) -> None:
    space, predictor = load_space(name), load(reference, name)
    golden = json.loads((reference / "golden" / "search.json").read_text())[name]
    genes = space.encode([to_subnet(space, entry["arch"], entry["resolution"]) for entry in golden])
    expected = np.array([entry["predicted_top1"] for entry in golden])
    assert len(golden) >= 8
    assert np.ptp(expected) > 0.005
    assert np.abs(predictor.top1(genes) - expected).max() < 1e-6
    assert predictor.std(genes) is None


def resnet_features(arch: dict[str, list[float]], resolution: int) -> set[int]:
    """The inputs that are on, written from the published encoder's description: resolution, stem, widths, expands."""
    on = {(128, 144, 160, 176, 192, 224, 240, 256).index(resolution), 8 + (arch["d"][0] > 0)}
    on |= {10 + 3 * i + int(width) for i, width in enumerate(arch["w"])}
    block = 0
    for base, extra in zip((2, 2, 4, 2), arch["d"][1:], strict=True):
        on |= {28 + 3 * i + (0.2, 0.25, 0.35).index(arch["e"][i]) for i in range(block, block + base + int(extra))}
        block += base + 2
    return on


def test_resnet_inputs_are_the_published_ones(reference: Path) -> None:
    space = load_space("resnet50").restrict(resolutions=[144, 192, 256])
    predictor = load_predictor(reference / "predictors" / FILES["resnet50"], space)
    assert isinstance(predictor, PublishedPredictor)
    genes = space.sample(200, np.random.default_rng(0))
    features = predictor.features(genes)
    for row, subnet in zip(features, space.decode(genes), strict=True):
        assert set(np.flatnonzero(row)) == resnet_features(to_arch(space, subnet), subnet.resolution)


def test_every_input_is_used(reference: Path) -> None:
    """Random subnets have every choice, so every input is on sometimes, but that of a resolution outside the space."""
    for name in FILES:
        predictor = load(reference, name)
        space = predictor.space.restrict(resolutions=[r for r in predictor.resolutions if r in predictor.space.resolutions])
        part = load_predictor(reference / "predictors" / FILES[name], space)
        assert isinstance(part, PublishedPredictor)
        on = part.features(space.sample(500, np.random.default_rng(0))).any(axis=0)
        assert (~on).sum() == len(set(INPUT_RESOLUTIONS[name]) - set(space.resolutions))


@pytest.mark.parametrize(("name", "resolution"), [("mbv3-w1.2", 132), ("mbv3-w1.2", 144), ("resnet50", 208)])
def test_an_unknown_resolution_is_refused(reference: Path, name: str, resolution: int) -> None:
    predictor = load(reference, name)
    genes = predictor.space.encode(predictor.space.largest())
    genes[:, 0] = predictor.space.resolutions.index(resolution)
    with pytest.raises(UserError, match=f"does not know resolution {resolution}; known are .*restrict"):
        predictor.top1(genes)


def test_another_space_or_file_is_refused(reference: Path, tmp_path: Path) -> None:
    import torch

    space = load_space("mbv3-w1.2")
    for name, other in (("mbv3-w1.2", "mbv3-w1.0"), ("mbv3-w1.2", "resnet50"), ("resnet50", "mbv3-w1.2")):
        fingerprint = load_space(name).fingerprint
        with pytest.raises(UserError, match=f"for space {name} with fingerprint {fingerprint}; {other} has"):
            load_predictor(reference / "predictors" / FILES[name], load_space(other))
    state = {key: torch.zeros(3, 3) for pair in SPELLINGS["resnet50"] for key in pair}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth: not one of the published predictors, of mbv3-w1.2 \(128 inputs\)"):
        load_predictor(tmp_path / "other.pth", space)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not one of the published predictors"):
        load_predictor(tmp_path / "other.pth", space)
    (tmp_path / "broken.pth").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"broken.pth: is text"):
        load_predictor(tmp_path / "broken.pth", space)
    with pytest.raises(UserError, match=r"none.pth: no such file"):
        load_predictor(tmp_path / "none.pth", space)


@pytest.mark.parametrize("name", FILES)
def test_stored_and_read_again(reference: Path, tmp_path: Path, name: str) -> None:
    """As the predictor of a run, with the space's fingerprint."""
    space, predictor = load_space(name), load(reference, name)
    save_predictor(tmp_path, predictor, {"source": "the published one"})
    again = load_predictor(tmp_path, space)
    known = space.restrict(resolutions=[size for size in predictor.resolutions if size in space.resolutions])
    genes = space.encode(known.decode(known.sample(50, np.random.default_rng(0))))
    assert isinstance(again, PublishedPredictor)
    assert np.array_equal(again.top1(genes), predictor.top1(genes))
    other = load_space("mbv3-w1.0")
    with pytest.raises(UserError, match=f"for space {name} with fingerprint {space.fingerprint}; mbv3-w1.0 has"):
        load_predictor(tmp_path, other)
    facts = read_vouched_json(tmp_path / "predictor.json", "")
    for change, message in (({"published": "mine"}, "published is 'mine'"), ({}, "'published' is missing")):
        write_vouched_json(tmp_path / "predictor.json", facts | {"fitted": change})
        with pytest.raises(UserError, match=message):
            load_predictor(tmp_path, space)
