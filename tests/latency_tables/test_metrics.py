"""The registry of metrics and the computations behind it say the same; what they are made of is counted anew here."""

from __future__ import annotations

import numpy as np
import pytest

from latency_tables import METRICS, load_platform
from latency_tables.blocks.memory import peak_elements
from latency_tables.costs.computations import COMPUTATIONS, COUNTS
from latency_tables.metrics import limit_number, number
from ofa.errors import UserError
from ofa.space import shapes
from ofa.space.search_space import load_space
from ofa.space.shapes import walk, walk_blocks


def test_every_metric_has_a_computation_and_a_unit_in_its_name() -> None:
    assert list(COMPUTATIONS) == list(METRICS)
    assert set(COUNTS) == {name for name, metric in METRICS.items() if not metric.on_platform}
    for name, metric in METRICS.items():
        assert name.rpartition("_")[2] == metric.unit.lower()
        assert metric.estimated <= metric.on_platform  # an estimate is of a platform


def test_sums_and_maxima_of_blocks() -> None:
    space = load_space("fmnist")
    costs = load_platform("edge-int8").costs(space)
    genes = space.sample(20, np.random.default_rng(0))
    for row, subnet in zip(genes, space.decode(genes), strict=True):
        blocks = list(walk_blocks(space, subnet))
        assert costs.of("memory_kb", row) == pytest.approx(max(map(peak_elements, blocks)) / 1024)
        assert costs.of("macs_m", row) == pytest.approx(shapes.macs(walk(space, subnet)) / 1e6)
        for name, metric in METRICS.items():
            parts = [costs.block(name, block, subnet.resolution) for block in blocks]
            whole = max(parts) if metric.reduce == "max" else sum(parts) + costs.constant(name)
            assert costs.of(name, row)[0] == pytest.approx(whole)


def test_what_a_platform_does_not_know_says_why_and_has_no_value() -> None:
    costs = load_platform("note10").costs(load_space("fmnist"))
    assert costs.why_unknown("energy_mj") == "give its file an energy section (a source, and power_w or ops)"
    assert costs.metrics == tuple(name for name in METRICS if name != "energy_mj")
    with pytest.raises(UserError, match="energy is unknown; give its file an energy section"):
        costs.of("energy_mj", costs.space.encode(costs.space.largest()))
    with pytest.raises(UserError, match="unknown metric 'carbon'; known are latency_ms, energy_mj"):
        costs.of("carbon", costs.space.encode(costs.space.largest()))


def test_exact_metrics_have_no_error_and_do_not_vary_with_confidence() -> None:
    space = load_space("fmnist")
    plain, sure = (load_platform("note8").costs(space, confidence) for confidence in (None, 0.9))
    genes = space.sample(5, np.random.default_rng(0))
    for name in plain.metrics:
        same = np.array_equal(plain.of(name, genes), sure.of(name, genes))
        assert same is not METRICS[name].estimated
        assert (plain.error(name) is None) is not METRICS[name].estimated


def test_amounts_name_what_is_counted() -> None:
    assert METRICS["latency_ms"].amount("1.2") == "1.2 ms"
    assert METRICS["params_m"].amount(number(3.0)) == "3.0 M parameters"
    assert METRICS["weights_kb"].amount(limit_number(1234.1)) == "1235 kB"
