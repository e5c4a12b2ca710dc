"""Measure latency and memory of an exported network on this machine, one image at a time on one thread."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.on_device.timing import calm_limit, clocked
from ofa.deploy.formats.catalogue import find_format
from ofa.deploy.formats.format import Images, Runner
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.errors import UserError

WARM_UP = 20
SECONDS = 2.0
MOST_RUNS = 3000
LEAST_RUNS = 50


@dataclass(frozen=True)
class DeployedTiming:
    """Latency of a call with one image, and the memory that the runtime takes."""

    median_ms: float
    p90_ms: float
    runs: int
    """Number of calm runs; the quantiles are over these alone."""
    calm: float
    """Fraction of the runs that were calm: a reference computation next to them took no longer than usual."""
    memory_mb: float | None
    """Growth of the process from before the file was opened to its peak, in MB; None where the system does not report it."""


def time_deployed(format_name: str, file: Path, image: ImageInput) -> DeployedTiming:
    """Time a file in a process of its own, so that threads and memory of other runtimes do not interfere.

    Raises:
        UserError: the runtime could not run the file; the message is the last line of its output.
    """
    command = [sys.executable, "-m", __name__, format_name, str(file), json.dumps(asdict(image))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise UserError(f"format {format_name}: {said[-1][:200]}")
    return DeployedTiming(**json.loads(done.stdout.splitlines()[-1]))


def timed(make: Callable[[], Runner], pixels: Images) -> DeployedTiming:
    """Time repeated calls of a network with the same images, uint8[n, side, side, channels], in this process.

    The memory that `make` takes, which opens the network, is counted.
    """
    before = _peak_mb()
    runner = make()
    warm = clocked([runner], pixels, WARM_UP)
    usual_ms = float(np.median(warm.times_ms[0]))
    runs = int(np.clip(SECONDS * 1000 / max(usual_ms, 1e-3), LEAST_RUNS, MOST_RUNS))
    found = clocked([runner], pixels, runs)
    after = _peak_mb()
    times, references = np.array(found.times_ms[0]), np.array(found.reference_ms)
    calm = references <= calm_limit(references.tolist())
    return DeployedTiming(
        median_ms=float(np.median(times[calm])),
        p90_ms=float(np.quantile(times[calm], 0.9)),
        runs=int(calm.sum()),
        calm=float(calm.mean()),
        memory_mb=None if before is None or after is None else after - before,
    )


def _peak_mb() -> float | None:
    """Peak resident memory of this program in MB, or None; read on Linux only: others include the parent's peak."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("VmHWM:")), None)


def _main(format_name: str, file: str, image: str) -> None:
    given: dict[str, Any] = json.loads(image)
    made = ImageInput(given["side"], tuple(given["mean"]), tuple(given["std"]), given["as_uint8"])
    pixels = np.random.default_rng(0).integers(0, 256, (1, made.side, made.side, len(made.mean)), dtype=np.uint8)

    def runner() -> Runner:
        run = find_format(format_name).runner(Path(file), made)
        assert run is not None, f"format {format_name} does not run here"
        return run

    timing = timed(runner, pixels)
    print(json.dumps(asdict(timing)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
