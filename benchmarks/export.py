"""Export subnets of several runs in every installed format; a line per format: differences, int8 drops, sizes, seconds.

    python benchmarks/export.py fashion-mnist runs/cifar10 --out benchmarks/results/export.json
    python benchmarks/export.py runs/resnet --resolutions 128 132 --images 64 --out benchmarks/results/export.json
    python benchmarks/export.py --out benchmarks/results/export.json           # prints the table again

Each file is checked in its own runtime, as `ofa export` always does; a format that cannot express a subnet, or is beyond its
tolerance, counts as refused, with its message. The large formats need an environment of their own (`make test-export` makes
one). Runs are names of the zoo, bundles or run directories. `--out` keeps every export as it comes: what it has is not made
again, so that a run that was stopped goes on. Then prints a Markdown table of all that it holds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.on_device.ort_runtime import processor
from ofa.cli.main import main as ofa
from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages, version_of
from ofa.files.atomic import write_json
from ofa.runs.run_files import RunFiles

Row = dict[str, Any]


def called(*words: str) -> tuple[Any, str]:
    """What a verb prints with `--json`, None where it refuses; and its error line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ofa([*words, "--json"])
    if code not in (0, 2):
        raise SystemExit(err.getvalue() or code)
    lines = [line for line in err.getvalue().splitlines() if "error: " in line]
    return (json.loads(out.getvalue()) if code == 0 else None), (lines[-1] if lines else "")


def subnets_of(run: str, count: int, resolutions: list[int] | None, seed: int, folder: Path) -> Iterator[Path]:
    """The smallest, the largest and random subnets of a run, each written to a folder."""
    whole = RunFiles.open(run).space
    space = whole if resolutions is None else whole.restrict(resolutions=resolutions)
    rows = space.decode(space.sample(max(0, count - 2), np.random.default_rng(seed)))
    for i, subnet in enumerate([space.smallest(), space.largest(), *rows][:count]):
        choice, out = folder / f"{i}.json", folder / f"{i}"
        choice.write_text(json.dumps(subnet.to_dict()))
        answer, error = called("extract", run, "--subnet", str(choice), "--out", str(out), "--images", "64")
        if answer is None:
            raise SystemExit(error)
        yield out


def exports(run: str, subnet: Path, formats: list[str], images: int, folder: Path, done: list[Row]) -> Iterator[Row]:
    """One subnet in every precision of formats that `done` does not have."""
    for name in formats:
        format = find_format(name)
        for precision in format.precisions if not missing_packages(format) else ():
            row: Row = {"run": Path(run).name, "subnet": subnet.name, "format": name, "precision": precision}
            if any(row.items() <= old.items() for old in done):
                continue
            out = folder / f"{subnet.name}-{name}-{precision}"
            started = time.process_time()
            options = ("--precision", precision, "--images", str(images), "--out", str(out))
            answer, error = called("export", str(subnet), "--run", run, "--format", name, *options)
            row["processor_seconds"] = round(time.process_time() - started, 2)
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
    keys = [(name, precision) for name in FORMATS for precision in find_format(name).precisions]
    for key in keys:
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
            cells[6] = f"{np.median([row['processor_seconds'] for row in sound]):.1f}"
        if mine:
            yield f"| {' | '.join(cells)} |"
    for error in dict.fromkeys(row["error"] for row in rows if "error" in row):
        yield f"- refused: {error}"


def here() -> dict[str, Any]:
    """This machine, and the versions of what converts and runs."""
    packages = {package for name in FORMATS for package in find_format(name).packages} | {"torch", "numpy"}
    versions = {package: version_of(package) for package in sorted(packages)}
    return {"date": date.today().isoformat(), "processor": processor(), "python": platform.python_version()} | versions


def main() -> None:
    """Export and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--subnets", type=int, default=4, help="of each run")
    parser.add_argument("--resolutions", type=int, nargs="+", metavar="PX", help="only subnets of these (default: all)")
    parser.add_argument("--format", action="append", choices=FORMATS, help="may be repeated (default: all installed)")
    parser.add_argument("--images", type=int, default=1000, help="to compare on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a JSON of every export")
    args = parser.parse_args()
    formats = list(dict.fromkeys(args.format or FORMATS))
    document = json.loads(args.out.read_text()) if args.out.exists() else {"runs": {}, "exports": []}
    for run in args.runs:
        options = {name: getattr(args, name) for name in ("subnets", "resolutions", "images", "seed")}
        document["runs"][Path(run).name] = here() | options
        with tempfile.TemporaryDirectory() as folder:
            for subnet in subnets_of(run, args.subnets, args.resolutions, args.seed, Path(folder)):
                for row in exports(run, subnet, formats, args.images, Path(folder), document["exports"]):
                    document["exports"].append(row)
                    write_json(args.out, document)
    for run in document["runs"]:
        print(f"\n{run}\n")
        print(*table([row for row in document["exports"] if row["run"] == run]), sep="\n")
    print("\nall\n")
    print(*table(document["exports"]), sep="\n")


if __name__ == "__main__":
    main()
