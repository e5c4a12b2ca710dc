"""The upper bound at a confidence: its rule, that factors keep to it, and that measurements keep to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latency_tables import Platform, load_platform
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport, network_excess, run_excess
from ofa.errors import UserError
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks
from search.problem.limits import Limit
from search.problem.problem import Problem
from search.searchers.exact import Exact
from tests.platform_toys import measured, small_space
from tests.search_toys import ToyAccuracy, best_by_force, every_subnet, make_space

SPACE = small_space()
GENES = SPACE.sample(50, np.random.default_rng(0))


def known(mape: float = 0.04, networks: int = 800) -> Platform:
    """A model whose errors are known."""
    report = ErrorReport(note="made up", networks=networks, mape=mape)
    edge = load_platform("edge-int8")
    assert edge.energy is not None
    return replace(edge, error=report, energy=replace(edge.energy, error=replace(report, mape=2 * mape)))


def test_the_rule() -> None:
    # A normal error of standard deviation 1 has a mean absolute error of sqrt(2 / pi) = 0.79788; z(0.9) = 1.28155.
    assert network_excess(0.79788, 10**6, 0.9) == pytest.approx(1.28155, rel=1e-4)
    assert network_excess(0.79788, 4, 0.9) == pytest.approx(1.53321, rel=1e-4)  # Student's t of 4 degrees of freedom
    assert network_excess(0.04, 4, 0.5) == 0
    assert run_excess(2.0, 2.2, 0.9) == pytest.approx(0.1)
    assert run_excess(2.0, 2.2, 0.5) == 0
    assert run_excess(2.0, 2.2, 0.99) == pytest.approx(0.1 * 2.32635 / 1.28155, rel=1e-4)


def test_a_normal_error_is_covered_as_promised() -> None:
    # Calibrations of 6 networks: their mape varies, and still nine of ten new networks lie below the p90.
    errors = 0.05 * np.random.default_rng(0).standard_normal((4000, 7))
    mapes = np.abs(errors[:, :6]).mean(axis=1)
    for confidence in (0.8, 0.9, 0.95):
        bounds = np.array([network_excess(mape, 6, confidence) for mape in mapes])
        assert (errors[:, 6] <= bounds).mean() == pytest.approx(confidence, abs=0.015)


def test_a_model_is_raised_by_the_error_of_each_metric() -> None:
    costs = known().costs(SPACE)
    upper = known().costs(SPACE, confidence=0.9)
    assert upper.confidence == 0.9
    excess = network_excess(0.04, 800, 0.9)
    np.testing.assert_allclose(upper.latency_ms(GENES), (1 + excess) * costs.latency_ms(GENES), rtol=1e-12)
    np.testing.assert_allclose(upper.energy_mj(GENES), (1 + 2 * excess) * costs.energy_mj(GENES), rtol=1e-12)
    for metric in ("memory_kb", "weights_kb", "macs_m", "params_m"):
        np.testing.assert_array_equal(upper.of(metric, GENES), costs.of(metric, GENES))
    np.testing.assert_array_equal(known().costs(SPACE, confidence=0.5).latency_ms(GENES), costs.latency_ms(GENES))


def test_a_table_is_raised_by_the_spread_of_its_blocks_too() -> None:
    platform = measured(SPACE, EnergyModel(source="a meter", power_w=3.0, error=ErrorReport(note="x", networks=4, mape=0.1)))
    costs, upper = platform.costs(SPACE), platform.costs(SPACE, confidence=0.9)
    # Every block's p90 is 1.2 of its median, the whole's error 5% of 4 networks; the intercept has no run of its own.
    whole = network_excess(0.05, 4, 0.9)
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


def test_the_spread_of_a_subnet() -> None:
    costs = known().costs(SPACE, confidence=0.7)
    middle, upper = costs.spread("latency_ms", GENES[0]) or (None, None)
    np.testing.assert_array_equal(middle, known().costs(SPACE).latency_ms(GENES[0]))
    np.testing.assert_array_equal(upper, known().costs(SPACE, 0.9).latency_ms(GENES[0]))
    middle, upper = costs.spread("memory_kb", GENES) or (None, None)
    np.testing.assert_array_equal(middle, upper)
    unknown = load_platform("edge-int8").costs(SPACE)
    assert unknown.spread("latency_ms", GENES) is None
    assert unknown.spread("params_m", GENES) is not None


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
    with pytest.raises(UserError, match=r"confidence is .*; must be at least 0\.5 \(the estimate itself\) and below 1"):
        load_platform("note10").costs(load_space("fmnist"), confidence)
