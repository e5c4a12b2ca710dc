"""Recordings of meters, as the makers' programs write them: joules per inference of known signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa import UserError
from ofa.energy.recordings.inference import InferenceEnergy, Question, inference_energy
from ofa.energy.recordings.recording import read_recording

STEP_S = 1e-3
IDLE_W, BUSY_W = 0.002, 0.05
STARTS, LENGTH = (100, 300, 500, 700), 80
"""First samples of the inferences, and their samples."""
SECONDS = LENGTH * STEP_S
JOULES = BUSY_W * SECONDS


def signal(count: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time in s, power in W and level of the marker: idle, with four inferences of 80 ms at 50 mW.

    The power falls one sample after the marker, so that the trapezoids over a window are exact.
    """
    time, watts, level = np.arange(count) * STEP_S, np.full(count, IDLE_W), np.zeros(count, dtype=int)
    for start in STARTS:
        watts[start : start + LENGTH + 1] = BUSY_W
        level[start : start + LENGTH] = 1
    return time, watts, level


def ppk2(volts: float = 3.0, columns: str = "both") -> str:
    """Like nRF Connect's export: ms and uA to three places, eight inputs in one cell, then one each."""
    header = "Timestamp(ms),Current(uA)" + {"both": ",D0-D7,D0,D1,D2,D3,D4,D5,D6,D7", "bits": ",D0-D7", "none": ""}[columns]
    lines = [header]
    for time, watts, level in zip(*signal(), strict=True):
        bits = f"0{level}000000"
        cells = {"both": f",{bits},{','.join(bits)}", "bits": f",{bits}", "none": ""}[columns]
        lines.append(f"{1000 * time:g},{watts / volts * 1e6:.3f}{cells}")
    return "\n".join(lines) + "\n"


def joulescope(traces: str = "ivp", devices: tuple[str, ...] = ("JS220-001234",)) -> str:
    """Like numpy.savetxt in Joulescope's program."""
    time, watts, level = signal()
    values = {"i": watts / 3.3, "v": np.full_like(watts, 3.3), "p": watts, "0": level}
    header = "# time," + ",".join(f"{device}.{trace}" for device in devices for trace in traces)
    columns = [time, *(values[trace] for _ in devices for trace in traces)]
    rows = np.stack(columns, axis=1)
    return header + "\n" + "\n".join(",".join(f"{value:.18e}" for value in row) for row in rows) + "\n"


def monsoon(per_packet: int = 3, factor: float = 1.0, start_s: float = 0.0) -> str:
    """Like PyMonsoon: 5 kHz, the time of its packet on each sample, a comma at the end, the header's ms wrong."""
    lines = ["Time(ms),Main(mA),Main Voltage(V),"]
    for i in range(6000):
        time = start_s + (i // per_packet) * per_packet * 2e-4
        busy = 0.3 <= (i // per_packet) * per_packet * 2e-4 < 0.9
        lines.append(f"{time * factor!r},{(BUSY_W if busy else IDLE_W) / 4.0 * 1e3!r},{4.0!r},")
    return "\n".join(lines) + "\n"


def generic(header: str = "time_s,power_w,d0") -> str:
    time, watts, level = signal()
    counted = np.concatenate([[0], np.cumsum(STEP_S * (watts[1:] + watts[:-1]) / 2)])
    values = {"time_s": time, "time_ms": 1e3 * time, "power_w": watts, "power_uw": 1e6 * watts, "d0": level, "marker": level}
    values |= {"current_a": watts / 1.8, "current_ma": watts / 1.8e-3, "voltage_v": np.full_like(watts, 1.8)}
    values |= {"energy_j": 7 + counted, "energy_mj": 7e3 + 1e3 * counted}
    rows = zip(*(values[name] for name in header.split(",")), strict=True)
    return header + "\n" + "\n".join(",".join(repr(float(value)) for value in row) for row in rows) + "\n"


def otii() -> str:
    lines = ["Time (s),Main current (A),Main voltage (V),GPI1"]
    lines += [f"{time:.6f},{watts / 3:.9f},3.0,{level}" for time, watts, level in zip(*signal(), strict=True)]
    return "\n".join(lines) + "\n"


def measured(tmp_path: Path, text: str, **question: Any) -> InferenceEnergy:
    path = tmp_path / "recording.csv"
    path.write_text(text)
    return inference_energy(path, Question(**({"boundary": "module"} | question)))


@pytest.mark.parametrize(
    ("make", "options", "meter"),
    [
        (ppk2, {"marker": "D1", "volts": 3.0}, "Nordic PPK2"),
        (lambda: ppk2(columns="bits"), {"marker": "D1", "volts": 3.0}, "Nordic PPK2"),
        (lambda: ppk2(columns="none"), {"windows_s": [(0.1, 0.18), (0.3, 0.38)], "volts": 3.0}, "Nordic PPK2"),
        (lambda: joulescope("ivp0"), {"marker": "D0"}, "Joulescope"),
        (lambda: joulescope("iv"), {"windows_s": [(0.5, 0.58)]}, "Joulescope"),
        (lambda: joulescope("i"), {"windows_s": [(0.5, 0.58)], "volts": 3.3}, "Joulescope"),
        (otii, {"marker": "GPI1"}, "Otii"),
        (generic, {"marker": "d0"}, "CSV"),
        (lambda: generic("time_ms,power_uw,marker"), {"marker": "marker"}, "CSV"),
        (lambda: generic("time_s,current_a,voltage_v,d0"), {"marker": "D0"}, "CSV"),
        (lambda: generic("time_s,current_ma,d0"), {"marker": "D0", "volts": 1.8}, "CSV"),
        (lambda: generic("time_s,energy_j,d0"), {"marker": "D0"}, "CSV"),
        (lambda: generic("time_s,energy_mj,d0"), {"marker": "D0"}, "CSV"),
        (lambda: generic().replace("\n", "\r\n"), {"marker": "D0"}, "CSV"),
        (lambda: "\N{ZERO WIDTH NO-BREAK SPACE}" + generic() + "\n\n", {"marker": "D0"}, "CSV"),
    ],
)
def test_a_known_signal(tmp_path: Path, make: Callable[[], str], options: dict[str, Any], meter: str) -> None:
    found = measured(tmp_path, make(), **options)
    assert found.joules == pytest.approx(JOULES, rel=2e-4)
    assert found.seconds == pytest.approx(SECONDS)
    assert found.watts == pytest.approx(BUSY_W, rel=2e-4)
    assert found.meter.startswith(meter)
    assert (found.boundary, found.idle_w) == ("module", None)
    assert "boundary: module" in found.source
    assert "idle power included" in found.source
    assert found.source.startswith(f"metered: {meter}")


def test_the_older_joulescope_tool(tmp_path: Path) -> None:
    time, watts, _ = signal()
    rows = [f"{t},{w / 3},3,{w},0,0" for t, w in zip(time, watts, strict=True)]
    text = "time,current,voltage,power,charge,energy\n" + "\n".join(rows)
    assert measured(tmp_path, text, windows_s=[(0.1, 0.18)]).joules == pytest.approx(JOULES)


@pytest.mark.parametrize("start_s", [0.0, 1.7e9])
def test_a_monsoon_says_ms_and_means_s(tmp_path: Path, start_s: float) -> None:
    found = measured(tmp_path, monsoon(start_s=start_s), windows_s=[(0.3, 0.88)])
    assert found.joules == pytest.approx(BUSY_W * 0.58, rel=2e-3)
    assert "time in s, which 5002 samples a second tell, though the header says ms" in found.source


def test_a_monsoon_whose_times_could_be_either_must_be_told(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"recording.csv:1: the times imply 5.002 samples a second if they are s, 5002 if ms"
    ):
        measured(tmp_path, monsoon(factor=1000.0), windows_s=[(0.3, 0.88)])
    found = measured(tmp_path, monsoon(factor=1000.0), windows_s=[(0.3, 0.88)], time_unit="ms")
    assert found.joules == pytest.approx(BUSY_W * 0.58, rel=2e-3)
    assert "time in ms as given" in found.source


def test_samples_of_one_packet_count_with_their_mean(tmp_path: Path) -> None:
    """Else only the samples at a packet's ends would count: here a pulse on the middle one, 1 W for a third of the time."""
    lines = ["Time(ms),Main(mA),Main Voltage(V),"]
    lines += [f"{i // 3 * 6e-4!r},{1000.0 if i % 3 == 1 else 0.0},1.0," for i in range(3000)]
    found = measured(tmp_path, "\n".join(lines), windows_s=[(0.06, 0.54)])
    assert found.watts == pytest.approx(1 / 3)


def test_idle_power_is_subtracted_only_when_told(tmp_path: Path) -> None:
    given = measured(tmp_path, generic(), marker="D0", idle_w=0.01)
    assert given.joules == pytest.approx((BUSY_W - 0.01) * SECONDS)
    assert "idle power of 0.01 W subtracted, as given" in given.source
    assert given.boundary == "module minus idle"
    battery = measured(tmp_path, generic(), marker="D0", idle_w=0.01, boundary="battery minus idle")
    assert battery.boundary == "battery minus idle"
    found = measured(tmp_path, generic(), marker="D0", idle_s=(0.85, 0.95))
    assert found.idle_w == pytest.approx(IDLE_W)
    assert found.joules == pytest.approx((BUSY_W - IDLE_W) * SECONDS)
    assert "idle power of 0.002 W (from 0.85 to 0.95 s) subtracted" in found.source


def test_several_inferences_in_a_window(tmp_path: Path) -> None:
    found = measured(tmp_path, generic(), marker="D0", per_window=10)
    assert found.joules == pytest.approx(JOULES / 10)
    assert found.seconds == pytest.approx(SECONDS / 10)
    assert (found.windows, found.per_window) == (4, 10)
    whole = measured(tmp_path, generic(), per_window=4)
    assert whole.windows == 1
    assert whole.joules == pytest.approx((4 * 0.081 * BUSY_W + (0.999 - 4 * 0.081) * IDLE_W) / 4, rel=1e-3)
    assert whole.standard_error_j is None


def test_windows_that_the_recording_cuts_off_are_left_out_and_named(tmp_path: Path) -> None:
    lines = generic().splitlines()
    found = measured(tmp_path, "\n".join([lines[0], *lines[151:751]]), marker="D0")
    assert found.windows == 2
    assert found.joules == pytest.approx(JOULES)
    assert "2 windows in which D0 is high, 2 more left out, as the recording begins or ends in it" in found.source


def test_a_marker_that_is_low_during_inference(tmp_path: Path) -> None:
    lines = [f"{line[:-3]}{1 - int(line[-3])}" for line in generic().splitlines()[1:]]
    found = measured(tmp_path, "\n".join(["time_s,power_w,d0", *lines]), marker="D0=0")
    assert found.joules == pytest.approx(JOULES)
    assert "D0 is low" in found.source


def test_windows_between_samples_are_interpolated(tmp_path: Path) -> None:
    text = "time_s,power_w\n" + "\n".join(f"{i / 10},{i}" for i in range(11))  # power 10 t W
    found = measured(tmp_path, text, windows_s=[(0.25, 0.77)])
    assert found.joules == pytest.approx(5 * (0.77**2 - 0.25**2))


def test_the_spread_of_the_windows(tmp_path: Path) -> None:
    text = "time_s,energy_j\n" + "\n".join(f"{i},{i**2}" for i in range(12))
    found = measured(tmp_path, text, windows_s=[(i, i + 1) for i in range(11)])
    each = np.arange(11) * 2 + 1
    assert found.joules == pytest.approx(each.mean())
    assert found.standard_error_j == pytest.approx(each.std(ddof=1) / 11**0.5)
    assert (found.low_j, found.high_j) == pytest.approx(tuple(np.percentile(each, [10, 90])))


def test_one_of_several_channels(tmp_path: Path) -> None:
    lines = ["Time(ms),Main(mA),USB(mA),Main Voltage(V),USB Voltage(V),"]
    lines += [f"{i * 2e-4!r},10.0,20.0,4.0,5.0," for i in range(100)]
    text = "\n".join(lines)
    with pytest.raises(UserError, match=r":1: has the channels Main, USB; say which one with --channel"):
        measured(tmp_path, text, windows_s=[(0.001, 0.011)])
    for channel, watts in (("main", 0.04), ("USB", 0.1)):
        assert measured(tmp_path, text, windows_s=[(0.001, 0.011)], channel=channel).watts == pytest.approx(watts)


def test_a_long_recording_takes_seconds(tmp_path: Path) -> None:
    """Ten seconds of a PPK2 at 20 kHz; a reader that walks over the cells in Python would take ten times as long."""
    count = 200_000
    path = tmp_path / "long.csv"
    path.write_text("Timestamp(ms),Current(uA)\n" + "\n".join(f"{i * 0.05:g},{100 + i % 7}.000" for i in range(count)))
    recording = read_recording(path, volts=3.0)
    assert recording.rate_hz == pytest.approx(20_000)
    assert len(recording.seconds) == count
