"""Timing of blocks and whole networks on any runtime. Kits hold a copy: only standard library and numpy, Python 3.9.

Blocks run in chains, each on the output of the one before it as in a network, so that the caches are as warm as in a
network. A whole network is a chain with one item. A visit builds a chain, runs it untimed, then times every block in every
run, and drops the chain, so that memory holds one network at a time. The chains are visited in rounds, in random order, so
that drift of the device affects all alike. A fixed computation, the reference, is timed before and after every run: it tells
how fast the processor is at that moment (clock, temperature, other users of its caches and of its second hardware thread).
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
except ImportError:  # Windows, which does not tell whether a run was interrupted
    resource = None  # type: ignore[assignment]

VISITS = 5
"""Visits of each chain, one per round."""
MOST_VISITS = 15
"""Most visits of a chain: one with too few calm runs is visited again."""
CALM_RATIO = 1.25
"""A run is calm if its reference took at most this many times the 10th percentile of all references: the processor was at
full speed. Other runs are not used, because a slow moment slows different work by different factors."""
WARM_UP = 2
"""Untimed runs at the beginning of a visit."""
LEAST_VISIT_MS = 20.0
"""Least duration of a visit: short chains get more runs than asked for, until they take this long, ..."""
MOST_RUNS = 100
"""... or have this many runs."""
MOST_TRIES = 4
"""Most attempts per wanted run, where the system keeps interrupting them."""
REPEATS = 10
"""Calls in `Runtime.repeat` between two readings of the clock."""
REFERENCE = "reference"
"""Item name of the fixed computation's times in a file of results."""
EMPTY_MODEL = "empty"
"""Model that does nothing: its time is that of the call itself, and is subtracted from the time of every block."""

Call = Callable[[Any], Any]


@dataclass(frozen=True)
class Item:
    """A block or a whole network to time, at one input size."""

    model: str
    """Name of its model; items that differ only in input size share one."""
    channels: int
    """Channels of the input."""
    size: int
    """Side of the input in pixels."""


@dataclass(frozen=True)
class TimingPlan:
    """Items to time, in chains."""

    digest: str
    """Digest of everything that decides the plan; results of another plan are refused."""
    items: dict[str, Item]
    """Every item by its name."""
    chains: tuple[tuple[str, ...], ...]
    """Chains of items, by the items' names."""
    batch: int
    runs: int
    """Least number of runs in each visit of a chain."""
    seed: int
    """Seed of the order of visits."""


class Timed(NamedTuple):
    """Times measured in a visit."""

    times_ms: list[list[float]]
    """Times by call, then by run."""
    reference_ms: list[float]
    """Times of the fixed computation, by run: the mean of those before and after the run."""
    preempted: int
    """Number of runs left out because another process interrupted them."""


class Runtime(Protocol):
    """A runtime: makes callables of items, and times them."""

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
        """Run a call over and over for at least so long and nothing else, so that an energy counter reads its energy."""
        ...


class Log(Protocol):
    """Storage of measured visits (`latency_tables.on_device.results.Results`)."""

    done: dict[tuple[int, int], list[float]]
    """Reference times in ms of the visits that it holds, by chain and round."""

    def append(self, chain: int, turn: int, names: Sequence[str], timed: Timed) -> None:
        """Add a visit."""
        ...


def clocked(calls: Sequence[Call], x: Any, runs: int) -> Timed:
    """`Runtime.time` for runtimes whose calls return when the work is done.

    A run that another process interrupted is repeated. If too few runs are uninterrupted after `MOST_TRIES` times as many
    attempts, all of them count.
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
    """`Runtime.repeat` for runtimes whose calls return when the work is done."""
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
    """Number of times that the system has interrupted this process so far (involuntary context switches)."""
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
    """Visit every chain `VISITS` times, then those with too few calm runs again; visits that the log has are skipped."""
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
    """Progress on one line of stderr: visits done, and seconds left."""

    show: bool = True
    every_s: float = 1.0
    _total: int = field(default=0, init=False)
    _left: int = field(default=0, init=False)
    _steps: int = field(default=0, init=False)
    _begun_s: float = field(default=0.0, init=False)
    _shown_s: float = field(default=0.0, init=False)

    def begin(self, left: int, total: int) -> None:
        """Begin a line for `total` visits, of which `left` are still to be done."""
        self._left, self._total, self._steps = left, total, 0
        self._begun_s = self._shown_s = time.monotonic()
        if self.show and left < total:
            print(f"{total - left} of {total} visits are done already; continuing", file=sys.stderr)

    def step(self) -> None:
        """Count one more visit as done."""
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
