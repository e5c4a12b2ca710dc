"""Timing of blocks and whole networks, whatever the runtime. A kit holds a copy: standard library and numpy, Python 3.9.

Blocks run in chains, each on the output of the one before as in a network, so that caches are as warm as there; a whole
network is a chain of one. A visit builds a chain, runs it untimed, then times every block in every run; afterwards it is
dropped, so memory holds one network at a time. Visits of all chains alternate in random order, round after round, so that a
drift of the device touches all alike. And before and after every run, a fixed computation is timed, the reference: how fast
the processor is at that moment (clock, temperature, what else uses its caches and its other hardware thread).
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

try:
    import resource
except ImportError:  # Windows, where nobody says whether a run was interrupted
    resource = None  # type: ignore[assignment]

VISITS = 5
"""Visits of each chain: rounds in which all are visited once."""
MOST_VISITS = 15
"""A chain with too few calm runs is visited again, but no more often than this."""
CALM_RATIO = 1.25
"""A run is calm when its reference took at most so many times the 10th percentile of all references: the processor was at
its full speed. Others are not used, for a slow moment slows different work by different factors."""
WARM_UP = 2
"""Untimed runs at the beginning of a visit."""
LEAST_VISIT_MS = 20.0
"""Visits of short chains have more runs than asked for: as many as take this long, ..."""
MOST_RUNS = 100
"""... but no more than these."""
MOST_TRIES = 4
"""Runs tried for each one wanted, where the system keeps taking the processor away."""
REPEATS = 10
"""Calls of `Runtime.repeat` between two looks at the clock."""
REFERENCE = "reference"
"""The name under which the times of the fixed computation are kept."""
EMPTY_MODEL = "empty"
"""The model that does nothing: what a call costs by itself, which is subtracted from the time of every block."""

Call = Callable[[Any], Any]


@dataclass(frozen=True)
class Item:
    """A block or a whole network that is timed, on images of one size."""

    model: str
    """Items that differ in size alone share one."""
    channels: int
    """Channels of the input."""
    size: int
    """Side of the input in pixels."""


@dataclass(frozen=True)
class TimingPlan:
    """Items to time, in chains."""

    digest: str
    """Digest of everything that the plan follows from; results of another plan are refused."""
    items: dict[str, Item]
    """Every item by its name."""
    chains: tuple[tuple[str, ...], ...]
    """Names of items."""
    batch: int
    runs: int
    """Runs of each chain in each visit, at least."""
    seed: int
    """Seed of the order of visits."""


class Timed(NamedTuple):
    """Times of a visit."""

    times_ms: list[list[float]]
    """Times by call, then by run."""
    reference_ms: list[float]
    """Times of the fixed computation, by run: the mean of before and after."""
    preempted: int
    """Number of runs left out because another process had the processor in the middle of them."""


class Runtime(Protocol):
    """A runtime: it makes an item into something to call, and times calls."""

    def open(self, item: Item) -> Call:
        """A function from feature maps to feature maps."""
        ...

    def feed(self, item: Item, batch: int) -> Any:
        """Random feature maps for an item."""
        ...

    def time(self, calls: Sequence[Call], x: Any, runs: int) -> Timed:
        """Run the calls one after the other, several times."""
        ...

    def repeat(self, call: Call, x: Any, seconds: float) -> None:
        """Run a call over and over for at least so long, and nothing else: what an energy counter sees is its work."""
        ...


class Log(Protocol):
    """Keeps what was measured (`latency_tables.on_device.results.Results`)."""

    done: dict[tuple[int, int], list[float]]
    """Chain and round of the visits that it has, and their references in ms."""

    def append(self, chain: int, turn: int, names: Sequence[str], timed: Timed) -> None:
        """Add a visit."""
        ...


def clocked(calls: Sequence[Call], x: Any, runs: int) -> Timed:
    """`Runtime.time` where a call returns when its work is done.

    A run in the middle of which the system gave the processor to another process is repeated. Where that happens to most
    runs even so, there is nothing better: all of them count.
    """
    clock = time.perf_counter_ns
    calm: list[list[float]] = []
    disturbed: list[list[float]] = []
    while len(calm) < runs and len(calm) + len(disturbed) < MOST_TRIES * runs:
        before = _preemptions()
        reference_ms = _reference()
        y, times_ms = x, []
        for call in calls:
            start = clock()
            y = call(y)
            times_ms.append((clock() - start) * 1e-6)
        times_ms.append((reference_ms + _reference()) / 2)
        (calm if _preemptions() == before else disturbed).append(times_ms)
    enough = len(calm) == runs
    *by_call, by_reference = zip(*(calm if enough else calm + disturbed))  # noqa: B905
    return Timed([list(times) for times in by_call], list(by_reference), len(disturbed) if enough else 0)


def repeated(call: Call, x: Any, seconds: float) -> None:
    """`Runtime.repeat` where a call returns when its work is done."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for _ in range(REPEATS):
            call(x)


_INPUT = np.linspace(-1, 1, 16384, dtype=np.float32)
_OUTPUT = np.empty_like(_INPUT)


def _reference() -> float:
    """Time a fixed computation, in ms: the exponentials of 64 kB of numbers, written to another 64 kB, on one thread."""
    start = time.perf_counter_ns()
    for _ in range(4):
        np.exp(_INPUT, out=_OUTPUT)
    return (time.perf_counter_ns() - start) * 1e-6


def _preemptions() -> int:
    """Number of times that this process had to give up a processor."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def visit(plan: TimingPlan, runtime: Runtime, chain: Sequence[str]) -> Timed:
    """Times of the items of a chain."""
    items = [plan.items[name] for name in chain]
    calls = [runtime.open(item) for item in items]
    x = runtime.feed(items[0], plan.batch)
    warm_ms = sum(times[-1] for times in runtime.time(calls, x, WARM_UP).times_ms)
    runs = max(plan.runs, min(MOST_RUNS, math.ceil(LEAST_VISIT_MS / max(warm_ms, 1e-3))))
    return runtime.time(calls, x, runs)


def run(plan: TimingPlan, runtime: Runtime, log: Log, progress: ProgressLine) -> None:
    """Visit every chain `VISITS` times, then those with too few calm runs again; but for the visits that the log has."""
    rounds = [(turn, list(range(len(plan.chains)))) for turn in range(VISITS)]
    _visit_all(plan, runtime, log, progress, rounds)
    for turn in range(VISITS, MOST_VISITS):
        again = _restless(plan, log)
        if not again:
            return
        _visit_all(plan, runtime, log, progress, [(turn, again)])


def calm_limit(references_ms: Sequence[float]) -> float:
    """The longest reference of a calm run, in ms."""
    return CALM_RATIO * float(np.quantile(references_ms, 0.1))


def _restless(plan: TimingPlan, log: Log) -> list[int]:
    """Chains with fewer calm runs than were asked for."""
    limit_ms = calm_limit([ms for references in log.done.values() for ms in references])
    calm = dict.fromkeys(range(len(plan.chains)), 0)
    for (chain, _), references_ms in log.done.items():
        calm[chain] += sum(ms <= limit_ms for ms in references_ms)
    return [chain for chain, count in calm.items() if count < VISITS * plan.runs]


def _visit_all(
    plan: TimingPlan, runtime: Runtime, log: Log, progress: ProgressLine, rounds: list[tuple[int, list[int]]]
) -> None:
    todo = []
    for turn, chains in rounds:
        order = list(chains)
        random.Random(f"{plan.seed} {turn}").shuffle(order)
        todo += [(chain, turn) for chain in order if (chain, turn) not in log.done]
    progress.begin(len(todo), sum(len(chains) for _, chains in rounds))
    for chain, turn in todo:
        log.append(chain, turn, plan.chains[chain], visit(plan, runtime, plan.chains[chain]))
        progress.step()


@dataclass
class ProgressLine:
    """A line on stderr: what is done, and how long the rest will take."""

    show: bool = True
    every_s: float = 1.0
    _total: int = field(default=0, init=False)
    _left: int = field(default=0, init=False)
    _steps: int = field(default=0, init=False)
    _begun_s: float = field(default=0.0, init=False)
    _shown_s: float = field(default=0.0, init=False)

    def begin(self, left: int, total: int) -> None:
        """Begin a line: of `total` visits, `left` are to be done now."""
        self._left, self._total, self._steps = left, total, 0
        self._begun_s = self._shown_s = time.monotonic()
        if self.show and left < total:
            print(f"{total - left} of {total} visits are there already; going on", file=sys.stderr)

    def step(self) -> None:
        """One is done."""
        self._steps += 1
        now_s = time.monotonic()
        last = self._steps == self._left
        if not self.show or (now_s - self._shown_s < self.every_s and not last):
            return
        self._shown_s = now_s
        rest_s = (now_s - self._begun_s) / self._steps * (self._left - self._steps)
        done = self._total - self._left + self._steps
        filled = 30 * done // self._total
        bar = "#" * filled + "." * (30 - filled)
        print(f"\r[{bar}] {done}/{self._total} visits, {rest_s:.0f} s left   ", end="", file=sys.stderr, flush=True)
        if last:
            print(file=sys.stderr)
