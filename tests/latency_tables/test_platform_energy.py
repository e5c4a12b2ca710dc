"""The constant part of a network's energy, for every way to make a platform: known, or said to be unknown, never 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import Platform, load_platform, platform_names, save_platform
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpEnergy, OpTime
from latency_tables.published.tables import load_tables
from ofa.cli.main import main
from ofa.errors import UserError
from ofa.space.shapes import walk_blocks
from search.reports.card import Accuracy, build_card
from tests.platform_toys import MINIMAL, measured, small_space, write

SPACE = small_space()
GENES = SPACE.sample(20, np.random.default_rng(0))
INTERCEPT_MS = -0.2
"""Of `measured`."""


def per_block(**changes: object) -> Platform:
    """A table with the energy of each block: 0.25 mJ, whatever it is."""
    return measured(SPACE, EnergyModel(source="a counter", **changes), energy_mj=0.25)  # type: ignore[arg-type]


def blocks_of(platform: Platform) -> np.ndarray:
    """The sum over the blocks of each network, in mJ."""
    subnets = SPACE.decode(GENES)
    return np.array([sum(platform.block_mj(b, net.resolution) for b in walk_blocks(SPACE, net)) for net in subnets])


def modelled(**energy: object) -> Platform:
    """A model of operations with a constant part of 2 ms."""
    model = LatencyModel(ops={"default": OpTime(ms_per_mmac=1.0)}, network_ms=2.0)
    ops = {"default": OpEnergy(pj_per_mac=10.0)} if "power_w" not in energy else None
    energies = EnergyModel(source="made up", ops=ops, **energy)  # type: ignore[arg-type]
    return replace(measured(SPACE), table=None, kind="modelled", latency=model, energy=energies)


def test_measured_blocks_have_the_constant_that_was_measured() -> None:
    platform = per_block(network_mj=-0.125)
    np.testing.assert_allclose(platform.costs(SPACE).energy_mj(GENES), blocks_of(platform) - 0.125, rtol=1e-12)
    assert platform.why_no_energy is None


def test_measured_blocks_alone_do_not_make_the_energy_of_a_network(tmp_path: Path) -> None:
    """As `ofa profile` wrote them before it measured whole networks: such files load, and say what they lack."""
    save_platform(per_block(), tmp_path / "old.yaml")
    platform = load_platform(tmp_path / "old.yaml")
    assert platform.energy is not None
    costs = platform.costs(SPACE)
    assert (costs.latency_ms(GENES) > 0).all()
    assert "energy_mj" not in costs.metrics
    message = (
        r"^platform made-up: energy is unknown; it is measured for its blocks, but not for the constant -0\.2 ms "
        r"\(table\.intercept_ms\): give energy\.network_mj, or measure again \(ofa profile\)$"
    )
    with pytest.raises(UserError, match=message):
        costs.energy_mj(GENES)
    with pytest.raises(UserError, match=message):
        platform.costs(SPACE, 0.9).factors("energy_mj")


def test_a_table_without_a_constant_time_is_the_sum_of_its_blocks() -> None:
    platform = per_block()
    assert platform.table is not None
    platform = replace(platform, table=replace(platform.table, intercept_ms=0.0))
    np.testing.assert_allclose(platform.costs(SPACE).energy_mj(GENES), blocks_of(platform), rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 4])
def test_power_is_drawn_in_the_constant_time_too(batch: int) -> None:
    table = replace(measured(SPACE, EnergyModel(source="given", power_w=3.0)), batch=batch)
    assert table.network_mj == pytest.approx(3.0 * INTERCEPT_MS / batch)
    assert replace(modelled(power_w=3.0), batch=batch).network_mj == pytest.approx(3.0 * 2.0 / batch)
    assert replace(modelled(static_w=0.5), batch=batch).network_mj == pytest.approx(0.5 * 2.0 / batch)


def test_a_published_table_has_no_energy_at_all(reference: Path) -> None:
    platform = load_tables(reference / "tables" / "pixel1_proxyless_mobile_trim.yaml")
    assert platform.why_no_energy == "give its file an energy section (a source, and power_w or ops)"


def test_every_platform_that_ships_knows_its_constant_where_it_knows_an_energy() -> None:
    known = 0
    for platform in map(load_platform, platform_names()):
        if platform.energy is None:
            assert platform.why_no_energy is not None
            continue
        known += 1
        assert platform.why_no_energy is None
        assert (platform.network_mj > 0) == (platform.network_ms > 0)
    assert known >= 7


def test_a_card_and_the_list_say_that_it_is_unknown_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    platform = per_block()
    save_platform(platform, tmp_path / "old.yaml")
    accuracy = Accuracy(predicted=0.5, predicted_std=None, fitted_on=9)
    card = build_card("x", [platform], [platform.costs(SPACE)], GENES[:1], accuracy, {})
    (energy,) = (line for line in card["figures"] if line["name"] == "Energy per inference")
    assert energy["value"] is None
    assert energy["source"].startswith("unknown: it is measured for its blocks, but not for the constant -0.2 ms")
    assert main(["platforms", str(tmp_path / "old.yaml")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "energy unknown it is measured for its blocks, but not for the constant -0.2 ms" in shown
    assert "metrics latency_ms memory_kb" in shown


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        ("{source: x, network_mj: 1, power_w: 2}", "network_mj is given together with power_w or ops, from which"),
        ("{source: x, network_mj: .nan, power_w: 2}", "network_mj is nan; must be finite"),
        ("{source: x, network_mj: 1}", "energy has neither power_w nor ops, and not every block of the table has energy_mj"),
    ],
)
def test_a_wrong_constant_is_refused(tmp_path: Path, energy: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"mine\.yaml:\d+: .*{message}"):
        load_platform(write(tmp_path, f"{MINIMAL}energy: {energy}\n"))


# -- other unknowns --------------------------------------------------------------------------------------------------------


def test_a_single_run_does_not_tell_how_much_runs_vary() -> None:
    platform = measured(SPACE, p10_ms=None, p90_ms=None)
    costs = platform.costs(SPACE)
    assert (costs.latency_ms(GENES) > 0).all()
    with pytest.raises(UserError, match=r"how much the times of stem .* vary is unknown \(p90_ms\), so there is no upper"):
        costs.at(0.9).latency_ms(GENES)
