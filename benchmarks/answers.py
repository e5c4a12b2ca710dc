"""How long answers take, each a process of its own: medians of wall-clock seconds, and of processor seconds.

    python benchmarks/answers.py --run fashion-mnist
    taskset -c 0 python benchmarks/answers.py --run runs/demo --repeats 10 --verified

The fleet is that of `search_fleet.py`: 100,000 devices on ten platforms. Each command runs once before it is timed, and
finds its bytecode then, in a folder of this benchmark's own, as in an installation.

On a busy machine the processor's seconds tell more: on one core they are what the wall clock would show were nothing else
running, without waits for the disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from search_fleet import PLATFORMS, of_run, write_rows

from latency_tables import load_platform

PLATFORM = "edge-int8"
VERIFIED = "query, five candidates measured"
ROWS = 100_000


def commands(run: str, folder: Path, verified: bool) -> dict[str, tuple[list[str], float]]:
    """Arguments of `ofa`, and the seconds that each is to stay below, by name."""
    query = ["query", run, "--platform", PLATFORM, "--latency-ms", "0.5", "--out", str(folder / "net")]
    pareto = ["pareto", run, "--platform", PLATFORM, "--out", str(folder / "front.png")]
    fleet = ["query", run, "--fleet", str(folder / "devices.csv"), "--out", str(folder / "answer.csv")]
    found = {
        "help": (["--help"], 0.5),
        "version": (["--version"], 0.5),
        "doctor": (["doctor"], 3.0),
        "platforms": (["platforms"], 0.3),
        "zoo": (["zoo"], 0.3),
        "query, nothing measured": ([*query, "--no-verify"], 1.0),
        "pareto, nothing measured": ([*pareto, "--no-verify"], 2.0),
        "fleet of 100,000": ([*fleet, "--no-verify"], 4.0),
    }
    if verified:
        found[VERIFIED] = (query, 6.0)
    return found


def make_fleet(run: str, path: Path) -> None:
    """Write the fleet's devices."""
    space, _ = of_run(run)
    write_rows(path, space, {name: load_platform(name).costs(space) for name in PLATFORMS}, ROWS, np.random.default_rng(0))


def once(words: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ofa.cli.main", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"ofa {' '.join(words)}: exit code {process.returncode}")
    return seconds, used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="fashion-mnist", help="run, bundle or name of the zoo (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--verified", action="store_true", help="a query that measures too")
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        run = args.run
        if args.verified and Path(run).is_dir():
            run = str(shutil.copytree(run, Path(folder) / "run"))
        make_fleet(run, Path(folder) / "devices.csv")
        print(f"{'':32}  wall s  processor s  goal")
        for name, (words, goal) in commands(run, Path(folder), args.verified).items():
            times = []
            for _ in range(args.repeats + 1):
                if name == VERIFIED and Path(run).is_dir():  # what has been measured is not measured again
                    (Path(run) / "predictor" / "measurements.jsonl").unlink()
                times.append(once(words))
            wall, used = (statistics.median(column) for column in zip(*times[1:], strict=True))
            print(f"{name:32}  {wall:6.2f}  {used:11.2f}  {goal:4.1f}", flush=True)


if __name__ == "__main__":
    main()
