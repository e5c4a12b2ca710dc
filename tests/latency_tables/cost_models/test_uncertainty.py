"""The upper bound at a confidence: its rule, that factors keep to it, that measurements do; and whom not to trust."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from latency_tables import Platform, load_platform, platform_names, save_platform
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import (
    CONFIDENCES,
    ErrorReport,
    combined,
    compare,
    conformal,
    normal_excess,
    run_excess,
    student_quantile,
)
from latency_tables.costs.bounds import refusals
from ofa.cli.main import main
from ofa.errors import UserError
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks
from search.problem.limits import Limit
from search.problem.problem import Problem
from search.searchers.exact import Exact
from tests.platform_toys import MINIMAL, measured, small_space, write
from tests.search_toys import ToyAccuracy, best_by_force, every_subnet, make_space

SPACE = small_space()
GENES = SPACE.sample(50, np.random.default_rng(0))


def known(mape: float = 0.04, networks: int = 800) -> Platform:
    """A model whose errors are known."""
    report = ErrorReport(note="made up", networks=networks, mape=mape)
    edge = load_platform("edge-int8")
    assert edge.energy is not None
    return replace(edge, error=report, energy=replace(edge.energy, error=replace(report, mape=2 * mape)))


def report_of(ratios: npt.ArrayLike) -> ErrorReport:
    """The report of networks whose measured over predicted times are these."""
    measured = np.asarray(ratios, dtype=float)
    return compare(np.ones(len(measured)), measured, "made up")


def test_the_rule_below_ten_networks() -> None:
    # A normal error of standard deviation 1 has a mean absolute error of sqrt(2 / pi) = 0.79788; z(0.9) = 1.28155.
    assert normal_excess(0.79788, 10**6, 0.9) == pytest.approx(1.28155, rel=1e-4)
    assert normal_excess(0.79788, 4, 0.9) == pytest.approx(1.53321, rel=1e-4)  # Student's t of 4 degrees of freedom
    assert normal_excess(0.04, 4, 0.5) == 0
    assert run_excess(2.0, 2.2, 0.9) == pytest.approx(0.1)
    assert run_excess(2.0, 2.2, 0.5) == 0
    assert run_excess(2.0, 2.2, 0.99) == pytest.approx(0.1 * 2.32635 / 1.28155, rel=1e-4)


def test_quantiles_have_the_rank_of_a_finite_sample() -> None:
    ratios = np.random.default_rng(0).permutation(np.arange(1, 21)) / 10
    # Of 20: the ceil(21 c)-th smallest; 0.975 would need the 21st.
    ranks = {0.5: 11, 0.6: 13, 0.7: 15, 0.8: 17, 0.85: 18, 0.9: 19, 0.95: 20}
    assert report_of(ratios).quantiles == pytest.approx({c: rank / 10 for c, rank in ranks.items()})
    assert set(conformal(np.ones(10))) == {0.5, 0.6, 0.7, 0.8, 0.85, 0.9}
    assert set(conformal(np.ones(999))) == set(CONFIDENCES)
    assert conformal(np.ones(9)) == {}
    assert conformal(np.full(19, 1.0000012))[0.5] == 1.00001  # never rounded to below what was measured


def test_quantiles_cover_as_promised_whatever_the_errors_are_like() -> None:
    """Skewed and biased: half of the networks take more than three times what is predicted."""
    rng = np.random.default_rng(0)
    ratios = 3 * np.exp(0.4 * rng.standard_normal((4000, 21)) ** 2)
    covered = np.mean([row[20] <= report_of(row[:20]).ratio(0.9) for row in ratios])
    assert covered == pytest.approx(19 / 21, abs=0.015)
    middle = np.mean([row[20] <= report_of(row[:20]).ratio(0.5) for row in ratios])
    assert middle == pytest.approx(11 / 21, abs=0.025)


def test_the_p90_of_a_biased_model_is_above_its_median() -> None:
    """A model that says a third of what is measured, to within 10%: two thirds of mean error, and the p90 is three times."""
    report = report_of(3 * (1 + 0.1 * np.linspace(-1, 1, 41)))
    assert report.ratio(0.5) == pytest.approx(3.0)
    assert report.ratio(0.9) > 3.2
    # What errors taken as normal and centred make of it: less than every single measurement.
    assert 1 + normal_excess(report.mape or 0, 41, 0.9) < 2.7
    fast = report_of(np.linspace(0.5, 0.6, 41))  # measured below what is predicted
    assert fast.ratio(0.9) < 0.6


def test_a_confidence_between_two_counts_as_the_higher_and_one_above_all_is_refused() -> None:
    report = report_of(np.arange(1, 21) / 10)
    assert report.ratio(0.92) == report.ratio(0.95)
    assert report.ratio(0.55) == report.ratio(0.6)
    message = r"^20 networks give no upper bound at confidence 0\.96; the highest is at 0\.95$"
    with pytest.raises(UserError, match=message):
        report.ratio(0.96)
    platform = replace(known(), error=report)
    with pytest.raises(UserError, match=r"^platform edge-int8: latency_ms: 20 networks give no upper bound at"):
        platform.costs(SPACE, 0.96).latency_ms(GENES)


def test_a_report_says_what_its_bounds_are_from() -> None:
    assert report_of(np.ones(10)).rule == "quantiles of measured over predicted, 10 networks (split-conformal)"
    few = report_of(np.linspace(1, 1.2, 9))
    assert few.quantiles == {}
    assert few.rule == "errors taken as normal and centred on the estimate: 9 networks are too few for quantiles"
    assert few.ratio(0.9) == 1 + normal_excess(few.mape or 0, 9, 0.9)
    old = ErrorReport(note="from a file of before", networks=800, mape=0.04)
    assert old.rule == "errors taken as normal and centred on the estimate: no quantiles given"
    assert old.ratio(0.9) == 1 + normal_excess(0.04, 800, 0.9)
    assert ErrorReport(note="nobody compared").rule is None


def test_quantiles_survive_a_file_and_old_files_load(tmp_path: Path) -> None:
    platform = replace(known(), error=report_of(np.linspace(0.9, 1.3, 30)))
    save_platform(platform, tmp_path / "new.yaml")
    assert load_platform(tmp_path / "new.yaml") == platform
    old = MINIMAL.replace("{note: made up}", "{note: made up, networks: 800, mape: 0.04}")
    error = load_platform(write(tmp_path, old)).error
    assert error.quantiles == {}
    assert error.ratio(0.9) == 1 + normal_excess(0.04, 800, 0.9)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("{note: x, networks: 9, mape: 0.1, quantiles: {0.5: 1}}", "quantiles are given of 9 networks; at least 10"),
        ("{note: x, networks: 10, mape: 0.1, quantiles: {0.9: 1}}", r"quantiles has no 0\.5, the median; it has 0\.9"),
        ("{note: x, networks: 10, mape: 0.1, quantiles: {0.5: 1, 1.5: 2}}", r"confidence is 1\.5; must be a number, at"),
        ("{note: x, networks: 10, mape: 0.1, quantiles: {0.5: 1, most: 2}}", "confidence is 'most'; must be a number"),
        ("{note: x, networks: 10, mape: 0.1, quantiles: {0.5: 2, 0.9: 1}}", r"0\.9 is 1\.0; must not fall"),
        ("{note: x, networks: 10, mape: 0.1, quantiles: {0.5: .nan}}", r"0\.5 is nan; must be above 0 and finite"),
    ],
)
def test_wrong_quantiles_are_refused(tmp_path: Path, error: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"mine\.yaml:\d+: error.*{message}"):
        load_platform(write(tmp_path, MINIMAL.replace("{note: made up}", error)))


def test_a_normal_error_is_covered_as_promised() -> None:
    # Calibrations of 6 networks: their mape varies, and still nine of ten new networks lie below the p90.
    errors = 0.05 * np.random.default_rng(0).standard_normal((4000, 7))
    mapes = np.abs(errors[:, :6]).mean(axis=1)
    for confidence in (0.8, 0.9, 0.95):
        bounds = np.array([normal_excess(mape, 6, confidence) for mape in mapes])
        assert (errors[:, 6] <= bounds).mean() == pytest.approx(confidence, abs=0.015)


def test_a_model_is_raised_by_the_error_of_each_metric() -> None:
    costs = known().costs(SPACE)
    upper = known().costs(SPACE, confidence=0.9)
    assert upper.confidence == 0.9
    excess = normal_excess(0.04, 800, 0.9)
    np.testing.assert_allclose(upper.latency_ms(GENES), (1 + excess) * costs.latency_ms(GENES), rtol=1e-12)
    np.testing.assert_allclose(upper.energy_mj(GENES), (1 + 2 * excess) * costs.energy_mj(GENES), rtol=1e-12)
    for metric in ("memory_kb", "weights_kb", "macs_m", "params_m"):
        np.testing.assert_array_equal(upper.of(metric, GENES), costs.of(metric, GENES))
    np.testing.assert_array_equal(known().costs(SPACE, confidence=0.5).latency_ms(GENES), costs.latency_ms(GENES))


def test_quantiles_apply_to_each_metric_and_to_the_blocks_of_a_table() -> None:
    report = report_of(np.linspace(1.1, 1.5, 41))
    middle, upper = report.ratio(0.5), report.ratio(0.9)
    model = replace(known(), error=report)
    np.testing.assert_allclose(
        model.costs(SPACE, 0.9).latency_ms(GENES), upper * model.costs(SPACE).latency_ms(GENES), rtol=1e-12
    )
    np.testing.assert_allclose(
        model.costs(SPACE, 0.5).latency_ms(GENES), middle * model.costs(SPACE).latency_ms(GENES), rtol=1e-12
    )
    table = replace(measured(SPACE), error=report)  # every block's p90 is 1.2 of its median
    blocks_ms = table.costs(SPACE).latency_ms(GENES) - table.network_ms
    expected = (middle + np.hypot(upper - middle, 0.2 * middle)) * blocks_ms + upper * table.network_ms
    np.testing.assert_allclose(table.costs(SPACE, 0.9).latency_ms(GENES), expected, rtol=1e-12)
    assert combined(1.2, 1.5, 0.0) == pytest.approx(1.5)
    assert combined(1.2, 1.2, 0.1) == pytest.approx(1.32)


def test_a_table_is_raised_by_the_times_of_its_blocks_too() -> None:
    platform = measured(SPACE, EnergyModel(source="a meter", power_w=3.0, error=ErrorReport(note="x", networks=4, mape=0.1)))
    costs, upper = platform.costs(SPACE), platform.costs(SPACE, confidence=0.9)
    # Every block's p90 is 1.2 of its median, the whole's error 5% of 4 networks; the intercept has no run of its own.
    whole = normal_excess(0.05, 4, 0.9)
    assert platform.table is not None
    blocks_ms = costs.latency_ms(GENES) - platform.network_ms
    expected = (1 + np.hypot(whole, 0.2)) * blocks_ms + (1 + whole) * platform.network_ms
    np.testing.assert_allclose(upper.latency_ms(GENES), expected, rtol=1e-12)
    energy = 3.0 * ((1 + np.hypot(2 * whole, 0.2)) * blocks_ms + (1 + 2 * whole) * platform.network_ms)
    np.testing.assert_allclose(upper.energy_mj(GENES), energy, rtol=1e-12)
    assert (upper.latency_ms(GENES) > costs.latency_ms(GENES) * (1 + whole)).all()


@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.99])
def test_factors_equal_the_walk(confidence: float) -> None:
    costs = measured(SPACE).costs(SPACE, confidence)
    walked = [
        sum(costs.block("latency_ms", shape, subnet.resolution) for shape in walk_blocks(SPACE, subnet))
        + costs.constant("latency_ms")
        for subnet in SPACE.decode(GENES)
    ]
    np.testing.assert_allclose(costs.latency_ms(GENES), walked, rtol=1e-12)


def test_the_exact_search_is_exact_under_bounds() -> None:
    space = make_space()
    platform = measured(space)
    upper = platform.costs(space, confidence=0.9)
    bound = float(np.quantile(upper.latency_ms(every_subnet(space)), 0.3))
    limit = Limit("latency_ms", bound, platform.name)
    problem = Problem(space=space, predictor=ToyAccuracy(space, seed=2), costs={platform.name: upper}, limits=[limit])
    found = Exact().search(problem, np.random.default_rng(0), 100)
    assert found.optimal
    assert found.top1[0] == pytest.approx(best_by_force(problem))
    assert upper.latency_ms(found.genes[0])[0] <= bound
    plain = replace(problem, costs={platform.name: platform.costs(space)})
    assert best_by_force(plain) > found.top1[0]  # the estimate would have allowed more


def test_bounds_rise_with_the_confidence() -> None:
    costs = measured(SPACE).costs(SPACE)
    bounds = [costs.at(confidence).latency_ms(GENES) for confidence in (0.5, 0.7, 0.9, 0.99, 0.999)]
    assert (np.diff(bounds, axis=0) > 0).all()
    assert costs.at(None) is costs


def test_the_p50_and_p90_of_a_subnet() -> None:
    costs = known().costs(SPACE, confidence=0.7)
    middle, upper = costs.p50_p90("latency_ms", GENES[0]) or (None, None)
    np.testing.assert_array_equal(middle, known().costs(SPACE).latency_ms(GENES[0]))
    np.testing.assert_array_equal(upper, known().costs(SPACE, 0.9).latency_ms(GENES[0]))
    biased = replace(known(), error=report_of(np.linspace(1.1, 1.5, 41))).costs(SPACE)
    middle, upper = biased.p50_p90("latency_ms", GENES) or (None, None)
    np.testing.assert_array_equal(middle, biased.at(0.5).latency_ms(GENES))
    np.testing.assert_array_equal(upper, biased.at(0.9).latency_ms(GENES))
    assert (biased.latency_ms(GENES) < middle).all()
    once = measured(SPACE, p10_ms=None, p90_ms=None).costs(SPACE)
    assert once.p50_p90("latency_ms", GENES) is None  # how much runs vary is unknown
    middle, upper = costs.p50_p90("memory_kb", GENES) or (None, None)
    np.testing.assert_array_equal(middle, upper)
    unknown = load_platform("edge-int8").costs(SPACE)
    assert unknown.p50_p90("latency_ms", GENES) is None
    assert unknown.p50_p90("params_m", GENES) is not None


def test_no_bound_where_the_error_is_unknown() -> None:
    costs = load_platform("edge-int8").costs(SPACE, confidence=0.9)
    message = r"platform edge-int8: the error of its {} on whole networks is unknown, .* no upper bound at confidence 0\.9"
    for metric in ("latency_ms", "energy_mj"):
        with pytest.raises(UserError, match=message.format(metric)):
            costs.of(metric, GENES)
    assert (costs.memory_kb(GENES) > 0).all()
    # A measured latency says nothing of a power that somebody wrote down.
    platform = measured(SPACE, EnergyModel(source="datasheet", power_w=3.0))
    with pytest.raises(UserError, match="platform made-up: the error of its energy_mj on whole networks is unknown"):
        platform.costs(SPACE, confidence=0.9).energy_mj(GENES)


@pytest.mark.parametrize("confidence", [0.49, 1.0, -1.0, float("nan"), float("inf")])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(UserError, match=r"confidence is .*; must be at least 0\.5 \(the median\) and below 1"):
        load_platform("note10").costs(load_space("fmnist"), confidence)


# -- whom not to trust -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mape", "verdict"), [(0.1, "passed"), (0.11, "failed"), (0.5, "failed"), (0.51, "refused")])
def test_verdicts(mape: float, verdict: str) -> None:
    report = ErrorReport(note="x", networks=4, mape=mape)
    assert report.verdict == verdict
    marked = report.marked("try again")
    assert marked.note == ("x" if verdict == "passed" else "FAILS its own check (error above 10%; try again): x")
    assert ErrorReport(note="nobody compared").verdict is None
    assert ErrorReport(note="nobody compared").marked("try again").note == "nobody compared"


def test_costs_of_a_platform_that_calibrate_would_refuse_warn() -> None:
    warnings = [text for text in load_platform("gap9").costs(SPACE).warnings if "outside the calibration" not in text]
    assert warnings == [
        f"platform gap9: {metric} is off by {off} on average on 4 networks that were not fitted; ofa calibrate refuses "
        "more than 50%: trust only its order of magnitude"
        for metric, off in (("latency_ms", "52%"), ("energy_mj", "74%"))
    ]
    refused = [name for name in platform_names() if refusals(load_platform(name))]
    assert refused == ["gap9"]


def test_the_list_of_platforms_tells_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platforms"]) == 0
    shown = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in shown if line.partition(" ")[0] in platform_names()}
    assert [name for name, line in rows.items() if line.endswith("REFUSED")] == ["gap9"]
    assert rows["gap9"].endswith("  52.2% REFUSED")
    assert rows["stm32-l4r5"].endswith("  11.8% failed")
    assert rows["note10"].endswith("  3.6% max 6.9%")
    assert rows["edge-int8"].endswith("  not compared")
    assert any(line.startswith("gap9: latency_ms is off by 52% on average") for line in shown)
    assert any(line.startswith("gap9: energy_mj is off by 74% on average") for line in shown)
    assert main(["platforms", "--json"]) == 0
    facts = {row["name"]: row for row in json.loads(capsys.readouterr().out)["platforms"]}
    assert [name for name, row in facts.items() if row["warnings"]] == ["gap9"]
    assert facts["gap9"]["error"]["verdict"] == facts["gap9"]["energy_error"]["verdict"] == "refused"
    assert facts["note10"]["error"]["verdict"] == "passed"
    assert facts["edge-int8"]["error"]["verdict"] is None


def test_a_platform_says_what_its_bounds_are_from(capsys: pytest.CaptureFixture[str]) -> None:
    for name, rule in (
        ("raspi4", "p50 1.069, p90 1.103 x the estimate: quantiles of measured over predicted, 1000 networks"),
        ("note10", "p50 1.000, p90 1.063 x the estimate: errors taken as normal and centred on the estimate: 8 networks"),
    ):
        assert main(["platforms", name]) == 0
        assert rule in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("degrees", [1, 2, 3, 8, 9, 40, 1133])
def test_students_quantile_is_that_of_scipy(degrees: int) -> None:
    from scipy.special import stdtrit

    for confidence in (0.5, 0.501, 0.75, 0.9, 0.99, 0.999999, 1 - 1e-12):
        close = 1e-12 if confidence < 0.9999 else 1e-3  # so far out a distribution function in float64 says no more
        expected = float(stdtrit(degrees, confidence))
        assert student_quantile(degrees, confidence) == pytest.approx(expected, rel=close, abs=1e-12)
