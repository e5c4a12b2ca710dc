"""A table that is wrong is refused with the line and the key: negative, missing, in another unit, NaN, of another space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform
from latency_tables.catalogue import platform_yaml
from ofa.errors import UserError
from ofa.space.search_space import load_space
from tests.platform_toys import measured, small_space


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.yaml"
    path.write_text(platform_yaml(measured(small_space())))
    return path


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("median_ms: 0.1,", "median_ms: -0.1,", r"median_ms is -0\.1; must be above 0 and finite"),
        ("median_ms: 0.1,", "median_ms: .nan,", "median_ms is nan; must be above 0 and finite"),
        ("median_ms: 0.1,", "median_us: 100,", "unknown key 'median_us'; known keys are .*median_ms"),
        ("median_ms: 0.1,", "median_ms: 100 us,", "median_ms: expected a number, got '100 us'"),
        ("median_ms: 0.1, ", "", "key 'median_ms' is missing"),
        ("count: 50", "count: 50, rejected: -1", "rejected is -1; must be at least 0"),
    ],
)
def test_a_wrong_block_is_refused_with_its_line_and_key(table: Path, old: str, new: str, message: str) -> None:
    line = line_of(table, old)
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=rf"^{table}:{line}: table.*{message}"):
        load_platform(table)


def test_a_missing_block_is_named_with_the_fingerprint_and_its_line(table: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)
    gone = next(i for i, line in enumerate(lines) if "head" in line)
    table.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    space = small_space()
    costs = load_platform(table).costs(space)
    genes = np.stack([0 * space.levels, space.levels - 1])
    line = line_of(table, "fingerprint:")
    message = rf"head 40->10 .* not measured; {table}:{line}: table: fingerprint is {space.fingerprint}, that of space small"
    with pytest.raises(UserError, match=message):
        costs.latency_ms(genes)


def test_another_space_is_refused_with_the_line_and_the_fingerprint(table: Path) -> None:
    line = line_of(table, "fingerprint:")
    message = rf"was not measured; {table}:{line}: table: fingerprint is {small_space().fingerprint}, that of space small"
    space = load_space("mbv3-w1.2")
    with pytest.raises(UserError, match=message):
        load_platform(table).costs(space).latency_ms(0 * space.levels)


def test_a_space_with_the_same_blocks_is_served(table: Path) -> None:
    """The key is the shape: a part of the measured space has another fingerprint and the same blocks."""
    whole = small_space()
    part = whole.restrict(resolutions=[16])
    assert part.fingerprint != whole.fingerprint
    assert load_platform(table).costs(part).latency_ms(0 * part.levels) > 0


@pytest.mark.parametrize("name", ["within_5", "within_10"])
def test_a_share_above_1_is_refused(table: Path, name: str) -> None:
    table.write_text(table.read_text().replace("mape: 0.05", f"mape: 0.05\n  {name}: 95"))
    line = line_of(table, f"{name}:")
    with pytest.raises(UserError, match=rf"^{table}:{line}: error: {name} is 95\.0; must be at least 0 and at most 1"):
        load_platform(table)
