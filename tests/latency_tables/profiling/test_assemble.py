"""From times to a platform: the call subtracted, outliers dropped, networks corrected for, the error reported."""

from __future__ import annotations

import numpy as np
import pytest

from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.on_device.results import Row
from latency_tables.on_device.timing import REFERENCE, VISITS
from latency_tables.platform import Platform
from latency_tables.profiling.assemble import assemble, correction, reject_outliers, report
from latency_tables.profiling.block_power import modelled
from latency_tables.profiling.plan import EMPTY_ITEM, Settings, SpacePlan
from ofa.errors import UserError
from ofa.space.shapes import BlockShape, walk_blocks
from tests.space_toys import toy_space

Rows = list[Row]
NOISE = ((1.0, 0.9, 1.1, 50.0), (1.0, 1.0, 1.3, 1.0))
"""Factors of the runs of a visit: of a block or network, and of the empty call."""
MACHINE = {"processor": "a processor", "runtime": "a runtime", "threads": "1"}


def rows_of(plan: SpacePlan, block_ms: dict[BlockShape, float], empty_ms: float, intercept: float, factor: float) -> Rows:
    """Times of a device whose networks take intercept + factor x the sum of their blocks, and which is slow now and then."""
    rows = []
    for chain, items in enumerate(plan.timing.chains):
        for turn in range(VISITS):
            slowness = 1.0 + 0.5 * ((chain + turn) % 3 == 0)
            rows.append(Row(chain, turn, REFERENCE, 0, [0.2 * slowness] * 4))
            for item in items:
                if item in plan.blocks:
                    ms = empty_ms + block_ms[plan.blocks[item]]
                elif item in plan.networks:
                    ms = intercept + factor * sum(block_ms[b] for b in walk_blocks(plan.space, plan.networks[item]))
                else:
                    ms = empty_ms
                rows.append(Row(chain, turn, item, 0, [slowness * ms * noise for noise in NOISE[item == EMPTY_ITEM]]))
    return rows


@pytest.fixture
def plan() -> SpacePlan:
    return SpacePlan.of(toy_space("wide"), Settings(runs=5, fit_networks=8, test_networks=8))


def made(plan: SpacePlan, **changes: object) -> Platform:
    block_ms = {shape: 0.1 + 0.07 * i for i, shape in enumerate(plan.blocks.values())}
    given = {"rows": rows_of(plan, block_ms, 0.01, 0.03, 1.2), "energy": modelled("none"), "watts": {}, "place": "r.csv"}
    return assemble(plan, "here", **(given | {"facts": MACHINE} | changes))  # type: ignore[arg-type]


def test_blocks_are_charged_without_the_call_and_networks_with_it(plan: SpacePlan) -> None:
    platform = made(plan)
    assert platform.table is not None
    blocks = {block.shape: block for block in platform.table.blocks}
    for i, shape in enumerate(plan.blocks.values()):
        assert blocks[shape].median_ms == pytest.approx(0.1 + 0.07 * i, rel=1e-4)
        assert 0.85 < (blocks[shape].p10_ms or 0) / blocks[shape].median_ms < 0.95
        assert 1.05 < (blocks[shape].p90_ms or 0) / blocks[shape].median_ms < 1.15
        count, rejected = blocks[shape].count, blocks[shape].rejected or 0
        assert count + rejected == 4 * VISITS
        assert rejected >= VISITS  # an outlier in each visit, and the slow visits
    assert (platform.table.intercept_ms, platform.table.factor) == pytest.approx((0.03, 1.2), rel=1e-3)
    assert platform.error.mape == pytest.approx(0, abs=1e-4)
    assert (platform.error.networks, platform.error.within_5, platform.error.spearman) == (8, 1.0, pytest.approx(1.0))
    assert platform.details["empty call"] == "10.0 us, subtracted from every block"


def test_slow_moments_do_not_count_but_where_there_is_nothing_else(plan: SpacePlan) -> None:
    """Slow runs that scaling does not mend: the reference took half as long again, the blocks three times as long."""
    block_ms = {shape: 0.1 + 0.07 * i for i, shape in enumerate(plan.blocks.values())}
    rows = rows_of(plan, block_ms, 0.01, 0.03, 1.2)
    slow = {row.of_visit for row in rows if row.item == REFERENCE and row.times_ms[0] > 0.25}
    worse = [
        row._replace(times_ms=[2 * ms for ms in row.times_ms]) if row.of_visit in slow and row.item != REFERENCE else row
        for row in rows
    ]
    platform = made(plan, rows=worse)
    assert platform.table is not None
    assert [block.median_ms for block in platform.table.blocks] == pytest.approx(list(block_ms.values()), rel=1e-4)
    assert platform.details["without calm runs"].startswith("0 blocks or networks")
    chain = next(i for i, chain in enumerate(plan.timing.chains) if len(chain) > 1)
    never = [row._replace(times_ms=[0.3] * 4) if row.item == REFERENCE and row.chain == chain else row for row in rows]
    platform = made(plan, rows=never)
    assert platform.details["without calm runs"].startswith(f"{len(plan.timing.chains[chain])} blocks or networks")


def test_a_missing_visit_is_named(plan: SpacePlan) -> None:
    platform_rows = rows_of(plan, dict.fromkeys(plan.blocks.values(), 0.1), 0.01, 0.0, 1.0)
    gone = next(item for item, shape in plan.blocks.items() if shape.kind == "head")
    rows = [row for row in platform_rows if row[1:3] != (2, gone)]
    with pytest.raises(UserError, match=rf"^r.csv: item '{gone}' \(head 24->5 channels.*\) has 4 of 5 visits; run the same"):
        made(plan, rows=rows)


def test_a_block_no_slower_than_an_empty_call_is_refused(plan: SpacePlan) -> None:
    rows = rows_of(plan, dict.fromkeys(plan.blocks.values(), 1e-9), 0.01, 0.1, 1.0)
    rows = [row._replace(times_ms=[0.02] * 4) if row.item == EMPTY_ITEM else row for row in rows]
    with pytest.raises(UserError, match=r"^r.csv: stem 2->8 channels.* takes 0.01 ms, no longer than an empty call"):
        made(plan, rows=rows)


def test_the_energy_of_a_network_is_that_of_its_blocks_and_a_constant(plan: SpacePlan) -> None:
    """Networks take 0.03 ms + 1.2 x the sum of their blocks, and 2 mJ + 1.5 x the sum of theirs: neither is the other."""
    block_ms = {shape: 0.1 + 0.07 * i for i, shape in enumerate(plan.blocks.values())}
    block_w = {item: 3.0 + i % 5 for i, item in enumerate(plan.blocks)}
    block_mj = {shape: block_w[item] * block_ms[shape] for item, shape in plan.blocks.items()}
    whole_ms = {i: 0.03 + 1.2 * sum(block_ms[b] for b in walk_blocks(plan.space, net)) for i, net in plan.networks.items()}
    whole_mj = {i: 2.0 + 1.5 * sum(block_mj[b] for b in walk_blocks(plan.space, net)) for i, net in plan.networks.items()}
    watts = block_w | {item: whole_mj[item] / whole_ms[item] for item in plan.networks}
    platform = made(plan, watts=watts, energy=EnergyModel(source="a counter"))
    assert platform.table is not None
    assert platform.energy is not None
    assert platform.energy.network_mj == pytest.approx(2.0, rel=1e-3)
    for block, mj in zip(platform.table.blocks, block_mj.values(), strict=True):
        assert block.energy_mj == pytest.approx(1.5 * mj, rel=1e-3)
    costs = platform.costs(plan.space)
    genes = plan.space.encode(list(plan.networks.values()))
    np.testing.assert_allclose(costs.energy_mj(genes), list(whole_mj.values()), rtol=1e-3)
    error = platform.energy.error
    assert error is not None
    assert (error.networks, error.mape) == (8, pytest.approx(0, abs=1e-4))  # of the networks held out


def test_how_many_runs_were_preempted_is_unknown_where_the_system_does_not_tell(plan: SpacePlan) -> None:
    assert made(plan).details["rejected"].startswith("preempted; or slow moments")
    windows = made(plan, facts=MACHINE | {"system": "Windows-11"})
    assert windows.details["rejected"].startswith("preempted (how many is unknown: this system does not tell); or slow")


def test_outliers_are_slow_runs_of_their_visit() -> None:
    calm, slow = np.array([1.0, 1.01, 0.99, 1.0, 1.02]), np.array([2.0, 2.02, 1.98, 2.01, 9.0])
    times = reject_outliers([calm, slow])
    assert times.rejected == 1
    assert sorted(times.kept_ms) == sorted([*calm, *slow[:-1]])  # a slower visit is no outlier: the machine may be so
    assert reject_outliers([np.array([1.0] * 9 + [1.04])]).rejected == 0  # a clock has steps
    assert reject_outliers([np.array([1.0] * 9 + [1.06])], rejected=3).rejected == 4


def test_correction_recovers_intercept_and_factor() -> None:
    sums_ms = np.array([1.0, 2.0, 3.0, 5.0])
    assert correction(sums_ms, 0.3 + 1.2 * sums_ms, 0.5) == pytest.approx((0.3, 1.2))
    assert correction(sums_ms, -0.1 + 1.2 * sums_ms, 0.5) == pytest.approx((-0.1, 1.2))


def test_correction_that_cannot_be_told_is_the_factor_alone() -> None:
    assert correction(np.full(5, 2.0), np.full(5, 3.0), 1.0) == pytest.approx((0.0, 1.5))  # sums all alike
    sums_ms = np.array([1.0, 2.0, 3.0])
    backwards = np.array([3.0, 2.0, 1.0])
    assert correction(sums_ms, backwards, 1.0) == pytest.approx((0.0, np.mean(backwards / sums_ms)))
    steep = -0.9 + 2 * sums_ms  # would be negative for the smallest subnet
    assert correction(sums_ms, steep, 0.3) == pytest.approx((0.0, np.mean(steep / sums_ms)))


def test_held_out_error_and_a_profile_that_fails_its_check() -> None:
    whole = np.array([1.0, 2.0, 3.0, 4.0])
    found = report(whole * [1.02, 0.98, 1.08, 1.12], whole)
    assert (found.mape, found.worst) == pytest.approx((0.06, 0.12))
    assert (found.within_5, found.within_10, found.spearman) == (0.5, 0.75, pytest.approx(1.0))
    assert "FAILS" not in found.note
    assert report(whole * 1.5, whole).note.startswith("FAILS its own check")
