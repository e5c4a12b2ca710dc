"""Energy readings: counters replayed from files, so no hardware is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from ofa.energy import meter as energy_meter
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import EnergyReading


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
    reading = meter.stop()
    assert reading.joules is None
    assert "device mps" in reading.source
    assert EnergyMeter("cpu:0", powercap=tmp_path).available


def test_stop_without_start_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="without start"):
        EnergyMeter(powercap=tmp_path).stop()


# -- what is missing -----------------------------------------------------------------------------------------------------


def measured(meter: EnergyMeter, after: dict[Path, str | None]) -> EnergyReading:
    """A reading in whose course counters get these contents, or vanish."""
    meter.start()
    for file, content in after.items():
        file.unlink() if content is None else file.write_text(content)
    return meter.stop()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """A GPU whose counter, in mJ, is `gpu.return_value`."""
    counter = Mock(return_value=4_000_000)
    module = SimpleNamespace(
        NVMLError=type("NVMLError", (Exception,), {}),
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=counter,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="1", name="Test GPU"))
    return counter


def test_a_part_that_cannot_be_read_is_named_and_the_rest_is_a_lower_bound(tmp_path: Path) -> None:
    first = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    domain(tmp_path, "intel-rapl:1", "package-1", "nonsense")
    reading = measured(EnergyMeter(powercap=tmp_path), {first: "3000000"})
    assert reading.joules == pytest.approx(3.0)
    assert reading.missing == (f"{tmp_path / 'intel-rapl:1'}: invalid literal for int() with base 10: 'nonsense\\n'",)
    assert reading.source == f"RAPL package-0; a lower bound, missing: {reading.missing[0]}"


def test_joules_of_a_gpu_do_not_pass_as_those_of_the_machine(tmp_path: Path, gpu: Mock) -> None:
    meter = EnergyMeter("cuda", powercap=tmp_path)
    meter.start()
    gpu.return_value += 7000
    reading = meter.stop()
    assert reading.joules == pytest.approx(7.0)
    assert reading.missing == (f"no RAPL domain under {tmp_path}",)
    assert reading.source == f"NVML Test GPU; a lower bound, missing: no RAPL domain under {tmp_path}"


def test_gpu_and_processor_add_up(tmp_path: Path, gpu: Mock) -> None:
    package = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter("cuda:0", powercap=tmp_path)
    meter.start()
    gpu.return_value += 7000
    package.write_text("2000000")
    reading = meter.stop()
    assert reading.joules == pytest.approx(9.0)
    assert (reading.source, reading.missing) == ("NVML Test GPU + RAPL package-0", ())


def test_a_gpu_without_its_counter_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = EnergyMeter("cuda", powercap=tmp_path)
    reading = measured(meter, {})
    assert not meter.available
    assert reading.joules is None
    assert reading.missing == ("NVML needs the package nvidia-ml-py, which is not installed",)


def test_what_another_process_counts_is_not_missing(tmp_path: Path, gpu: Mock) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    reading = measured(EnergyMeter(processor=False, powercap=tmp_path), {})
    assert (reading.joules, reading.source, reading.missing) == (0.0, "counted by another process", ())
    reading = measured(EnergyMeter("cuda", processor=False, powercap=tmp_path / "none"), {})
    assert (reading.joules, reading.source, reading.missing) == (0.0, "NVML Test GPU", ())


def test_a_counter_that_vanishes_beside_another_keeps_what_it_counted(tmp_path: Path) -> None:
    first, second = (domain(tmp_path, f"intel-rapl:{i}", f"package-{i}", i) for i in range(2))
    meter = EnergyMeter(powercap=tmp_path, sample_s=3600)
    meter.start()
    first.write_text("1000000")
    second.write_text("5000001")
    meter._sample()
    first.write_text("2000000")
    second.unlink()
    reading = meter.stop()
    assert reading.joules == pytest.approx(7.0)
    assert reading.missing == ("RAPL package-1: No such file or directory",)
    second.write_text("0")  # it is there again: nothing is missing from the next reading
    assert measured(meter, {first: "3000000", second: "1000000"}).joules == pytest.approx(2.0)


def test_a_counter_that_is_late_is_a_lower_bound(tmp_path: Path) -> None:
    first, second = (domain(tmp_path, f"intel-rapl:{i}", f"package-{i}", i) for i in range(2))
    meter = EnergyMeter(powercap=tmp_path, sample_s=3600)
    second.write_text("busy")
    meter.start()
    second.write_text("1")
    meter._sample()
    first.write_text("1000000")
    second.write_text("2000001")
    reading = meter.stop()
    assert reading.joules == pytest.approx(3.0)
    assert len(reading.missing) == 1
    assert reading.missing[0].startswith("RAPL package-1: its start (invalid literal")


# -- counters that mirror each other ----------------------------------------------------------------------------------------


def test_packages_that_show_one_counter_count_once(tmp_path: Path) -> None:
    first, second = (domain(tmp_path, f"intel-rapl:{i}", f"package-0-die-{i}", 5_000_000) for i in range(2))
    reading = measured(EnergyMeter(powercap=tmp_path), {first: "9000000", second: "9000000"})
    assert reading.joules == pytest.approx(4.0)
    assert (reading.source, reading.missing) == ("RAPL package-0-die-0", ())


def test_packages_that_start_alike_are_not_mirrors(tmp_path: Path) -> None:
    first, second = (domain(tmp_path, f"intel-rapl:{i}", f"package-{i}", 0) for i in range(2))
    reading = measured(EnergyMeter(powercap=tmp_path), {first: "2000000", second: "3000000"})
    assert reading.joules == pytest.approx(5.0)
    assert reading.source == "RAPL package-0 + RAPL package-1"


def test_a_counter_between_two_readings_of_another_mirrors_it() -> None:
    assert energy_meter._between(1.0, 2.0, 3.0)
    assert not energy_meter._between(1.0, 3.5, 3.0)
    assert energy_meter._between(9.0, 0.5, 1.0)  # it has wrapped around in between
    assert not energy_meter._between(9.0, 5.0, 1.0)
    assert energy_meter._between(None, 5.0, 1.0)


def test_the_board_and_a_second_folder_of_a_name_are_not_added(tmp_path: Path) -> None:
    package = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    memories = [domain(tmp_path, f"intel-rapl:{i}:0", "dram", 1000 * i) for i in range(2)]
    other = domain(tmp_path, "intel-rapl:1", "package-1", 10)
    psys = domain(tmp_path, "intel-rapl:2", "psys", 0)
    again = domain(tmp_path, "intel-rapl:3", "package-0", 77)
    after: dict[Path, str | None] = {package: "1000000", other: "2000010", psys: "9000000", again: "1000077"}
    after |= {memories[0]: "4000000", memories[1]: "8001000"}
    reading = measured(EnergyMeter(powercap=tmp_path), after)
    assert reading.joules == pytest.approx(15.0)
    assert reading.source == "RAPL package-0 + RAPL dram + RAPL package-1 + RAPL dram"


# -- counters that start anew ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "joules", "gap"),
    [
        (200_000.0, 50.0, 50.0, "it was reset"),  # by a wraparound it would be 62 kJ in a second
        (200_000.0, 150_000.0, 0.0, "it fell from 200000 to 150000 J"),
        (262_100.0, 50.0, 93.32885, ""),
    ],
)
def test_a_counter_that_starts_anew_has_not_wrapped(
    before: float, after: float, joules: float, gap: str, tmp_path: Path
) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", round(before * 1e6))
    reading = measured(EnergyMeter(powercap=tmp_path), {counter: str(round(after * 1e6))})
    assert reading.joules == pytest.approx(joules)
    assert len(reading.missing) == bool(gap)
    assert gap in "".join(reading.missing)


def test_a_gpu_whose_driver_was_loaded_again_counts_from_there(tmp_path: Path, gpu: Mock) -> None:
    meter = EnergyMeter("cuda", processor=False)
    meter.start()
    gpu.return_value = 30_000
    reading = meter.stop()
    assert reading.joules == pytest.approx(30.0)
    assert reading.missing == ("NVML Test GPU: it was reset; what it had counted until then is lost",)


def test_a_wraparound_that_nobody_looked_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    now = [0.0]
    monkeypatch.setattr(energy_meter.time, "perf_counter", lambda: now[0])
    meter = EnergyMeter(powercap=tmp_path, sample_s=3600)
    meter.start()
    now[0] = 400.0  # a stopped process: 262 kJ last 262 s at 1 kW
    counter.write_text("5000000")
    reading = meter.stop()
    assert reading.joules == pytest.approx(5.0)
    assert reading.missing == ("RAPL package-0: not read for 400 s, in which it may have wrapped around",)


def test_joules_and_seconds_are_of_one_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that takes 10 W, also while the meter waits for its thread: short measurements count that time or not."""
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    now_s = 100.0

    def end_thread(self: EnergyMeter) -> None:
        nonlocal now_s
        now_s += 0.05

    monkeypatch.setattr("ofa.energy.meter.time", SimpleNamespace(perf_counter=lambda: now_s))
    monkeypatch.setattr("ofa.energy.counters.rapl.RaplCounter.read", lambda self: 10.0 * now_s)
    meter = EnergyMeter(powercap=tmp_path)
    monkeypatch.setattr(EnergyMeter, "_end_thread", end_thread)
    monkeypatch.setattr("ofa.energy.meter.threading.Thread", lambda **_: SimpleNamespace(start=lambda: None))
    meter.start()
    now_s += 0.02
    reading = meter.stop()
    assert reading.joules == pytest.approx(10.0 * reading.seconds)


def test_a_slice_of_a_card_is_not_given_the_energy_of_the_whole(
    tmp_path: Path, gpu: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetMigMode", lambda handle: (1, 1), raising=False)
    meter = EnergyMeter("cuda", powercap=tmp_path)
    meter.start()
    gpu.return_value += 7000
    reading = meter.stop()
    assert reading.joules is None
    assert "Test GPU is divided into MIG slices, and counts the energy of all of them together" in reading.source


def test_each_process_reads_its_own_gpu_and_no_neighbours(
    tmp_path: Path, gpu: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = {f"GPU-{i}": 1000 * i for i in range(8)}
    pynvml = sys.modules["pynvml"]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: counters[handle])
    visible = [5, 2]  # CUDA_VISIBLE_DEVICES renumbers, UUIDs do not
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(uuid=str(visible[index]), name=f"card {visible[index]}"),
    )
    meters = [EnergyMeter(f"cuda:{i}", processor=False, powercap=tmp_path) for i in range(2)]
    for meter in meters:
        meter.start()
    for i, name in enumerate(counters):
        counters[name] += 1000 * 10**i
    readings = [meter.stop() for meter in meters]
    assert [reading.joules for reading in readings] == [pytest.approx(1e5), pytest.approx(1e2)]
    assert [reading.source for reading in readings] == ["NVML card 5", "NVML card 2"]
