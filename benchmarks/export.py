"""Export subnets of several runs in every installed format; a line per format: differences, int8 drops, sizes, seconds.

Each file is checked in its own runtime, as `ofa export` always does; a format that cannot express a subnet, or is beyond its
tolerance, counts as refused, with its message. The large formats need an environment of their own (`make test-export` makes
one). Runs are names of the zoo, bundles or run directories. Prints a Markdown table; `--out` keeps every export as a line of
JSON.

    python benchmarks/export.py fashion-mnist runs/cifar10 runs/resnet --subnets 4 --out exports.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ofa.cli.main import main as ofa
from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages
from ofa.runs.run_files import RunFiles

Row = dict[str, Any]


def called(*words: str) -> tuple[Any, str]:
    """What a verb prints with `--json`, None where it fails; and its error line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ofa([*words, "--json"])
    lines = [line for line in err.getvalue().splitlines() if "error: " in line]
    return (json.loads(out.getvalue()) if code == 0 else None), (lines[-1] if lines else "")


def subnets_of(run: str, count: int, seed: int, folder: Path) -> Iterator[Path]:
    """The smallest, the largest and random subnets of a run, each written to a folder."""
    space = RunFiles.open(run).space
    rows = space.decode(space.sample(max(0, count - 2), np.random.default_rng(seed)))
    for i, subnet in enumerate([space.smallest(), space.largest(), *rows][:count]):
        choice, out = folder / f"{i}.json", folder / f"{i}"
        choice.write_text(json.dumps(subnet.to_dict()))
        answer, error = called("extract", run, "--subnet", str(choice), "--out", str(out), "--images", "64")
        if answer is None:
            raise SystemExit(error)
        yield out


def exports(run: str, subnet: Path, images: int, folder: Path) -> Iterator[Row]:
    """One subnet in every format and precision."""
    for name in FORMATS:
        format = find_format(name)
        for precision in format.precisions if not missing_packages(format) else ():
            out = folder / f"{subnet.name}-{name}-{precision}"
            started = time.perf_counter()
            options = ("--precision", precision, "--images", str(images), "--out", str(out))
            answer, error = called("export", str(subnet), "--run", run, "--format", name, *options)
            row: Row = {"run": Path(run).name, "subnet": subnet.name, "format": name, "precision": precision}
            row["seconds"] = round(time.perf_counter() - started, 2)
            yield row | ({"error": error} if answer is None else next(iter(answer["files"].values())))


def table(rows: list[Row]) -> Iterator[str]:
    """The lines of the table."""
    head = (
        "format",
        "subnets",
        "largest difference: median, worst",
        "same class",
        "top-1 (points): mean, range",
        "kB",
        "seconds",
    )
    yield f"| {' | '.join(head)} |"
    yield "|---|---|---|---|---|---|---|"
    for key in dict.fromkeys((row["format"], row["precision"]) for row in rows):
        mine = [row for row in rows if (row["format"], row["precision"]) == key]
        sound = [row for row in mine if "error" not in row]
        checked = [row for row in sound if row.get("largest_difference") is not None]
        points = [100 * (row["top1"] - row["top1_network"]) for row in checked if row.get("top1_network") is not None]
        cells = [f"{key[0]} {key[1]}", f"{len(sound)} of {len(mine)}", "not checked", "", "", "", ""]
        if checked:
            differences = [row["largest_difference"] for row in checked]
            cells[2] = f"{np.median(differences):.2g}, {max(differences):.2g}"
            cells[3] = f"{100 * np.mean([row['agreement'] for row in checked]):.1f}%"
        if points:
            cells[4] = f"{np.mean(points):+.2f}, {min(points):+.2f} to {max(points):+.2f} ({len(points)} nets)"
        if sound:
            cells[5] = f"{np.median([row['bytes'] for row in sound]) / 1000:.0f}"
            cells[6] = f"{np.median([row['seconds'] for row in sound]):.1f}"
        yield f"| {' | '.join(cells)} |"
    for error in dict.fromkeys(row["error"] for row in rows if "error" in row):
        yield f"- refused: {error}"


def main() -> None:
    """Export and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--subnets", type=int, default=4, help="of each run")
    parser.add_argument("--images", type=int, default=1000, help="to compare on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="every export as a line of JSON")
    args = parser.parse_args()
    rows: list[Row] = []
    for run in args.runs:
        with tempfile.TemporaryDirectory() as folder:
            for subnet in subnets_of(run, args.subnets, args.seed, Path(folder)):
                for row in exports(run, subnet, args.images, Path(folder)):
                    rows.append(row)
                    if args.out is not None:
                        with open(args.out, "a", encoding="utf-8") as file:
                            file.write(json.dumps(row) + "\n")
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
