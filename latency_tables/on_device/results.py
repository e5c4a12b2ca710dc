"""Times as they are measured: a growing CSV file that survives a kill. Kits hold a copy (standard library, Python 3.9).

The first line holds the settings as JSON. A visit is a row for the reference computation and one per item, with the times of
all runs; where an energy counter was read, a row with the joules and seconds of the visit comes before them. A visit of
which rows are missing is measured again. Every line ends with its digest, so that a changed byte is seen; files of 0.1.0
have none.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latency_tables.on_device.timing import MOST_VISITS, REFERENCE, Timed, TimingPlan

COLUMNS = "chain,visit,item,preempted,times_ms"
DIGEST = "digest"
"""The last column, and the last of the settings."""
DAMAGED = "damaged: not what was written (another digest); delete the file and measure again"
LONGEST_LINE = 2**20
"""Characters read of the first line, at most."""
ENERGY = "energy: "
"""Prefix of the item in a row of energy, before the counters' names; such a row holds joules and seconds, not times."""


class Row(NamedTuple):
    """A line of the file."""

    chain: int
    visit: int
    item: str
    preempted: int
    """Runs left out because they were interrupted."""
    times_ms: list[float]
    """Times of the other runs; in a row of energy, the joules and the seconds of the visit."""

    @property
    def of_visit(self) -> tuple[int, int]:
        """Chain and number of the visit."""
        return self.chain, self.visit


class VisitEnergy(NamedTuple):
    """Energy read since the previous visit."""

    joules: float
    seconds: float
    counters: str
    """Names of the energy counters read."""


class Results:
    """A file of results to which visits are added."""

    def __init__(self, path: Path, plan: TimingPlan, settings: dict[str, Any]) -> None:
        """Begin a file, or continue one; `ValueError` where it was begun with other settings or is damaged."""
        self.done: dict[tuple[int, int], list[float]] = {}
        self.vouched = False
        """True where lines have a digest; a file of 0.1.0 goes on without."""
        end = 0
        if path.exists():
            given, rows, end = read(path, plan)
            self.vouched = end > 0 and vouches(path)
            for key in sorted({*given, *settings}) if end else ():
                if given.get(key) != settings.get(key):
                    raise ValueError(
                        f"{path}:1: {key} is {given.get(key)!r}, now {settings.get(key)!r}: begun with other settings; "
                        "continue with those, or delete the file"
                    )
            self.done = {row.of_visit: row.times_ms for row in rows if row.item == REFERENCE}
            os.truncate(path, end)  # drops the rows of a visit that a kill cut short
        self._path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  (open as long as it measures)
        if not end:
            first = {**settings, "plan": plan.digest}
            self.vouched = True
            self._write(f"# {json.dumps({**first, DIGEST: _digest(first)})}\n{COLUMNS},{DIGEST}\n")

    def append(self, chain: int, turn: int, names: Sequence[str], timed: Timed, energy: VisitEnergy | None = None) -> None:
        """Add a visit, with its energy where that was read. It is flushed on return, so that a kill loses nothing."""
        rows = []
        if energy is not None:
            counters = energy.counters.replace(",", ";")
            rows.append(f"{chain},{turn},{ENERGY}{counters},0,{energy.joules:.6g} {energy.seconds:.6g}")
        for name, times in zip((REFERENCE, *names), (timed.reference_ms, *timed.times_ms)):  # noqa: B905
            rows.append(f"{chain},{turn},{name},{timed.preempted},{' '.join(f'{value:.6g}' for value in times)}")
        self._write("".join(f"{row},{_digest(row)}\n" if self.vouched else f"{row}\n" for row in rows))
        self.done[chain, turn] = timed.reference_ms

    def close(self) -> None:
        """Write to the disk and close."""
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _write(self, text: str) -> None:
        """Add lines; raises `ValueError` where there is no room for them, with the file as it was."""
        content = memoryview(text.encode("utf-8"))
        before = os.fstat(self._file.fileno()).st_size
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            os.ftruncate(self._file.fileno(), before)
            reason = f"cannot be written: {error.strerror}; free some space: the same command goes on with what is there"
            raise ValueError(f"{self._path}: {reason}") from None


def settings_of(path: Path) -> dict[str, Any]:
    """The settings in the first line; `ValueError` where it holds no settings, or others than were written."""
    line, columns = _first_lines(path)
    try:
        settings = json.loads(line[2:]) if line.startswith("# ") else None
    except (ValueError, RecursionError):  # no JSON, a number of 5,000 digits, nested 3,000 deep
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{path}:1: not the results of a profile: the first line must be '# ' and the settings as JSON")
    digest = settings.pop(DIGEST, None)
    if (digest is not None or columns == f"{COLUMNS},{DIGEST}") and digest != _digest(settings):
        raise ValueError(f"{path}:1: {DAMAGED}")
    return settings


def vouches(path: Path) -> bool:
    """Tell whether the lines of a file of results have digests."""
    return _first_lines(path)[1] == f"{COLUMNS},{DIGEST}"


def _first_lines(path: Path) -> tuple[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(LONGEST_LINE), file.readline(LONGEST_LINE).strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None


def _digest(content: Any) -> str:
    """Digest of a line, or of settings as canonical JSON."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def read(path: Path, plan: TimingPlan) -> tuple[dict[str, Any], list[Row], int]:
    """Settings, the rows of complete visits, and the number of bytes that these take in the file.

    Raises:
        ValueError: a row is of another plan, malformed, negative, NaN or given twice; names its file, line and column.
    """
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].decode("utf-8", "replace").splitlines(keepends=True)
    if len(lines) < 2:
        return {}, [], 0
    settings = settings_of(path)
    if settings.pop("plan", None) != plan.digest:
        raise ValueError(f"{path}:1: plan is not {plan.digest}: these are results of another kit, space or version")
    vouched = lines[1].strip() == f"{COLUMNS},{DIGEST}"
    if not vouched and lines[1].strip() != COLUMNS:
        raise ValueError(f"{path}:2: columns are {lines[1].strip()[:200]!r}; expected '{COLUMNS},{DIGEST}'")
    rows: list[Row] = []
    visit: list[Row] = []
    done: set[tuple[int, int]] = set()
    end = place = len((lines[0] + lines[1]).encode())
    for number, line in enumerate(lines[2:], 3):
        text = line.rstrip("\r\n")
        if vouched:
            text, _, digest = text.rpartition(",")
            if digest != _digest(text):
                raise ValueError(f"{path}:{number}: {DAMAGED}")
        row = _row(text, f"{path}:{number}", plan)
        place += len(line.encode())
        if row.of_visit in done:
            raise ValueError(f"{path}:{number}: visit {row.visit} of chain {row.chain} is given twice")
        if visit and visit[0].of_visit != row.of_visit:
            raise ValueError(f"{path}:{number}: item is {row.item!r}, out of order; lines are missing before it")
        if row.item.startswith(ENERGY) and not visit:
            visit = [row]
            continue
        timed = visit[1:] if visit and visit[0].item.startswith(ENERGY) else visit
        names = (REFERENCE, *plan.chains[row.chain])
        if row.item != names[len(timed)]:
            raise ValueError(f"{path}:{number}: item is {row.item!r}, out of order; lines are missing before it")
        runs = len(timed[0].times_ms) if timed else len(row.times_ms)
        if len(row.times_ms) != runs:
            raise ValueError(f"{path}:{number}: times_ms of {row.item} are {len(row.times_ms)}; this visit has {runs} runs")
        visit = [*visit, row]
        if len(timed) + 1 == len(names):
            done.add(row.of_visit)
            rows += visit
            visit, end = [], place
    return settings, rows, end


def _row(line: str, place: str, plan: TimingPlan) -> Row:
    parts = line.strip().split(",")
    if len(parts) != 5:
        raise ValueError(f"{place}: {len(parts)} values; expected {COLUMNS}")
    numbers = []
    limits = {"chain": len(plan.chains), "visit": MOST_VISITS, "preempted": 10**6}
    for (name, count), text in zip(limits.items(), (parts[0], parts[1], parts[3])):  # noqa: B905
        if not text.isdigit() or int(text) >= count:
            raise ValueError(f"{place}: {name} is {text!r}; must be 0 to {count - 1}")
        numbers.append(int(text))
    item = parts[2]
    if item.startswith(ENERGY):
        return Row(numbers[0], numbers[1], item, numbers[2], _energy(parts[4], place))
    if item not in plan.items and item != REFERENCE:
        raise ValueError(f"{place}: item is {item!r}, which the plan does not have")
    times_ms = [_time(text, f"{place}: times_ms of {item}") for text in parts[4].split()]
    if not times_ms:
        raise ValueError(f"{place}: times_ms of {item} is empty")
    return Row(numbers[0], numbers[1], item, numbers[2], times_ms)


def _time(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{place}: {text!r} is not a number") from None
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{place}: {text} is not finite and above 0")
    return value


def _energy(text: str, place: str) -> list[float]:
    """Joules, at least 0 (a coarse counter does not move in every visit), and seconds."""
    try:
        joules, seconds = map(float, text.split())
    except ValueError:
        raise ValueError(f"{place}: energy is {text!r}; expected joules and seconds") from None
    if not (math.isfinite(joules) and joules >= 0 and math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{place}: energy is {text!r}; must be finite, joules at least 0 and seconds above 0")
    return [joules, seconds]
