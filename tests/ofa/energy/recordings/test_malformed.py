"""Malformed recordings: one line each, with the file, and the line where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ofa import UserError
from ofa.energy.recordings.inference import Question, inference_energy

PPK2 = "Timestamp(ms),Current(uA),D0-D7,D0,D1,D2,D3,D4,D5,D6,D7"
MONSOON = "Time(ms),Main(mA),Main Voltage(V),"
OTII = "Time (s),Main current (A),Main voltage (V)"
SCOPE = "# time,JS220-1.i,JS220-1.v"
WHOLE: dict[str, Any] = {"per_window": 1}
VOLTS: dict[str, Any] = {"per_window": 1, "volts": 3.0}


def rows(*cells: str, count: int = 9, time: str = "{i}") -> list[str]:
    """Lines whose time rises by 1."""
    return [",".join([time.format(i=i), *cells]) for i in range(count)]


def bits(*levels: str) -> list[str]:
    """Lines of a PPK2 with these cells of D0."""
    return [f"{i},5.000,{level}0000000,{level},0,0,0,0,0,0,0" for i, level in enumerate(levels)]


def changed(lines: list[str], number: int, line: str) -> list[str]:
    """The lines with another one in the place of that with a number in the file."""
    return [*lines[: number - 2], line, *lines[number - 1 :]]


STEADY = rows("0.5")
MALFORMED: list[tuple[str, list[str], dict[str, Any], str]] = [
    # the header
    ("", [], WHOLE, ":1: is empty where the names of the columns should be"),
    ("a,b", STEADY, WHOLE, ":1: is 'a,b', the header of no meter that is known; known are Nordic PPK2"),
    ("Timestamp(ms);Current(uA)", ["0;5"], WHOLE, ":1: separates columns by ';'; export it with commas"),
    ("time,power", STEADY, WHOLE, ":1: is 'time,power', the header of no meter"),
    ("time,current,voltage", rows("1", "2"), WHOLE, ":1: is 'time,current,voltage', the header of no meter"),
    ("time_s,power_w,power_w", rows("1", "1"), WHOLE, ":1: column 'power_w' is given twice"),
    ("time_s,power_kw", STEADY, WHOLE, ":1: column 'power_kw' is unknown; columns are time_s,power_w"),
    ("time_s,power_w,note", rows("1", "1"), WHOLE, ":1: column 'note' is unknown"),
    ("time_w,power_w", STEADY, WHOLE, ":1: column 'time_w' is unknown"),
    ("time_s,voltage_v", STEADY, WHOLE, ":1: has neither power, nor current, nor energy"),
    ("power_w,energy_j", STEADY, WHOLE, ":1: has no time; export one column of time"),
    ("time_s,time_ms,power_w", rows("1", "1"), WHOLE, ":1: has several times"),
    ("Current(uA)", ["5", "5", "5"], VOLTS, ":1: has no time"),
    ("Time (h),Main current (A)", STEADY, VOLTS, r":1: column 'Time \(h\)' has unit 'h'; known are s, A, V, W, J"),
    ("Time (s),Main current", STEADY, VOLTS, ":1: column 'Main current' has no unit in brackets"),
    # volts
    ("Timestamp(ms),Current(uA)", STEADY, WHOLE, ":1: has a current and no voltage; give the supply's with --volts"),
    ("Time(ms),Main(mA),", rows("5", "", time="{i}e-3"), WHOLE, ":1: has a current and no voltage"),
    (MONSOON, rows("5", "4", "", time="{i}e-3"), VOLTS, ":1: has the voltage, and --volts 3 is given too; leave it out"),
    ("time_s,power_w", STEADY, VOLTS, ":1: has the power, and --volts 3 is given too"),
    ("time_s,current_a", STEADY, {"per_window": 1, "volts": -3.0}, "volts is -3; must be above 0"),
    ("time_s,current_a", STEADY, {"per_window": 1, "volts": float("nan")}, "volts is nan; must be above 0"),
    ("# time,A.i,B.i", rows("1", "1"), VOLTS, ":1: has the channels A, B; say which one with --channel"),
    (SCOPE, rows("1", "3"), {"per_window": 1, "channel": "B"}, ":1: channel 'B' is not in the file; it has 'JS220-1'"),
    # the lines
    ("time_s,power_w", [], WHOLE, ": has 0 samples; needs at least 3"),
    ("time_s,power_w", STEADY[:2], WHOLE, ": has 2 samples; needs at least 3"),
    ("time_s,power_w", changed(STEADY, 5, "3"), WHOLE, ":5: has 1 values; line 1 has 2 columns"),
    ("time_s,power_w", changed(STEADY, 5, "3,1,1"), WHOLE, ":5: has 3 values; line 1 has 2 columns"),
    ("time_s,power_w", changed(STEADY, 10, "8"), WHOLE, ":10: has 1 values"),  # cut off at the end
    (MONSOON, changed(rows("5", "4", "", time="{i}e-3"), 4, "2e-3,5,4"), WHOLE, ":4: has 2 values; line 1 has 3 columns"),
    ("time_s,power_w", changed(STEADY, 6, "4,0.5.1"), WHOLE, ":6: power_w is '0.5.1'; expected a number"),
    ("time_s,power_w", changed(STEADY, 6, "4,"), WHOLE, ":6: power_w is empty; expected a number"),
    ("time_s,power_w", changed(STEADY, 6, "x,1"), WHOLE, ":6: time_s is 'x'; expected a number"),
    ("time_s,power_w", changed(STEADY, 2, '"0","1"'), WHOLE, ":2: time_s is '\"0\"'; expected a number"),
    (SCOPE, changed(rows("1", "3"), 7, "5,nan,3"), WHOLE, ":7: JS220-1.i is nan: the meter lost samples; record again"),
    ("time_s,power_w", changed(STEADY, 3, "1,inf"), WHOLE, ":3: power_w is inf: the meter lost samples"),
    ("time_s,power_w", [*STEADY, "time_s,power_w"], WHOLE, ":11: time_s is 'time_s'"),  # two files in one
    # time
    ("time_s,power_w", changed(STEADY, 6, "2.5,1"), WHOLE, ":6: time falls: 2.5 s after 3 s; must rise"),
    ("time_s,power_w", ["", *changed(STEADY, 6, "2.5,1")], WHOLE, ":7: time falls"),  # an empty line counts
    ("time_s,power_w", changed(STEADY, 6, "3,1"), WHOLE, ":6: time stands still: 3 s after 3 s"),
    (MONSOON, changed(rows("5", "4", "", time="{i}e-3"), 6, "1e-3,5,4,"), WHOLE, ":6: time falls: 0.001 s after 0.003 s"),
    ("time_s,power_w", [*STEADY, "30,1"], WHOLE, ":11: a gap of 22 s before this sample, where others follow after 1 s"),
    ("time_s,power_w", [*STEADY, "18.1,1"], WHOLE, ":11: a gap of 10.1 s"),
    (MONSOON, rows("5", "4", "", time="{i}e-5"), WHOLE, ":1: the times imply 1e.05 samples a second if they are s"),
    (MONSOON, rows("5", "4", "", time="0"), WHOLE, ":1: the times imply inf samples a second"),
    (MONSOON, rows("5", "4", "", time="{i}"), {"per_window": 1, "time_unit": "h"}, "time unit is 'h'; known are s, ms, us"),
    # energy
    ("time_s,energy_j", [f"{i},{i if i < 5 else i - 2}" for i in range(9)], WHOLE, ":7: energy falls from 4 to 3 J"),
    ("time_s,energy_j", STEADY, WHOLE, ": the windows' mean energy is 0 J; must be above 0"),
    ("time_s,power_w", rows("-1"), WHOLE, ": the windows' mean energy is -8 J; must be above 0"),
    ("time_s,power_w", STEADY, {"per_window": 1, "idle_w": 0.6}, "mean energy is -0.8 J after subtracting 0.6 W"),
    # markers
    ("time_s,power_w", STEADY, {"marker": "D0"}, ":1: digital input 'D0' is not in the file; it has none; export"),
    ("time_s,power_w,d1", rows("1", "0"), {"marker": "D0"}, ":1: digital input 'D0' is not in the file; it has D1"),
    (PPK2, bits(*"0110"), {"marker": "D8", "volts": 3.0}, ":1: digital input 'D8' is not in the file; it has D0, D1"),
    (PPK2, bits(*"01-0"), {"marker": "D0", "volts": 3.0}, ":4: D0 is '-'; expected 0 or 1: no digital input was recorded"),
    (PPK2, bits(*"01X0"), {"marker": "D0", "volts": 3.0}, ":4: D0 is 'X'; expected 0 or 1: it changed within the sample"),
    ("time_s,power_w,d0", rows("1", "0.5"), {"marker": "D0"}, ":2: D0 is '0.5'; expected 0 or 1"),
    (PPK2, bits(*"0000"), {"marker": "D0", "volts": 3.0}, r": D0 marks no whole window \(it changes 0 times\)"),
    (PPK2, bits(*"1100"), {"marker": "D0", "volts": 3.0}, r": D0 marks no whole window \(it changes 1 times\)"),
    (PPK2, bits(*"0011"), {"marker": "D0", "volts": 3.0}, ": D0 marks no whole window"),
    ("time_s,power_w", STEADY, {"marker": "D 0"}, "digital input is 'D 0'; expected a name such as D0"),
    # windows
    ("time_s,power_w", STEADY, {"windows_s": [(5, 9)]}, ": window is 5 to 9 s; must rise, within 0 to 8 s"),
    ("time_s,power_w", STEADY, {"windows_s": [(-1, 5)]}, ": window is -1 to 5 s; must rise"),
    ("time_s,power_w", STEADY, {"windows_s": [(5, 4)]}, ": window is 5 to 4 s; must rise"),
    ("time_s,power_w", STEADY, {"windows_s": [(float("nan"), 4)]}, ": window is nan to 4 s; must rise"),
    ("time_s,power_w", STEADY, {"windows_s": [(4.1, 4.9)]}, ": window 4.1 to 4.9 s has 0 samples; needs at least 2"),
    ("time_s,power_w", STEADY, {"windows_s": [(1, 5), (4, 6)]}, ": windows 1 to 5 and 4 to 6 s overlap"),
    ("time_s,power_w", STEADY, {"per_window": 1, "idle_s": (7, 17)}, ": idle window is 7 to 17 s; must rise"),
]


@pytest.mark.parametrize(("header", "lines", "question", "message"), MALFORMED)
def test_a_malformed_recording_is_one_line(
    tmp_path: Path, header: str, lines: list[str], question: dict[str, Any], message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(UserError, match=message) as caught:
        inference_energy(path, Question(boundary="board", **question))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or ":" not in message.partition("; ")[0]


def test_there_are_thirty_of_them() -> None:
    assert len(MALFORMED) >= 30


def test_files_that_are_none(tmp_path: Path) -> None:
    question = Question(boundary="board", per_window=1)
    with pytest.raises(UserError, match=r"no\.csv: no such file"):
        inference_energy(tmp_path / "no.csv", question)
    (tmp_path / "binary.csv").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.csv: cannot be read"):
        inference_energy(tmp_path / "binary.csv", question)
    binary = tmp_path / "session.ppk2"
    binary.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(UserError, match=r"session\.ppk2: a binary file of nRF Connect's Power Profiler; export"):
        inference_energy(binary, question)
    with pytest.raises(UserError, match="cannot be read"):
        inference_energy(tmp_path, question)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"boundary": " ", "per_window": 1}, "boundary is empty; say what the meter feeds: mains, board"),
        ({}, "no window: give --marker D0"),
        ({"marker": "D0", "windows_s": [(0, 1)]}, "windows and the digital input D0 are given"),
        ({"per_window": 0}, "inferences per window is 0; must be at least 1"),
        ({"per_window": 1, "idle_w": -1.0}, "idle power is -1 W; must be finite and at least 0"),
        ({"per_window": 1, "idle_w": 0.1, "idle_s": (0, 1)}, "an idle power and an idle window are given"),
    ],
)
def test_questions_that_contradict_themselves(question: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Question(**({"boundary": "board"} | question))
