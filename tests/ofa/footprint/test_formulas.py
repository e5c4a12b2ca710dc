"""Formulas of the footprint at their edges: zero, ties, never, and what is no number."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ofa import footprint
from ofa.errors import UserError
from ofa.footprint.energy_label import load_bounds, steps
from tests.test_imports import run_python

GOOD: dict[str, dict[str, Any]] = {
    "energy_kwh": {"power_w": 100.0, "hours": 2.0, "pue": 1.5, "utilisation": 0.5},
    "co2e_kg": {"kwh": 2.0, "g_per_kwh": 400.0},
    "g_per_kwh": {"kg": 2.0, "kwh": 4.0},
    "break_even_devices": {"once": 1240.0, "each": 0.0, "rival_each": 180.0, "rival_once": 0.0},
    "break_even_inferences": {"once_j": 5400.0, "inference_j": 3e-5, "once_g_per_kwh": 475.0, "use_g_per_kwh": 56.0},
    "inference_j_at_break_even": {"once_j": 5400.0, "inferences": 1e6},
    "break_even_bytes": {"edge_j": 1.0, "server_j": 0.1, "j_per_byte": 1e-6, "pue": 1.2, "burst_j": 0.1},
    "computer_w": {"cores": 12.0, "w_per_core": 7.5, "usage": 1.0, "memory_gb": 64.0, "w_per_gb": 0.3725},
    "mean_power_w": {"kwh": 1.0, "hours": 2.0},
    "embodied_kg": {"total_kg": 84.0, "used_h": 1.0, "lifetime_h": 26298.0, "share": 1.0},
    "kwh_of_joules": {"joules": 3.6e6},
    "joules_of_kwh": {"kwh": 1.0},
    "kg_of_lb": {"pounds": 1.0},
    "lb_of_kg": {"kg": 1.0},
    "car_lifetimes": {"kg": 1.0},
    "tree_months": {"kg": 1.0},
    "radio_j_per_byte": {"mw_per_mbps": 438.39, "base_mw": 1288.04, "mbps": 6.0},
    "transmission_j": {"size_bytes": 20000.0, "j_per_byte": 5e-6, "wake_j": 0.3, "tail_j": 12.0, "bursts": 1.0},
    "network_j": {"size_bytes": 1e9, "kwh_per_gb": 0.1},
    "line_w": {"mbps": 4.0, "base_w": 1.5, "w_per_mbps": 0.03},
    "lora_airtime_s": {"payload_bytes": 51, "spreading_factor": 7, "bandwidth_hz": 125000.0, "coding_rate": 1},
    "label": {"joules": 3e-5, "input_values": 784, "top1": 0.884, "classes": 10, "low": 0.5, "high": 2.0},
    "edge_against_cloud": {
        "edge_j": 0.0013,
        "server_j": 0.14,
        "size_bytes": 20000.0,
        "j_per_byte": 2.44e-6,
        "kwh_per_gb": 0.0065,
        "pue": 1.2,
        "wake_j": 0.0,
        "tail_j": 0.0,
        "inferences_per_burst": 1.0,
    },
}
CALLS = [(name, argument) for name, arguments in GOOD.items() for argument in arguments]


@pytest.mark.parametrize(("name", "argument"), CALLS, ids=[f"{name}-{argument}" for name, argument in CALLS])
def test_what_is_no_number_is_refused_by_name(name: str, argument: str) -> None:
    function: Callable[..., Any] = getattr(footprint, name)
    function(**GOOD[name])
    for bad in (math.nan, math.inf, -math.inf, -1.0, -1e-300, "3", True, [1.0], 1 + 2j, 10**400):
        with pytest.raises(UserError, match=argument) as caught:
            function(**{**GOOD[name], argument: bad})
        assert isinstance(caught.value, ValueError)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_numbers_of_numpy_are_numbers(kind: type) -> None:
    assert footprint.energy_kwh(kind(1000), hours=np.int64(2)) == 2
    assert footprint.break_even_devices(kind(1240), kind(0), kind(180)) == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: footprint.energy_kwh(100, 1, pue=0.99), "pue is 0.99; must be finite and at least 1"),
        (lambda: footprint.energy_kwh(100, 1, utilisation=1.1), "utilisation is 1.1; must be finite and at least 0 and at"),
        (lambda: footprint.embodied_kg(84, 3, 2), "used_h is 3; .* at most 2"),
        (lambda: footprint.mean_power_w(1, 0), "hours is 0; must be finite and above 0"),
        (lambda: footprint.label(0.0, 784, 0.9, 10), "joules is 0; must be finite and above 0"),
        (lambda: footprint.label(1e-5, 784, 0.9, 1), "classes is 1; .* at least 2"),
        (lambda: footprint.label(1e-5, 784, 0.9, 2.5), "classes is 2.5; must be a whole number"),
        (lambda: footprint.label(1e-5, 784, 1.01, 10), "top1 is 1.01; .* at most 1"),
        (lambda: footprint.label(1e-5, 0, 0.9, 10), "input_values is 0; .* at least 1"),
        (lambda: footprint.label(1e-5, 784, 0.9, 10, low=2, high=1), "low is 2 and high 1; low must not be above high"),
        (lambda: footprint.lora_airtime_s(256, 7), "payload_bytes is 256; .* at most 255"),
        (lambda: footprint.lora_airtime_s(10, 6), "spreading_factor is 6; .* at least 7"),
        (lambda: footprint.mixed_g_per_kwh({"coal": (0.5, 995.0)}), "shares of coal add up to 0.5; must be 1"),
        (lambda: footprint.mixed_g_per_kwh({}), "shares of nothing add up to 0"),
        (lambda: footprint.edge_against_cloud(1, 1, 1, 1, 1, inferences_per_burst=0.5), "inferences_per_burst is 0.5"),
        (lambda: footprint.fixed_line_kwh_per_gb(1815), "year is 1815"),
    ],
)
def test_what_is_out_of_range(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_the_figures_of_the_design() -> None:
    assert footprint.energy_kwh(power_w=1515.43, hours=274120, pue=1.58) == pytest.approx(656347.281128)
    assert footprint.co2e_kg(2.0, g_per_kwh=432.7) == pytest.approx(0.8654)
    assert footprint.energy_kwh(0, 5) == footprint.co2e_kg(0, 400) == footprint.co2e_kg(3, 0) == 0


@pytest.mark.parametrize(
    ("once", "each", "rival", "devices"),
    [
        (1260, 0, 180, 8),  # seven devices are a tie, which is not enough
        (1259, 0, 180, 7),
        (0, 0, 180, 1),
        (0, 180, 180, None),
        (1240, 180, 180, None),
        (1240, 200, 180, None),
        (0, 200, 180, None),
        (0.3, 0, 0.1, 4),  # a tie in decimals, which binary fractions would miss
        (0, 0, 0, None),
        (1e300, 0, 1e-300, 10**600 + 1),
    ],
)
def test_devices_until_training_once_pays(once: float, each: float, rival: float, devices: int | None) -> None:
    assert footprint.break_even_devices(once=once, each=each, rival_each=rival) == devices


def test_devices_are_the_fewest_by_counting() -> None:
    rng = random.Random(0)
    for _ in range(500):
        once, each, rival = rng.randint(0, 200), rng.randint(0, 12), rng.randint(0, 12)
        counted = next((n for n in range(1, 1000) if once + n * each < n * rival), None)
        assert footprint.break_even_devices(once, each, rival) == counted


def test_devices_against_a_rival_that_also_trains_once() -> None:
    assert footprint.break_even_devices(100, 5, 10, rival_once=101) == 1
    assert footprint.break_even_devices(100, 10, 10, rival_once=50) is None
    assert footprint.break_even_devices(100, 12, 10, rival_once=103) == 1
    assert footprint.break_even_devices(100, 5, 10, rival_once=50) == 11


def test_inferences_until_use_passes_training() -> None:
    assert footprint.break_even_inferences(once_j=5400.0, inference_j=3e-5) == pytest.approx(1.8e8)
    assert footprint.break_even_inferences(0, 3e-5) == 0
    assert footprint.break_even_inferences(5400, 0) is None
    assert footprint.break_even_inferences(5400, 1, 475, 0) is None


def test_bytes_until_the_edge_takes_less() -> None:
    assert footprint.break_even_bytes(1.0, 0.5, 1e-3) == pytest.approx(500)
    assert footprint.break_even_bytes(1.0, 0.5, 1e-3, pue=1.2, burst_j=0.1) == pytest.approx(300)
    assert footprint.break_even_bytes(0.1, 0.5, 1e-3) == 0
    assert footprint.break_even_bytes(1.0, 0.5, 0) is None
    assert footprint.break_even_bytes(0.5, 0.5, 1e-3) == 0  # every byte tips the balance


def test_waking_and_tail_count_once_a_burst() -> None:
    alone = footprint.edge_against_cloud(1, 0, 1000, 1e-6, 0, wake_j=0.3, tail_j=12)
    shared = footprint.edge_against_cloud(1, 0, 1000, 1e-6, 0, wake_j=0.3, tail_j=12, inferences_per_burst=100)
    assert alone.radio_j == pytest.approx(12.301)
    assert shared.radio_j == pytest.approx(0.124)
    assert footprint.edge_against_cloud(0, 1, 1, 1, 1).cloud_over_edge is None


def test_lora_slows_down_with_its_spreading_factor() -> None:
    assert footprint.lora_airtime_s(51, 12) == pytest.approx(2.465792)
    times = [footprint.lora_airtime_s(51, factor) for factor in range(7, 13)]
    assert times == sorted(times)
    assert footprint.lora_airtime_s(0, 12) > 0


@pytest.mark.parametrize("place", range(6))
def test_a_value_on_a_bound_gets_the_worse_letter(place: int) -> None:
    bounds = load_bounds()
    bound = bounds.upper_nj[place]
    assert bounds.letter(bound) == bounds.letter(bound * (1 - 1e-10)) == bounds.letters[place + 1]
    assert bounds.letter(bound * (1 - 1e-8)) == bounds.letters[place]


def test_the_letter_is_that_of_the_upper_bound() -> None:
    found = footprint.label(joules=1.2e-5, input_values=784, top1=0.884, classes=10, low=0.2, high=2.0)
    assert (found.letter, found.letters, found.shown) == ("D", "BD", "B-D")
    sure = footprint.label(joules=1.2e-5, input_values=784, top1=0.884, classes=10)
    assert (sure.letter, sure.letters, sure.shown) == ("C", "CC", "C")
    assert sure.index_nj == found.index_nj


@pytest.mark.parametrize("top1", [0.0, 0.05, 0.1])
def test_no_letter_at_chance(top1: float) -> None:
    found = footprint.label(joules=1e-5, input_values=784, top1=top1, classes=10)
    assert found.letter is found.letters is found.index_nj is found.shown is None
    assert "not above chance (1 of 10)" in found.why


def test_no_letter_without_energy() -> None:
    found = footprint.label(joules=None, input_values=784, top1=0.9, classes=10)
    assert (found.letter, found.why) == (None, "the energy is unknown")


def test_the_ends_of_the_scale() -> None:
    assert footprint.label(1e-12, 784, 1.0, 10).letter == "A"
    assert footprint.label(1e3, 784, 0.11, 10).letter == "G"


def test_halving_the_energy_is_less_than_half_a_letter() -> None:
    assert steps(5) == pytest.approx(1)
    assert steps(2) == pytest.approx(0.4307, abs=1e-4)
    assert steps(0.2) == pytest.approx(-1)


def test_totals_name_what_they_lack() -> None:
    parts = [
        footprint.Part(name="training", kwh=1.0, kg=0.5, kind="metered", source="RAPL", missing=("its start",)),
        footprint.Part(name="search", kwh=None, kg=None, kind="unknown", source="not booked"),
        footprint.Part(name="inference", kwh=2.0, kg=None, kind="modelled", source="a platform"),
        footprint.Part(name="embodied", kwh=None, kg=0.25, kind="estimated", source="a maker"),
    ]
    whole = footprint.total(parts)
    assert (whole.kwh, whole.kg) == (3.0, 0.75)
    assert (whole.kwh_without, whole.kg_without) == (("search",), ("search", "inference"))
    assert whole.missing == ("training: its start",)
    nothing = footprint.total(parts[1:2])
    assert nothing.kwh is nothing.kg is None


def test_it_is_there_at_once_and_without_torch() -> None:
    code = "import sys; from ofa import footprint; print(sorted({'torch', 'numpy', 'yaml', 'scipy'} & set(sys.modules)))"
    assert run_python(code) == "[]"
