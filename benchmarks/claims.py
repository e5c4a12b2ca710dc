"""What the founding articles claim, as figures of the zoo's supernet: the tables of docs/claims.md, each with its command.

    python -m benchmarks.claims [--train] [--write docs/claims.md]

`--train` measures the processor time of trainings too (some minutes): the zoo's own recipe on the images that its bundle
keeps, and its subnets trained alone; the times are kept in `benchmarks/results/claims.json`, from which the table is made.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ofa import footprint
from ofa.cli.main import main as ofa_main
from ofa.footprint.label_entry import energy_text
from ofa.runs.run_files import RunFiles
from ofa.runs.zoo import zoo_file

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "results" / "claims.json"
ZOO = "fashion-mnist"
DEVICES = ("edge-int8", "stm32-u575", "raspi4-tflite-int8")
"""The demo's device, one with measured power, and one calibrated on measured energies at the mains."""
W_PER_CORE = 4.4
"""AMD EPYC 7763, 280 W of 64 cores (Green Algorithms, TDP_cpu.csv); the machine here has two cores of that family."""
TRAINED_IMAGES, HELD_OUT = 1800, 200
FULL_IMAGES = 55_000


def ofa(*words: object, expect: int = 0) -> Any:
    """What a command prints with --json; or the one line of its error, where one is expected."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ofa_main([*map(str, words), "--json"])
    if code != expect:
        raise SystemExit(f"ofa {shlex.join(map(str, words))}: {err.getvalue().strip()}")
    return err.getvalue().strip() if code else json.loads(out.getvalue())


def command(*words: object) -> str:
    """A command as text."""
    return f"`ofa {' '.join(map(str, words))}`"


def row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def figure(card: dict[str, Any], name: str) -> float:
    """The value of a card's line."""
    return float(next(line["value"] for line in card["figures"] if line["name"].startswith(name)))


def query(*words: object) -> dict[str, Any]:
    """The card of the best subnet within limits, measured."""
    with tempfile.TemporaryDirectory() as folder:
        card: dict[str, Any] = ofa("query", ZOO, *words, "--out", f"{folder}/net")["card"]
    return card


def largest_top1() -> float:
    """Top-1 of the largest subnet on the validation images that the bundle keeps."""
    return float(ofa("evaluate", ZOO, "--subnet", "largest")["subnets"][0]["top1"])


# -- a tenth of the energy, half of the size ---------------------------------------------------------------------------


def frugal_rows(largest: float) -> list[str]:
    """Subnets with less energy, and smaller ones, against the largest."""
    rows = []
    for platform in DEVICES:
        whole = 1000 * ofa("footprint", ZOO, "--platform", platform, "--inferences", 1)["inference_j"]
        for share in (0.5, 0.25, 0.1):
            words = ("--platform", platform, "--energy-mj", f"{share * whole:.4g}")
            rows.append(_found(f"energy on {platform}: {share:.0%} of the largest's {whole:.4g} mJ", words, whole, largest))
        words = ("--platform", platform, "--minimize", "energy_mj", "--min-top1", 0.5)
        rows.append(_found(f"energy on {platform}: the least that there is", words, whole, largest))
    params = RunFiles.open(ZOO)
    from ofa.space.shapes import params as count
    from ofa.space.shapes import walk

    size = count(walk(params.space, params.space.largest())) / 1e6
    for share in (0.5, 0.1):
        words = ("--platform", DEVICES[0], "--params-m", f"{share * size:.4g}")
        rows.append(_found(f"parameters: {share:.0%} of the largest's {size:.4g} M", words, None, largest))
    return rows


def _found(what: str, words: tuple[object, ...], whole: float | None, largest: float) -> str:
    shown = command("query", ZOO, *words)
    try:
        card = query(*words)
    except SystemExit as error:
        reason = str(error).partition("error: ")[2] or str(error)
        return f"| {what} | none: {reason} | | | {shown} |"
    value = figure(card, "Energy per inference") if whole is not None else figure(card, "Parameters")
    top1 = figure(card, "Top-1, validation (measured)") / 100
    error = re.search(r"±([\d.]+) points", next(f["uncertainty"] for f in card["figures"] if "(measured)" in f["name"]))
    spread = f" ±{error[1]}" if error else ""
    amount = f"{value:.4g} mJ, {value / whole:.0%}" if whole is not None else f"{value:.4g} M"
    return f"| {what} | {amount} | {100 * top1:.2f}{spread} % | {100 * (top1 - largest):+.2f} | {shown} |"


# -- after how many inferences use passes training ---------------------------------------------------------------------


def break_even_rows(kwh: float) -> list[str]:
    """Inferences until use passes training, ours and the articles'."""
    rows = []
    for platform in DEVICES:
        words = ("footprint", ZOO, "--platform", platform, "--inferences", 1, "--training-kwh", f"{kwh:.4g}")
        found = ofa(*words)
        point = found["break_even"]["inferences"]["inferences"]
        cells = [f"zoo's supernet, {platform}", f"{kwh:.3g} kWh", energy_text(found["inference_j"])]
        rows.append(row(*cells, f"{point / 1e6:,.3g} million", command(*words)))
    for what, train_kwh in (
        ("Transformer (big)", 201.13),
        ("Strubell's search, 284 t", 656347.0),
        ("BERT, fine-tuned", 3.1),
    ):
        joules = footprint.inference_j_at_break_even(footprint.joules_of_kwh(train_kwh), 1e6)
        call = f"`footprint.inference_j_at_break_even(footprint.joules_of_kwh({train_kwh}), 1e6)`"
        rows.append(f"| {what} | {train_kwh:,} kWh | {energy_text(joules)}, implied | 1 million, as claimed | {call} |")
    return rows


# -- an analog array ---------------------------------------------------------------------------------------------------


def analog_rows() -> list[str]:
    """The macro's peak against a system around it."""
    from ofa.space.shapes import macs, walk

    space = RunFiles.open(ZOO).space
    rows = []
    for name in ("largest", "smallest"):
        count = macs(walk(space, getattr(space, name)()))
        macro = 2 * count / 2900e12
        words = ("footprint", ZOO, "--platform", "analog-imc", "--subnet", name, "--inferences", 1)
        system = ofa(*words)["inference_j"]
        cells = [f"{name}, {count / 1e6:.3g} M MACs", *map(energy_text, (macro, 5 * macro, system))]
        rows.append(row(*cells, f"{system / macro:,.0f}", command(*words)))
    return rows


# -- edge against cloud ------------------------------------------------------------------------------------------------


def cloud_rows() -> list[str]:
    """The demo's device against a server that takes nothing, by each way to send."""
    rows = []
    for platform in DEVICES:
        for route, bursts in (("ble", (1,)), ("wifi", (1, 1000)), ("lte", (1, 1000)), ("fixed", (1,))):
            for burst in bursts:
                words = ("footprint", ZOO, "--platform", platform, "--inferences", 1, "--cloud", route, "--server-mj", 0)
                words += () if burst == 1 else ("--per-burst", burst)
                found = ofa(*words)["edge_against_cloud"]
                edge, radio = found["edge_j"], found["radio_j"]
                cells = [
                    platform,
                    f"{route}, {burst:,} a burst",
                    energy_text(edge),
                    energy_text(radio),
                    f"{radio / edge:,.3g}",
                ]
                cells += [energy_text(found["network_j"]), f"{found['cloud_over_edge']:,.3g}"]
                rows.append(row(*cells, f"{found['break_even_bytes']:,.0f}"))
    return rows


# -- a query for each device against a training for each ---------------------------------------------------------------


def measure_trainings(work: Path) -> dict[str, Any]:
    """Processor seconds of the zoo's recipe on a few images, of its subnets trained alone on the same, and of a query."""
    recipe = _few_images(work)
    run = work / "run"
    facts: dict[str, Any] = {"supernet_s": _processor_s("train", recipe, "--run", run, "--quiet")}
    facts["supernet_start_s"] = _processor_s("train", recipe, "--run", run, "--quiet")  # finished: it only starts
    phases = yaml.safe_load(recipe.read_text())["phases"]
    facts |= {"epochs": sum(phase["epochs"] for phase in phases), "images": TRAINED_IMAGES, "alone": {}}
    for name in ("largest", "smallest"):
        net = work / name
        _processor_s("extract", run, "--subnet", name, "--images", 100, "--out", net)
        few, many = (
            _processor_s("finetune", net, "--run", run, "--epochs", epochs, "--distill", 0, "--out", work / "t")
            for epochs in (1, 4)
        )
        facts["alone"][name] = {"s_per_epoch": (many - few) / 3, "start_s": few - (many - few) / 3}
    words = ("query", ZOO, "--platform", DEVICES[0], "--energy-mj", 0.02, "--out", work / "q")
    facts["query_s"] = _processor_s(*words)
    return facts


def _few_images(work: Path) -> Path:
    """The zoo's recipe on images that its bundle keeps."""
    run = RunFiles.open(ZOO)
    kept = run.images("validation")
    assert kept is not None
    rows = TRAINED_IMAGES + HELD_OUT
    pixels, labels = kept.pixels[:rows, :, :, 0], kept.labels[:rows]
    np.savez(work / "data.npz", x_train=pixels, y_train=labels, x_test=pixels[:100], y_test=labels[:100])
    (work / "space.yaml").write_text(str((run.path / "space.yaml").read_text()))
    recipe = yaml.safe_load((run.path / "recipe.yaml").read_text())
    recipe["space"] = "space.yaml"
    recipe["data"] |= {"source": str(work / "data.npz"), "validation": HELD_OUT}
    recipe["evaluation"] |= {"images": 100, "recalibration_images": 200, "final_subnets": 1}
    (work / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return work / "recipe.yaml"


def _processor_s(*words: object) -> float:
    """Processor time of a command, its children included, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ofa.cli.main", *map(str, words)], env=environment, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"ofa {' '.join(map(str, words))}: status {status}")
    return usage.ru_utime + usage.ru_stime


def fleet_rows(facts: dict[str, Any]) -> tuple[list[str], float]:
    """Processor hours for n devices, and the estimated energy of the supernet's training in kWh."""
    scale = FULL_IMAGES / facts["images"]
    once = (facts["supernet_s"] - facts["supernet_start_s"]) * scale
    each = facts["query_s"]
    rows = []
    for name, alone in facts["alone"].items():
        rival = alone["s_per_epoch"] * facts["epochs"] * scale + alone["start_s"]
        devices = footprint.break_even_devices(round(once, 3), round(each, 3), round(rival, 3))
        counts = (1, 10, 40, 1000)
        cells = " | ".join(f"{(once + n * each) / 3600:.3g} / {n * rival / 3600:.3g}" for n in counts)
        rows.append(f"| {name} | {once / 3600:.3g} h | {each:.3g} s | {rival / 3600:.3g} h | {devices} | {cells} |")
    return rows, footprint.energy_kwh(W_PER_CORE, once / 3600)


# -- the document ------------------------------------------------------------------------------------------------------


def tables() -> dict[str, list[str]]:
    """All tables, by the name of their place in the document."""
    fleet, kwh = fleet_rows(json.loads(KEPT.read_text()))
    return {
        "fleet": [
            "| trained alone | supernet, once | query, each | net alone, each | pays from | hours for 1 | 10 | 40 | 1,000 |",
            "|---|---|---|---|---|---|---|---|---|",
            *fleet,
        ],
        "frugal": [
            "| what | found | top-1, measured | points against the largest | command |",
            "|---|---|---|---|---|",
            *frugal_rows(largest_top1()),
        ],
        "break-even": [
            "| model | training | an inference | inferences until use passes training | command |",
            "|---|---|---|---|---|",
            *break_even_rows(kwh),
        ],
        "analog": [
            row(
                "subnet",
                "macro alone, peak",
                "int8 weights on 5 cells",
                "`analog-imc`: a system",
                "system over macro",
                "command",
            ),
            "|---|---|---|---|---|---|",
            *analog_rows(),
        ],
        "cloud": [
            "| device | by | edge | radio | radio alone over edge | network | cloud over edge | edge wins from, bytes |",
            "|---|---|---|---|---|---|---|---|",
            *cloud_rows(),
        ],
    }


def replaced(text: str, found: dict[str, list[str]]) -> str:
    """A document with its tables, between `<!-- NAME -->` and `<!-- end -->`, made anew."""
    for name, lines in found.items():
        body = "\n".join([f"<!-- {name} -->", *lines, "<!-- end -->"])
        text, count = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, body=body: body, text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"the document has {count} places for {name!r}; must be one")
    return text


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="measure the trainings too")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the tables of this document")
    args = parser.parse_args()
    if args.train:
        with tempfile.TemporaryDirectory() as folder:
            facts = measure_trainings(Path(folder))
        KEPT.write_text(json.dumps(facts, indent=2) + "\n")
    found = tables()
    if args.write is None:
        print("\n\n".join("\n".join(lines) for lines in found.values()))
    else:
        args.write.write_text(replaced(args.write.read_text(), found))


if __name__ == "__main__":
    zoo_file(ZOO)
    main()
