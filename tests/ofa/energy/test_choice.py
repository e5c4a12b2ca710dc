"""Other origins of energy behind the same protocol: zeus, codecarbon (stand-ins here), and estimates, which stay apart."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ofa import UserError
from ofa.energy import estimate
from ofa.energy.choice import EnergyChoice
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import ESTIMATED, METERED, EnergyReading


def measured(choice: EnergyChoice, between: Any = lambda: None, **options: Any) -> EnergyReading:
    meter = choice.meter(**options)
    meter.start()
    between()
    return meter.stop()


# -- estimates -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_an_estimate_is_rated_power_by_utilisation_by_time(clock: list[float]) -> None:
    def work() -> None:
        clock[0] += 100.0

    choice = EnergyChoice.of("estimate", "V100", 0.6)
    reading = measured(choice, work, device="cuda:1")
    assert (reading.joules, reading.seconds, reading.kind) == (pytest.approx(300 * 0.6 * 100), 100.0, ESTIMATED)
    assert reading.source.startswith("estimated: Tesla V100-SXM2-16GB, 300 W (mlco2/impact")
    assert "x utilisation 0.6 as given x time, for each process; nothing else of the machine included" in reading.source
    assert not choice.meter().available


def test_a_power_in_watts_is_an_accelerator_too(clock: list[float]) -> None:
    def work() -> None:
        clock[0] += 2.0

    reading = measured(EnergyChoice.of("estimate", "250", 1.0), work)
    assert reading.joules == 500.0
    assert reading.source.startswith("estimated: accelerator, 250 W (as given) x utilisation 1")


def test_a_processor_is_estimated_once_per_machine() -> None:
    reading = measured(EnergyChoice.of("estimate", "Intel Xeon Gold 6148", 0.5), device="cpu", processor=False)
    assert (reading.joules, reading.source, reading.kind) == (0, "counted by another process", METERED)
    reading = measured(EnergyChoice.of("estimate", "V100", 0.5), device="cuda:1", processor=False)  # a GPU of its own
    assert reading.kind == ESTIMATED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("wall",), "energy is 'wall'; known are counters, zeus, codecarbon, estimate"),
        (("estimate",), "--accelerator is missing"),
        (("estimate", "V100"), "needs --accelerator NAME .* --utilisation is missing"),
        (("estimate", None, 0.5), "--accelerator is missing"),
        (("counters", "V100"), "--accelerator is for an estimate; give --energy estimate too"),
        (("zeus", None, 0.5), "--utilisation is for an estimate"),
        (("estimate", "V1000", 0.5), "accelerator 'V1000' is unknown"),
        (("estimate", "-3", 0.5), "accelerator is -3; as a power in W it must be finite and above 0"),
        (("estimate", "nan", 0.5), "accelerator is nan; as a power"),
        (("estimate", "V100", 0.0), "utilisation is 0; must be above 0 and at most 1"),
        (("estimate", "V100", 60.0), "utilisation is 60; must be above 0 and at most 1"),
        (("estimate", "V100", float("nan")), "utilisation is nan"),
    ],
)
def test_choices_that_do_not_go_together(words: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EnergyChoice.of(*words)


def test_counters_are_the_default() -> None:
    assert isinstance(EnergyChoice().meter("cpu"), EnergyMeter)


# -- zeus ------------------------------------------------------------------------------------------------------------------


class Counted:
    """Counters of zeus in mJ, of two processors and four GPUs."""

    def __init__(self) -> None:
        self.gpu = [1e6, 2e6, 3e6, 4e6]
        self.cpu = [5e5, 6e5]

    def gpus(self) -> Any:
        return SimpleNamespace(get_name=lambda i: "MI300X", get_total_energy_consumption=lambda i: self.gpu[i])

    def cpus(self) -> Any:
        counted = self.cpu

        class Cpus:
            def __len__(self) -> int:
                return len(counted)

            def get_total_energy_consumption(self, index: int) -> Any:
                return SimpleNamespace(cpu_mj=counted[index], dram_mj=None if index else 10.0)

        return Cpus()


def refuse(text: str) -> Any:
    def call(*_: Any) -> Any:
        raise RuntimeError(text)

    return call


def install_zeus(monkeypatch: pytest.MonkeyPatch, **calls: Any) -> None:
    nothing = {name: refuse(f"no {name[4:]} here") for name in ("get_gpus", "get_cpus", "get_soc")}
    monkeypatch.setitem(sys.modules, "zeus", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "zeus.device", SimpleNamespace(**(nothing | calls)))


def test_zeus_counts_the_gpu_of_this_process_and_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    install_zeus(monkeypatch, get_gpus=counted.gpus, get_cpus=counted.cpus)

    def work() -> None:
        for i in range(4):
            counted.gpu[i] += 7000 * (i + 1)
        counted.cpu[0] += 1000
        counted.cpu[1] += 2000

    reading = measured(EnergyChoice.of("zeus"), work, device="cuda:2")
    assert reading.joules == pytest.approx(21 + 1 + 2)
    assert reading.source == "zeus MI300X + zeus package-0 and memory + zeus package-1 and memory"
    assert (reading.kind, reading.missing) == (METERED, ())
    assert measured(EnergyChoice.of("zeus"), work, device="cuda:1", processor=False).joules == pytest.approx(14)
    assert measured(EnergyChoice.of("zeus"), work, device="cpu").joules == pytest.approx(3)


def test_what_zeus_cannot_read_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    install_zeus(monkeypatch, get_gpus=counted.gpus)
    reading = measured(EnergyChoice.of("zeus"), device="cuda")
    assert reading.joules == 0
    assert reading.missing == ("zeus: no cpus here", "zeus: no soc here")
    install_zeus(monkeypatch, get_cpus=counted.cpus)
    reading = measured(EnergyChoice.of("zeus"), device="cuda")
    assert reading.joules is None  # the processor's energy is not the GPU's
    assert reading.source == "no energy counter is readable: zeus: no gpus here"
    assert not EnergyChoice.of("zeus").meter("cuda").available


def test_zeus_reads_a_system_on_a_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = SimpleNamespace(cpu_energy_mj=1.0, gpu_energy_mj=2.0, total_energy_mj=5000.0)
    install_zeus(monkeypatch, get_soc=lambda: SimpleNamespace(get_total_energy_consumption=lambda: jetson))

    def work() -> None:
        jetson.total_energy_mj += 3000.0

    reading = measured(EnergyChoice.of("zeus"), work)
    assert (reading.joules, reading.source) == (pytest.approx(3.0), "zeus system on a chip")
    apple = SimpleNamespace(cpu_total_mj=1000, dram_mj=500, gpu_mj=250, gpu_sram_mj=None, ane_mj=250)
    install_zeus(monkeypatch, get_soc=lambda: SimpleNamespace(get_total_energy_consumption=lambda: apple))

    def more() -> None:
        apple.ane_mj += 2000

    assert measured(EnergyChoice.of("zeus"), more, device="mps").joules == pytest.approx(2.0)
    apple.cpu_total_mj = None
    reading = measured(EnergyChoice.of("zeus"), device="mps")
    assert reading.missing == ("zeus: no cpus here", "zeus: it gives no total of the chip")


# -- codecarbon ------------------------------------------------------------------------------------------------------------


def install_codecarbon(monkeypatch: pytest.MonkeyPatch, mode: str | None, gpus: int = 1) -> dict[str, Any]:
    """A stand-in of codecarbon, in kWh; returns the options with which its tracker was made."""
    made: dict[str, Any] = {}

    class Tracker:
        def __init__(self, **options: Any) -> None:
            made.update(options)
            self._hardware = [SimpleNamespace(), SimpleNamespace(_mode=mode)]

        def start_task(self) -> None:
            made["started"] = made.get("started", 0) + 1

        def stop_task(self) -> Any:
            return SimpleNamespace(cpu_energy=1e-6, gpu_energy=5e-6, ram_energy=2e-6, energy_consumed=8e-6, gpu_count=gpus)

    monkeypatch.setitem(sys.modules, "codecarbon", SimpleNamespace(OfflineEmissionsTracker=Tracker))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"0{index}", name="A card"))
    return made


def test_codecarbon_estimates_a_processor_whose_counter_it_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    install_codecarbon(monkeypatch, "cpu_load")
    choice = EnergyChoice.of("codecarbon")
    reading = measured(choice)
    assert (reading.joules, reading.kind) == (pytest.approx(3 * 3.6), ESTIMATED)
    assert reading.source == "estimated by codecarbon: processor (cpu_load) + memory (from its size)"
    assert not choice.meter().available


def test_codecarbon_does_not_mix_what_it_reads_with_what_it_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    made = install_codecarbon(monkeypatch, "cpu_load")
    reading = measured(EnergyChoice.of("codecarbon"), device="cuda:3")
    assert (reading.joules, reading.kind) == (pytest.approx(5 * 3.6), METERED)
    assert made["gpu_ids"] == ["GPU-03"]  # none of the neighbours'
    estimated = (
        "processor (cpu_load): codecarbon only estimates it",
        "memory (from its size): codecarbon only estimates it",
    )
    assert reading.missing == estimated
    assert reading.source == f"codecarbon GPU; a lower bound, missing: {'; '.join(estimated)}"
    install_codecarbon(monkeypatch, "intel_rapl")
    reading = measured(EnergyChoice.of("codecarbon"))
    assert (reading.joules, reading.kind) == (pytest.approx(3.6), METERED)
    assert reading.missing == estimated[1:]
    assert EnergyChoice.of("codecarbon").meter().available


def test_codecarbon_without_a_gpu_to_read_is_unknown_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    install_codecarbon(monkeypatch, "cpu_load", gpus=0)
    reading = measured(EnergyChoice.of("codecarbon"), device="cuda:0")
    assert (reading.joules, reading.missing) == (None, ("codecarbon reads no GPU",))
    install_codecarbon(monkeypatch, "cpu_load", gpus=8)
    monkeypatch.setattr(torch.cuda, "get_device_properties", refuse("no such card"))  # which of the 8 is ours is unknown
    reading = measured(EnergyChoice.of("codecarbon"), device="cuda:0")
    assert (reading.joules, reading.missing) == (None, ("torch: no such card",))


def test_codecarbon_counts_a_processor_once_per_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    install_codecarbon(monkeypatch, "intel_rapl")
    reading = measured(EnergyChoice.of("codecarbon"), device="cuda:0", processor=False)
    assert (reading.joules, reading.missing) == (pytest.approx(5 * 3.6), ())
    reading = measured(EnergyChoice.of("codecarbon"), device="cpu", processor=False)
    assert (reading.joules, reading.source) == (0, "codecarbon counted by another process")


def test_codecarbon_writes_and_looks_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = install_codecarbon(monkeypatch, "intel_rapl")
    meter = EnergyChoice.of("codecarbon").meter()
    meter.start()
    meter.start()  # the running one is abandoned
    meter.stop()
    assert made["started"] == 2
    assert (made["save_to_file"], made["pue"]) == (False, 1)
    with pytest.raises(RuntimeError, match="without start"):
        meter.stop()


@pytest.mark.parametrize("package", ["zeus", "codecarbon"])
def test_a_missing_package_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (package, f"{package}.device"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"^--energy {package} needs .* pip install 'ofa-energy\[{package}\]'$"):
        EnergyChoice.of(package).meter()
