"""What every kind of predictor must do; each test runs for each of them. And how one is chosen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.files.atomic import sha256
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.space.search_space import Genes, SearchSpace, load_space
from search.arrays import Floats
from search.exact.solve import exact_front
from search.pareto.front import front_order
from search.predictors.kinds import KINDS
from search.predictors.protocols import StageAdditive
from search.predictors.selection import kinds_of, select
from search.predictors.storage import load_predictor, save_predictor
from search.problem.problem import Problem
from search.statistics import kendall_tau
from tests.search_toys import ToyAccuracy, ToyCosts, every_subnet, make_space

SPACE = load_space("fmnist")


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sample(n: int, seed: int = 0, noise: float = 0.0, space: SearchSpace = SPACE) -> tuple[Genes, Floats]:
    rng = np.random.default_rng(seed)
    genes = space.sample(n, rng)
    return genes, ToyAccuracy(space, seed=3).top1(genes) + rng.normal(0, noise, n)


def interacting(genes: Genes, within: bool) -> Floats:
    """An additive accuracy, and two choices that count only together: of one stage, or of two stages."""
    rows = SPACE.rows(genes)
    other = rows.block("expand", 2) if within else rows.block("kernel", 1)
    together = (other[:, 0] == 1) ^ (rows.block("kernel", 2)[:, 0] == 1)
    return ToyAccuracy(SPACE, seed=3).top1(genes) - 0.02 * together


def test_every_kind_can_be_fitted_and_loaded() -> None:
    assert kinds_of("auto") == tuple(KINDS)
    with pytest.raises(UserError, match="kind is 'forest'; available are auto, ridge, stage-additive, mlp"):
        kinds_of("forest")


def test_where_all_but_one_subnet_are_equal_every_kind_is_fitted() -> None:
    """Most folds of the cross-validation are constant then."""
    genes, _ = sample(24)
    top1 = np.where(np.arange(24) == 7, 0.9, 1.0)
    selection = select(SPACE, genes, top1, kinds_of("auto"), seed=0)
    assert set(selection.reports) == set(KINDS)
    assert all(np.isfinite(report.mean_absolute_error) for report in selection.reports.values())
    assert np.isfinite(selection.predictor.top1(genes)).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_where_all_subnets_are_equal_the_constant_takes_the_place_of_every_kind(value: float, tmp_path: Path) -> None:
    genes, _ = sample(24)
    selection = select(SPACE, genes, np.full(24, value), ("mlp",), seed=0)
    assert selection.predictor.kind == "constant"
    assert (selection.report.kendall_tau, selection.report.r2, selection.report.within_1_std) == (None, None, None)
    save_predictor(tmp_path, selection.predictor, {})
    loaded = load_predictor(tmp_path, SPACE)
    assert loaded == selection.predictor
    assert np.array_equal(loaded.top1(genes[:3]), np.full(3, value))
    assert loaded.std(genes[:3]) is None
    assert isinstance(loaded, StageAdditive)


def test_predicts_subnets_it_has_not_seen(kind: str) -> None:
    unseen, truth = sample(500, seed=9)
    predictor = KINDS[kind].fit(SPACE, *sample(200))
    assert kendall_tau(predictor.top1(unseen), truth) > 0.93
    assert predictor.top1(unseen).dtype == np.float64
    assert predictor.space == SPACE
    assert predictor.samples == 200


def test_prediction_does_not_depend_on_the_batch(kind: str) -> None:
    predictor = KINDS[kind].fit(SPACE, *sample(60, noise=0.003))
    genes, _ = sample(40, seed=5)
    one_by_one = np.concatenate([predictor.top1(row[None]) for row in genes])
    assert predictor.top1(genes) == pytest.approx(one_by_one, abs=1e-7)
    assert predictor.top1(genes[:0]).shape == predictor.std(genes[:0]).shape == (0,)


def test_same_samples_same_predictor(kind: str) -> None:
    genes, _ = sample(100, seed=5)
    first, again = (KINDS[kind].fit(SPACE, *sample(60, noise=0.003)) for _ in range(2))
    assert np.array_equal(first.top1(genes), again.top1(genes))
    assert np.array_equal(first.std(genes), again.std(genes))


def test_uncertainty_is_calibrated_on_noisy_measurements(kind: str) -> None:
    unseen, truth = sample(800, seed=9)
    predictor = KINDS[kind].fit(SPACE, *sample(200, noise=0.01))
    error = np.abs(predictor.top1(unseen) - truth - np.random.default_rng(1).normal(0, 0.01, 800))
    std = predictor.std(unseen)
    assert 0.58 < (error < std).mean() < 0.82
    assert 0.9 < (error < 2 * std).mean() < 0.995


def test_uncertainty_falls_with_more_samples(kind: str) -> None:
    unseen, _ = sample(200, seed=9)
    few, many = (KINDS[kind].fit(SPACE, *sample(n, noise=0.004)).std(unseen).mean() for n in (30, 300))
    assert few > 1.2 * many


def test_bad_samples_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match="7 measured subnets; at least 8 are needed"):
        KINDS[kind].fit(SPACE, *sample(7))
    with pytest.raises(UserError, match=r"top1\[3\] is nan; accuracies must be between 0 and 1"):
        KINDS[kind].fit(SPACE, sample(10)[0], np.where(np.arange(10) == 3, np.nan, 0.5))


def test_a_space_with_little_choice(kind: str) -> None:
    """One stage without depths, one resolution: features that never vary, few distinct subnets."""
    space = make_space(stages=1, depths=(2,), resolutions=(16,))
    rows = every_subnet(space)
    top1 = ToyAccuracy(space, seed=3).top1(rows)
    assert np.isfinite(KINDS[kind].fit(space, rows, top1).std(rows)).all()
    assert kendall_tau(KINDS[kind].fit(space, rows, top1).top1(rows), top1) > 0.9


def test_stored_and_loaded_it_is_the_same(kind: str, tmp_path: Path) -> None:
    predictor = KINDS[kind].fit(SPACE, *sample(60, noise=0.003))
    save_predictor(tmp_path, predictor, {"images": 5000})
    genes, _ = sample(100, seed=5)
    loaded = load_predictor(tmp_path, SPACE)
    assert type(loaded) is type(predictor)
    assert np.array_equal(loaded.top1(genes), predictor.top1(genes))
    assert loaded.std(genes) == pytest.approx(predictor.std(genes), rel=1e-6)
    document = json.loads((tmp_path / "predictor.json").read_text())
    assert document["kind"] == kind
    assert document["images"] == 5000
    with pytest.raises(UserError, match="for space fmnist with fingerprint"):
        load_predictor(tmp_path, replace(SPACE, classes=7))


def test_a_query_does_without_torch(kind: str, tmp_path: Path) -> None:
    save_predictor(tmp_path, KINDS[kind].fit(SPACE, *sample(60)), {})
    code = (
        "import sys\n"
        "from ofa import load_space\n"
        "from search import load_predictor\n"
        "space = load_space('fmnist')\n"
        f"predictor = load_predictor({str(tmp_path)!r}, space)\n"
        "genes = space.encode(space.largest())\n"
        "assert predictor.top1(genes) > 0 and predictor.std(genes) > 0\n"
        "print('torch' in sys.modules)\n"
    )
    root = Path(__file__).resolve().parents[3]
    asked = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert asked.stdout == "False\n"


def test_arrays_of_another_shape_are_refused(kind: str, tmp_path: Path) -> None:
    save_predictor(tmp_path, KINDS[kind].fit(SPACE, *sample(60)), {})
    document = read_vouched_json(tmp_path / "predictor.json", "")
    file = tmp_path / document["arrays"]
    with np.load(file, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data}

    def refused(changed: dict[str, np.ndarray], message: str) -> None:
        np.savez(file, **changed)
        write_vouched_json(tmp_path / "predictor.json", document | {"arrays_sha256": sha256(file)})
        with pytest.raises(UserError, match=message):
            load_predictor(tmp_path, SPACE)

    first = next(iter(arrays))
    refused({name: array for name, array in arrays.items() if name != first}, "is missing|does not fit the space fmnist")
    refused(arrays | {first: arrays[first][:-1]}, "does not fit the space fmnist")


def test_fast_enough_to_search_with(kind: str) -> None:
    started = time.process_time()
    predictor = KINDS[kind].fit(SPACE, *sample(200, noise=0.004))
    fitted = time.process_time()
    predictor.top1(SPACE.sample(100_000, np.random.default_rng(1)))
    assert fitted - started < 5
    assert time.process_time() - fitted < 2  # twice what it should be, for busy machines


# -- what each is for ----------------------------------------------------------------------------------------------------


def test_stage_additive_kinds_are_sums_over_stages_and_exactly_searchable() -> None:
    space = make_space()
    rows = every_subnet(space)
    for kind in KINDS:
        predictor = KINDS[kind].fit(space, *sample(80, noise=0.003, space=space))
        assert isinstance(predictor, StageAdditive) == (kind != "mlp")
        if isinstance(predictor, StageAdditive):
            problem = Problem(space=space, predictor=predictor, costs={"toy": ToyCosts(space, seed=1)})
            front = exact_front(problem, "latency_ms", "toy")
            cost, top1 = problem.cost("latency_ms", "toy", rows), problem.top1(rows)
            by_force = front_order(cost, top1)
            assert front.cost == pytest.approx(cost[by_force])
            assert front.top1 == pytest.approx(top1[by_force], abs=1e-9)


# -- choice --------------------------------------------------------------------------------------------------------------


def test_choice_is_by_cross_validation_and_each_kind_learns_what_it_is_for() -> None:
    genes, _ = sample(120)
    for within, wanted in ((True, "stage-additive"), (False, "mlp")):
        selection = select(SPACE, genes, interacting(genes, within), ("ridge", wanted), seed=0)
        assert list(selection.reports) == ["ridge", wanted]
        assert selection.predictor.kind == wanted
        assert selection.report is selection.reports[wanted]
        assert selection.report.kendall_tau > selection.reports["ridge"].kendall_tau + 0.02
        assert "highest Kendall tau" in selection.why
        assert len(selection.lines()) == 2


def test_a_small_lead_does_not_cost_the_exact_search(monkeypatch: pytest.MonkeyPatch) -> None:
    genes, top1 = sample(60, noise=0.004)
    reports = select(SPACE, genes, top1, tuple(KINDS), seed=0).reports
    taus = {"ridge": 0.7, "stage-additive": 0.71, "mlp": 0.719}

    def report(fit: object, *_: object) -> object:
        kind = next(name for name in KINDS if KINDS[name].fit is fit.func)  # type: ignore[attr-defined]
        return replace(reports[kind], kendall_tau=taus[kind])

    monkeypatch.setattr("search.predictors.selection.cross_validate", report)
    selection = select(SPACE, genes, top1, tuple(KINDS), seed=0)
    assert selection.predictor.kind == "stage-additive"
    assert selection.why == "Kendall tau 0.710 in cross-validation; mlp is ahead by less than 0.01 and not exact"
    taus["mlp"] = 0.73
    assert select(SPACE, genes, top1, tuple(KINDS), seed=0).predictor.kind == "mlp"
    assert select(SPACE, genes, top1, ("ridge",), seed=0).why == "as asked"
    taus["ridge"] = 0.725
    assert select(SPACE, genes, top1, tuple(KINDS), seed=0).predictor.kind == "ridge"


def test_a_kind_whose_predictions_order_nothing_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    genes, top1 = sample(60, noise=0.004)
    known = select(SPACE, genes, top1, ("ridge",), seed=0).report
    unknown = replace(known, kendall_tau=None, within_1_std=None, within_2_std=None, z_std=None)
    worse = replace(known, kendall_tau=-0.2)

    def report(fit: object, *_: object) -> object:
        return unknown if fit.func is KINDS["ridge"].fit else worse  # type: ignore[attr-defined]

    monkeypatch.setattr("search.predictors.selection.cross_validate", report)
    selection = select(SPACE, genes, top1, ("ridge", "stage-additive"), seed=0)
    assert selection.predictor.kind == "stage-additive"
    assert "ridge              tau unknown, error" in selection.lines()[0]
    assert "unknown within 1 std, unknown within 2" in selection.lines()[0]


def test_report_may_be_on_the_random_sample_only() -> None:
    genes, top1 = sample(60, noise=0.004)
    selection = select(SPACE, genes, top1, ("ridge",), seed=0, scored=50)
    assert selection.report.samples == 50
    assert selection.report.top1_std == pytest.approx(top1[:50].std())
    assert selection.predictor.samples == 60
