"""Energy readings: counters replayed from files, so no hardware is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofa.energy.meter import EnergyMeter


def domain(powercap: Path, folder: str, name: str, energy_uj: int | str, range_uj: int = 262_143_328_850) -> Path:
    path = powercap / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    return path / "energy_uj"


def test_sums_package_and_dram_but_no_part_of_a_package(tmp_path: Path) -> None:
    package = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    dram = domain(tmp_path, "intel-rapl:0:1", "dram", 500_000)
    core = domain(tmp_path, "intel-rapl:0:0", "core", 7)
    meter = EnergyMeter(powercap=tmp_path)
    meter.start()
    package.write_text("3500000")
    dram.write_text("750000")
    core.write_text("900000000")
    reading = meter.stop()
    assert reading.joules == pytest.approx(2.75)
    assert reading.source == "RAPL package-0 + RAPL dram"
    assert reading.seconds > 0


def test_wraparound(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 65_000_000, range_uj=65_532_000)
    meter = EnergyMeter(powercap=tmp_path)
    meter.start()
    counter.write_text("468000")
    assert meter.stop().joules == pytest.approx(1.0)


def test_every_wraparound_of_a_long_measurement_is_seen(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0, range_uj=10_000_000)
    meter = EnergyMeter(powercap=tmp_path, sample_s=3600)
    meter.start()
    for energy_uj in (8_000_000, 6_000_000, 4_000_000):  # three samples, two wraps
        counter.write_text(str(energy_uj))
        meter._sample()
    assert meter.stop().joules == pytest.approx(24.0)


def test_a_meter_can_be_used_again(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(powercap=tmp_path)
    for joules in (2, 5):
        counter.write_text("0")
        meter.start()
        counter.write_text(str(joules * 1_000_000))
        assert meter.stop().joules == pytest.approx(joules)


def test_no_counter_is_none_and_says_why(tmp_path: Path) -> None:
    meter = EnergyMeter(powercap=tmp_path)
    meter.start()
    reading = meter.stop()
    assert reading.joules is None
    assert reading.source == f"no energy counter is readable: no RAPL domain under {tmp_path}"


def test_a_counter_that_becomes_unreadable_is_none_not_a_guess(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(powercap=tmp_path)
    meter.start()
    counter.unlink()
    reading = meter.stop()
    assert reading.joules is None
    assert "No such file" in reading.source


def test_a_broken_counter_is_not_used(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", "nonsense")
    assert not EnergyMeter(powercap=tmp_path).available


def test_the_processor_alone_is_no_reading_of_a_gpu(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter("mps", powercap=tmp_path)
    meter.start()
    assert meter.stop().joules is None
    assert "device mps" in meter.source
    assert EnergyMeter("cpu:0", powercap=tmp_path).available


def test_stop_without_start_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="without start"):
        EnergyMeter(powercap=tmp_path).stop()
