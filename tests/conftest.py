"""Fixtures shared by all tests: where material outside the repository lies, or a skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread: tests are small, and a subprocess must round as its parent does. Set before torch is imported anywhere.
os.environ["OMP_NUM_THREADS"] = "1"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """Published tables, predictors, measurements and golden figures; use with the marker `reference`."""
    return _shared("reference")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets that are too large for the repository."""
    return _shared("data")
