"""Every energy says what it is of, figures of different boundaries say so, and a judged factor stands beside its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import judged_energy
from latency_tables import load_platform, platform_names, save_platform
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.costs.boundaries import BOUNDARIES, mixed_boundaries, ranks_as_latency
from ofa.errors import UserError
from ofa.space.search_space import load_space
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
    assert line["expected_factor"] == 1.5
    facts = ofa(capsys, "platforms", tmp_path / "phone.yaml")
    assert facts["energy_boundary"] == f"battery minus idle ({BOUNDARIES['battery minus idle']})"
    assert facts["energy_error"]["expected_factor"] == 1.5


def test_boundary_and_factor_are_checked() -> None:
    with pytest.raises(ValueError, match="boundary is empty; say what part of the device it covers"):
        EnergyModel(source="x", power_w=1.0, boundary=" ")
    with pytest.raises(UserError, match=r"expected_factor is 1\.0; must be above 1"):
        ErrorReport(note="x", expected_factor=1.0)
    with pytest.raises(ValueError, match=r"expected_factor is 1\.5 and mape 0\.1; give one"):
        ErrorReport(note="x", networks=4, mape=0.1, expected_factor=1.5)


def test_a_gpu_waits_for_launches_and_works_for_the_rest() -> None:
    platform = load_platform("v100-batch64")
    assert platform.energy is not None
    assert platform.energy.static_w < 50
    space = load_space("mbv3-w1.2")
    genes = space.sample(20, np.random.default_rng(0))
    alone, many = load_platform("v100-batch1").costs(space), platform.costs(space)
    power_alone_w = alone.energy_mj(genes) / alone.latency_ms(genes)
    power_many_w = 64 * many.energy_mj(genes) / many.latency_ms(genes)
    assert (power_alone_w > platform.energy.static_w).all()
    energies = [load_platform(f"v100-batch{batch}").energy for batch in (1, 32)]
    assert all(energy is not None and energy.ops == platform.energy.ops for energy in energies)  # work is that of batch 64
    assert (power_many_w > 2 * power_alone_w).all()
    assert (power_many_w < 250).all()  # the power limit of the card


JUDGED = ["v100-ofa", "titan-rtx-batch32", "gtx-1080ti", "pixel1", "pixel2", "pixel3", "lg-g8", "s7-edge", "xeon-e5-2690v4"]


@pytest.mark.parametrize("name", JUDGED)
def test_an_energy_that_is_judged_has_its_factor_beside_it(name: str) -> None:
    platform = load_platform(name)
    space = load_space("mbv3-w1.2")
    costs, genes = platform.costs(space), space.sample(1, np.random.default_rng(0))
    line = figures(build_card("a subnet", [platform], [costs], genes, Accuracy(), {}))["Energy per inference"]
    assert line["value"] > 0
    assert "expected within a factor of 1." in line["uncertainty"]
    assert not costs.has_bounds("energy_mj")


def test_machines_without_a_measured_power_stay_unknown() -> None:
    for name in platform_names():
        if name.startswith("epyc-") or name in ("note8", "note10"):
            assert load_platform(name).energy is None


def test_the_two_powers_of_a_made_up_gpu_are_found_and_left_out_traces_predicted(tmp_path: Path) -> None:
    folder = tmp_path / "energy" / "measured"
    folder.mkdir(parents=True)
    lines = ["device,network,optimizer,batch,power_limit_w,time_per_epoch_s,mean_w"]
    for gpu in ("V100", "Quadro RTX 6000"):
        for batch in (8, 32, 128, 512, 1024):
            share = min(1.0, batch / 500)  # the GPU waits for launches below a batch of 500
            lines.append(f"{gpu},shufflenetv2,adam,{batch},250,{8 / share},{40 + 160 * share}")
            lines.append(f"{gpu},shufflenetv2,adam,{batch},100,{20 / share},90")  # at a lowered limit: not used
            lines.append(f"{gpu},resnet50,adam,{batch},250,{4000 + 9000 / batch},200")
    lines += [f"GTX 1080 Ti,googlenet,,128,,,{watts}" for watts in (190, 210)]
    (folder / "gpu_board_power.csv").write_text("\n".join(lines))
    found = judged_energy.powers(tmp_path)
    assert (found["V100"].waiting_w, found["V100"].busy_w) == (pytest.approx(40), pytest.approx(200))
    assert found["V100"].mape < 1e-9
    assert found["V100"].traces == 10
    assert found["GTX 1080 Ti"].waiting_w == pytest.approx(40)
    assert found["GTX 1080 Ti"].mape == pytest.approx((20 / 190 + 20 / 210) / 2)  # each by the other


@pytest.mark.reference
def test_two_powers_predict_the_traces_and_the_files_have_them(reference: Path) -> None:
    assert all(power.mape <= 0.12 for power in judged_energy.powers(reference).values())
    for platform in judged_energy.platforms(reference):
        assert platform == load_platform(platform.name)
