from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.space.search_space import Genes, load_space
from search.arrays import Floats
from search.predictors.features import FEATURE_SETS, FeatureMap
from search.predictors.ridge import RidgePredictor, fit_ridge
from search.predictors.storage import load_predictor, save_predictor
from search.predictors.validation import cross_validate
from search.statistics import kendall_tau
from tests.search_toys import ToyAccuracy, every_subnet, make_space

SPACE = load_space("fmnist")


def sample(n: int, seed: int = 0, noise: float = 0.0) -> tuple[Genes, Floats]:
    rng = np.random.default_rng(seed)
    genes = SPACE.sample(n, rng)
    return genes, ToyAccuracy(SPACE, seed=3).top1(genes) + rng.normal(0, noise, n)


def test_choice_features_are_one_hot_and_zero_for_absent_blocks() -> None:
    space = make_space(stages=1, depths=(1, 2), resolutions=(16, 24))
    features = FeatureMap(space, "choices")
    rows = every_subnet(space)
    x = features(rows)
    assert x.shape[1] == 2 + 2 + 2 * (2 + 3)  # resolution, depth, two blocks of kernel and expand
    assert set(np.unique(x)) == {0.0, 1.0}
    depth = rows[:, 5]
    assert (x[depth == 0].sum(axis=1) == 4).all()
    assert (x[depth == 1].sum(axis=1) == 6).all()
    assert (x[depth == 0][:, -5:] == 0).all()
    assert len(np.unique(x, axis=0)) == len(rows)
    with pytest.raises(UserError, match="features are 'raw'; known are choices, choices\\+stages"):
        FeatureMap(space, "raw")


@pytest.mark.parametrize("kind", FEATURE_SETS)
def test_features_are_stage_additive(kind: str) -> None:
    """Changing one stage changes the features by the same amount whatever the other stages are."""
    features = FeatureMap(SPACE, kind)
    rng = np.random.default_rng(0)
    genes, others = SPACE.sample(40, rng), SPACE.sample(40, rng)
    others[:, 0] = genes[:, 0]
    stage = SPACE.columns.stage(2)
    swapped, swapped_others = genes.copy(), others.copy()
    swapped[:, stage] = swapped_others[:, stage] = SPACE.sample(40, rng)[:, stage]
    genes_kept, others_kept = genes.copy(), others.copy()
    others_kept[:, stage] = genes_kept[:, stage]
    change = features(swapped) - features(genes_kept)
    assert np.allclose(change, features(swapped_others) - features(others_kept))


def test_recovers_an_additive_function() -> None:
    genes, top1 = sample(300)
    unseen, truth = sample(500, seed=9)
    predictor = fit_ridge(SPACE, genes, top1)
    assert kendall_tau(predictor.top1(unseen), truth) > 0.97
    assert np.abs(predictor.top1(unseen) - truth).max() < 2e-3


def test_noise_is_averaged_out_and_the_uncertainty_says_how_well() -> None:
    genes, top1 = sample(300, noise=0.01)
    unseen, truth = sample(800, seed=9)
    predictor = fit_ridge(SPACE, genes, top1)
    error = np.abs(predictor.top1(unseen) - truth)
    assert error.mean() < 0.004
    noisy = np.abs(predictor.top1(unseen) - truth - np.random.default_rng(1).normal(0, 0.01, 800))
    std = predictor.std(unseen)
    assert 0.6 < (noisy < std).mean() < 0.78
    assert 0.92 < (noisy < 2 * std).mean() < 0.985


def test_uncertainty_falls_with_more_samples_and_off_the_data_rises() -> None:
    few, many = (fit_ridge(SPACE, *sample(n, noise=0.004)) for n in (30, 300))
    unseen, _ = sample(200, seed=9)
    assert few.std(unseen).mean() > 1.2 * many.std(unseen).mean()
    genes, top1 = sample(400, noise=0.004)
    small_only = genes[:, 0] < 2
    partial_fit = fit_ridge(SPACE, genes[small_only], top1[small_only])
    assert partial_fit.std(unseen[unseen[:, 0] < 2]).mean() <= partial_fit.std(unseen).mean() * 1.01


def test_predictions_stay_in_the_unit_interval() -> None:
    rng = np.random.default_rng(0)
    genes = SPACE.sample(60, rng)
    predictor = fit_ridge(SPACE, genes, (rng.random(60) > 0.5).astype(np.float64))
    top1 = predictor.top1(SPACE.sample(500, rng))
    assert ((top1 > 0) & (top1 < 1)).all()
    assert predictor.top1(genes[:0]).shape == (0,)


def test_constant_accuracy_is_predicted_as_that_constant() -> None:
    genes, _ = sample(40)
    predictor = fit_ridge(SPACE, genes, np.full(40, 0.75))
    assert predictor.top1(genes) == pytest.approx(np.full(40, 0.75), abs=2e-3)


@pytest.mark.parametrize(
    ("n", "top1", "message"),
    [
        (7, np.full(7, 0.5), "7 measured subnets; at least 8 are needed"),
        (10, np.full(9, 0.5), r"top1 has shape \(9,\) for 10 subnets"),
        (10, np.array([0.5] * 9 + [50.0]), r"top1\[9\] is 50.0; accuracies must be between 0 and 1"),
        (10, np.array([np.nan] + [0.5] * 9), r"top1\[0\] is nan"),
    ],
)
def test_bad_samples_are_refused(n: int, top1: Floats, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_ridge(SPACE, sample(n)[0], top1)


# -- cross-validation ----------------------------------------------------------------------------------------------------


def test_cross_validation_predicts_only_what_the_fit_has_not_seen() -> None:
    genes, top1 = sample(40)

    class Memory:
        """Perfect on what it has seen, useless elsewhere."""

        def __init__(self, seen: Genes, values: Floats) -> None:
            self.known = {row.tobytes(): value for row, value in zip(seen, values, strict=True)}

        def top1(self, rows: Genes) -> Floats:
            return np.array([self.known.get(row.tobytes(), 0.5) for row in rows])

        def std(self, rows: Genes) -> None:
            return None

    report = cross_validate(Memory, genes, top1, np.random.default_rng(0))
    assert report.mean_absolute_error == pytest.approx(np.abs(top1 - 0.5).mean())
    assert report.folds == 5
    assert report.kendall_tau is None  # all predictions are equal
    assert (report.within_1_std, report.within_2_std, report.z_std) == (None, None, None)
    text = "\n".join(report.lines())
    assert "coverage           unknown: the predictor gives no std" in text
    assert "Kendall tau        unknown" in text
    assert json.loads(json.dumps(asdict(report), allow_nan=False))["within_1_std"] is None


def test_what_does_not_vary_cannot_be_explained() -> None:
    genes, _ = sample(40)
    report = cross_validate(partial(fit_ridge, SPACE), genes, np.full(40, 0.75), np.random.default_rng(0))
    assert (report.kendall_tau, report.r2, report.top1_std) == (None, None, 0.0)
    assert report.within_1_std == 1.0
    assert "R2                 unknown" in "\n".join(report.lines())


def test_report_of_a_good_fit() -> None:
    genes, top1 = sample(200, noise=0.002)
    report = cross_validate(partial(fit_ridge, SPACE), genes, top1, np.random.default_rng(0))
    assert report.kendall_tau > 0.9
    assert report.r2 > 0.95
    assert report.mean_absolute_error < 0.003
    assert 0.55 < report.within_1_std < 0.8
    text = "\n".join(report.lines())
    assert f"Kendall tau        {report.kendall_tau:.3f}" in text
    assert "5 folds over 200 measured subnets" in text


def test_too_few_for_the_folds() -> None:
    with pytest.raises(UserError, match="9 measured subnets; cross-validation over 5 folds needs at least 10"):
        cross_validate(partial(fit_ridge, SPACE), *sample(9), np.random.default_rng(0))


def test_kendall_tau_by_hand_and_against_scipy() -> None:
    from scipy.stats import kendalltau

    assert kendall_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)
    assert kendall_tau(np.array([1.0, 1, 1]), np.array([1.0, 3, 2])) is None
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 12, size=(2, 80)).astype(np.float64)  # ties
    assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)


# -- stored --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, RidgePredictor]:
    predictor = fit_ridge(SPACE, *sample(60, noise=0.003))
    save_predictor(tmp_path / "predictor", predictor, {"images": 5000, "report": {"kendall_tau": 0.9}})
    return tmp_path, predictor


def test_round_trip_from_run_folder_and_file(stored: tuple[Path, RidgePredictor]) -> None:
    path, predictor = stored
    genes, _ = sample(100, seed=5)
    for place in (path, path / "predictor", path / "predictor" / "predictor.json"):
        loaded = load_predictor(place, SPACE)
        assert np.array_equal(loaded.top1(genes), predictor.top1(genes))
        assert np.array_equal(loaded.std(genes), predictor.std(genes))
    facts = json.loads((path / "predictor" / "predictor.json").read_text())
    assert facts["images"] == 5000
    assert facts["fingerprint"] == SPACE.fingerprint


def test_another_space_is_refused_naming_both_fingerprints(stored: tuple[Path, RidgePredictor]) -> None:
    other = replace(SPACE, classes=7)
    message = f"for space fmnist with fingerprint {SPACE.fingerprint}; fmnist has fingerprint {other.fingerprint}"
    with pytest.raises(UserError, match=message):
        load_predictor(stored[0], other)


def test_damage_is_noticed(stored: tuple[Path, RidgePredictor]) -> None:
    path = stored[0] / "predictor"
    with pytest.raises(UserError, match=r"nowhere: no predictor there; `ofa predictor RUN` measures"):
        load_predictor(stored[0] / "nowhere", SPACE)
    document = read_vouched_json(path / "predictor.json", "")
    fitted = document["fitted"]
    other = next(kind for kind in FEATURE_SETS if kind != fitted["features"])
    without_penalty = {key: value for key, value in fitted.items() if key != "penalty"}
    for change, message in (
        ({"format": 3}, "not a predictor of format 1 or 2"),
        ({"kind": "tree"}, "kind is 'tree'; known are ridge, stage-additive, mlp"),
        ({"fitted": fitted | {"features": "raw"}}, "features are 'raw'; known are"),
        ({"fitted": fitted | {"features": other}}, "does not fit the space fmnist"),
        ({"fitted": without_penalty}, r"predictor.json: 'penalty' is missing in it or in predictor-[0-9a-f]{8}.npz"),
    ):
        write_vouched_json(path / "predictor.json", document | change)
        with pytest.raises(UserError, match=message):
            load_predictor(path, SPACE)
    write_vouched_json(path / "predictor.json", document)
    content = (path / document["arrays"]).read_bytes()
    (path / document["arrays"]).write_bytes(b"PK" + bytes(40))
    with pytest.raises(UserError, match=r"predictor-[0-9a-f]{8}.npz: its digest is not the one in predictor.json"):
        load_predictor(path, SPACE)
    (path / document["arrays"]).write_bytes(content)


def test_one_written_before_is_read_and_a_changed_number_is_noticed(stored: tuple[Path, RidgePredictor]) -> None:
    """Before version 0.2 a predictor's numbers lay beside the report's, in one dictionary, without a digest."""
    path, genes = stored[0] / "predictor", SPACE.sample(20, np.random.default_rng(0))
    expected = load_predictor(path, SPACE).top1(genes)
    document = read_vouched_json(path / "predictor.json", "")
    (path / document["arrays"]).rename(path / "predictor.npz")
    flat = {key: value for key, value in document.items() if key not in ("fitted", "arrays")} | document["fitted"]
    (path / "predictor.json").write_text(json.dumps(flat | {"format": 1}))
    assert np.array_equal(load_predictor(path, SPACE).top1(genes), expected)
    (path / "predictor.npz").rename(path / document["arrays"])
    write_vouched_json(path / "predictor.json", document)
    text = (path / "predictor.json").read_text()
    number = f'"penalty": {document["fitted"]["penalty"]}'
    assert number in text
    (path / "predictor.json").write_text(text.replace(number, '"penalty": 0.5'))
    with pytest.raises(UserError, match=r"predictor.json: damaged: its content is not what was written"):
        load_predictor(path, SPACE)
