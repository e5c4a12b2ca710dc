from __future__ import annotations

import numpy as np
import pytest

from ofa.errors import UserError
from search.arrays import Floats
from search.measurements.noise import measurement_noise, paired_error
from search.statistics import kendall_tau

GROUPS = 10


def measured(
    subnets: int, spread: float, hard: float, own: float, images: int = 2000, seed: int = 0
) -> tuple[Floats, Floats]:
    """True top-1, and top-1 on parts of images; `hard` varies with the image alone, `own` with subnet and image."""
    rng = np.random.default_rng(seed)
    true = 0.8 + spread * rng.normal(size=subnets)
    shared = hard * rng.normal(size=images)
    right = true[:, None] + shared + own * rng.normal(size=(subnets, images))
    return true, right.reshape(subnets, GROUPS, -1).mean(axis=2)


def test_what_all_subnets_share_is_no_noise() -> None:
    for hard in (0.0, 0.5):
        _, parts = measured(300, spread=0.01, hard=hard, own=0.3)
        noise = measurement_noise(parts, np.random.default_rng(0))
        assert noise.std == pytest.approx(0.3 / np.sqrt(2000), rel=0.05)
        assert noise.reliability == pytest.approx(0.01**2 / (0.01**2 + 0.3**2 / 2000), abs=0.06)


def test_ceiling_is_how_well_the_truth_itself_ranks_the_measurements() -> None:
    for own in (0.1, 0.3, 0.6):
        ceilings, taus, halves = [], [], []
        for seed in range(6):
            true, parts = measured(200, spread=0.01, hard=0.4, own=own, seed=seed)
            noise = measurement_noise(parts, np.random.default_rng(0))
            ceilings.append(noise.tau_ceiling)
            taus.append(kendall_tau(true, parts.mean(axis=1)))
            halves.append(noise.tau_halves)
        assert np.mean(ceilings) == pytest.approx(np.mean(taus), abs=0.02)
        assert np.mean(halves) < np.mean(taus)


def test_nothing_but_noise() -> None:
    _, parts = measured(300, spread=0.0, hard=0.4, own=0.5)
    noise = measurement_noise(parts, np.random.default_rng(0))
    assert noise.reliability is not None
    assert noise.tau_ceiling is not None
    assert noise.reliability < 0.15
    assert noise.tau_ceiling < 0.25
    alike = measurement_noise(np.tile([[0.4, 0.6], [0.6, 0.4]], (3, 1)), np.random.default_rng(0))
    assert (alike.reliability, alike.tau_ceiling) == (None, None)
    assert alike.std > 0
    constant = measurement_noise(np.full((5, 4), 0.7), np.random.default_rng(0))
    assert (constant.reliability, constant.tau_ceiling, constant.tau_halves) == (None, None, None)
    assert constant.std == pytest.approx(0, abs=1e-12)
    assert "noise ceiling      tau unknown" in "\n".join(constant.lines())


def test_too_little_to_tell() -> None:
    for shape in ((2, 10), (30, 1)):
        message = f"{shape[0]} subnets on {shape[1]} groups of the images; at least 3 and 2 are needed"
        with pytest.raises(UserError, match=message):
            measurement_noise(np.zeros(shape), np.random.default_rng(0))


def test_lines_for_people() -> None:
    _, parts = measured(100, spread=0.01, hard=0.4, own=0.2)
    text = "\n".join(measurement_noise(parts, np.random.default_rng(0)).lines())
    assert "noise ceiling      tau 0." in text
    assert "measuring noise    0.4" in text


def test_the_paired_error_leaves_out_what_all_subnets_share() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 0.05, 10), rng.normal(0, 0.01, (200, 10))
    groups = 0.9 + rng.normal(0, 0.1, (200, 1)) + shared + own
    assert paired_error(groups) == pytest.approx(0.01 / 10**0.5, rel=0.05)
    assert paired_error(groups[:2]) is None
    assert paired_error(groups[:, :1]) is None
    assert paired_error(None) is None
