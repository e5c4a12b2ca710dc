"""Every energy says what it is of, figures of different boundaries say so, and a judged factor stands beside its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform, platform_names, save_platform
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.costs.boundaries import BOUNDARIES, mixed_boundaries, ranks_as_latency
from ofa.errors import UserError
from search.reports.card import Accuracy, build_card
from tests.platform_toys import measured, small_space
from tests.verbs import figures, ofa

SPACE = small_space()


def test_every_shipped_energy_states_a_known_boundary() -> None:
    for name in platform_names():
        energy = load_platform(name).energy
        assert energy is None or energy.boundary in BOUNDARIES, name


def test_different_boundaries_are_mixed_and_one_is_not() -> None:
    chip, card = load_platform("stm32-u575"), load_platform("edge-int8")
    assert mixed_boundaries([chip, load_platform("stm32-l4r5")]) is None
    assert mixed_boundaries([chip, load_platform("note10")]) is None  # whose energy is unknown
    text = "energies of different boundaries are not comparable (stm32-u575: chip, edge-int8: accelerator)"
    assert mixed_boundaries([chip, card]) == text
    assert card.energy is not None
    silent = replace(card, energy=replace(card.energy, boundary=None))
    assert "edge-int8: not stated" in str(mixed_boundaries([chip, silent]))


def test_power_times_time_ranks_as_latency() -> None:
    assert ranks_as_latency(load_platform("stm32-u575"))
    assert not ranks_as_latency(load_platform("edge-int8"))
    assert not ranks_as_latency(load_platform("note10"))


def test_boundary_and_factor_survive_the_file_and_stand_on_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ErrorReport(note="power of another workload", expected_factor=1.5)
    energy = EnergyModel(source="a profile", power_w=2.0, boundary="battery minus idle", error=judged)
    platform = measured(SPACE, energy)
    save_platform(platform, tmp_path / "phone.yaml")
    assert load_platform(tmp_path / "phone.yaml") == platform
    genes = SPACE.sample(1, np.random.default_rng(0))
    card = build_card("a subnet", [platform], [platform.costs(SPACE)], genes, Accuracy(), {})
    line = figures(card)["Energy per inference"]
    assert line["source"] == "2 W times latency: a profile; boundary: battery minus idle"
    assert line["uncertainty"] == "expected within a factor of 1.5; no network was compared"
    facts = ofa(capsys, "platforms", tmp_path / "phone.yaml")
    assert facts["energy_boundary"] == f"battery minus idle ({BOUNDARIES['battery minus idle']})"
    assert facts["energy_error"]["expected_factor"] == 1.5


def test_boundary_and_factor_are_checked() -> None:
    with pytest.raises(ValueError, match="boundary is empty; say what the energy is of"):
        EnergyModel(source="x", power_w=1.0, boundary=" ")
    with pytest.raises(UserError, match=r"expected_factor is 1\.0; must be above 1"):
        ErrorReport(note="x", expected_factor=1.0)
    with pytest.raises(ValueError, match=r"expected_factor is 1\.5 and mape 0\.1; give one"):
        ErrorReport(note="x", networks=4, mape=0.1, expected_factor=1.5)
