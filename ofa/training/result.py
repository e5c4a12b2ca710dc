"""The result of a run: accuracy of its subnets on test data, and the time and energy of training.

Apart from this module, only `ofa evaluate --split test` uses test data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ofa.distributed.world import ALONE, World
from ofa.energy.account import CHECKPOINT, EVALUATION, LOST, TRAINING, Account, Spent, combined
from ofa.energy.choice import MACHINE, EnergyChoice
from ofa.energy.ledger import booked, ledger_files
from ofa.files.bundle import Place, as_path
from ofa.files.vouched import write_vouched_json
from ofa.measure.accuracy import BALANCED, TOP1, AccuracyMetric, ClassCounts
from ofa.measure.memory import NO_LIMIT, MemoryLimit
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.metrics_rows import metrics_rows
from ofa.runs.run_directory import RunDirectory
from ofa.space import shapes
from ofa.training.progress import spent_by_rows

PURPOSES = (TRAINING, EVALUATION, CHECKPOINT, LOST)
"""Purposes whose time and energy count as training; other verbs book purposes of their own."""
VERBS = ("train-", "result-")
"""Beginnings of the names of the ledgers that a training writes."""
RESULT_KEYS = ("split", "images", "largest_top1", "smallest_top1")
"""Keys of every `result.json`, of any version."""


def report_result(
    run: RunDirectory,
    device: torch.device | str = "cpu",
    progress: bool = True,
    world: World = ALONE,
    energy: EnergyChoice = MACHINE,
    memory: MemoryLimit = NO_LIMIT,
) -> dict[str, Any]:
    """Test accuracy of the largest, the smallest and random subnets, with training time and energy; writes `result.json`.

    A collective call: the ranks of `world` share the subnets, rank 0 writes.

    Returns:
        `split` (`test`, or `validation` where the data has no test part), `images`, `largest_top1`, `smallest_top1`,
        `random_top1_mean`, `random_top1_std`, `subnets` (each with `top1`, `balanced`, `macs_m`, `params_m`), and all that
        `spent_on` returns. Where classes are of unequal sizes, `largest_balanced` and so on too.
    """
    meter = energy.meter(str(device), processor=world.local_rank == 0)
    with booked(run.energy_folder, "result", EVALUATION, meter, world):
        evaluator = evaluator_of_run(run, device, world=world, memory=memory)
        split = "test" if "test" in evaluator.data.sizes else "validation"
        space = run.space
        genes = space.sample(run.recipe.evaluation.final_subnets, np.random.default_rng(run.recipe.seed))
        subnets = [space.largest(), space.smallest(), *space.decode(genes)]
        counts = evaluator.counts(subnets, split, progress)
    result = {
        "split": split,
        "images": evaluator.size(split),
        **_summary(TOP1, counts),
        **(_summary(BALANCED, counts) if counts[0].unequal else {}),
        "subnets": [
            {
                "top1": TOP1.value(found),
                "balanced": BALANCED.value(found),
                "macs_m": shapes.macs(shapes.walk(space, subnet)) / 1e6,
                "params_m": shapes.params(shapes.walk(space, subnet)) / 1e6,
                "resolution": subnet.resolution,
                "genes": row.tolist(),
            }
            for subnet, found, row in zip(subnets, counts, space.encode(subnets), strict=True)
        ],
    } | spent_on(run, world)
    if world.first:
        write_vouched_json(as_path(run.result_path), result)
    return result


def _summary(metric: AccuracyMetric, counts: list[ClassCounts]) -> dict[str, float | None]:
    """One metric of the largest, the smallest and the random subnets; None where a class has no image."""
    values = np.array([metric.value(found) for found in counts], dtype=np.float64)  # None becomes NaN
    random = values[2:]
    summary = {"largest_{}": values[0], "smallest_{}": values[1]}
    summary |= {f"random_{{}}_{name}": getattr(random, name)() if len(random) else np.nan for name in ("mean", "std")}
    return {key.format(metric.name): None if np.isnan(value) else float(value) for key, value in summary.items()}


def spent_on(run: RunDirectory, world: World = ALONE) -> dict[str, Any]:
    """Time and energy of a run so far, in total and by purpose; a collective call.

    Returns:
        `train_seconds` and `train_energy_j`, the sums over all purposes: energy is that which was metered, None where
        nothing was, and a lower bound where `train_energy_missing` names something. `train_energy_source`.
        `train_estimated_j` and `train_estimate_source`: energy that was estimated, which `train_energy_j` does not include;
        None and empty where none was. `train_spent`: `seconds`, `energy_j`, `unread_s` (the seconds without any energy) and
        perhaps `estimated_j`, `estimated_s` of each purpose: `training`, `evaluation`, `checkpoint` and, after a kill,
        `lost` (steps after the last checkpoint).
    """
    files = [path for path in ledger_files(run.energy_folder, world) if path.name.startswith(VERBS)]
    found = world.gather([(path, Account.read(path)) for path in files])
    account = combined(pair for pairs in found for pair in pairs)
    if TRAINING not in account.spent:
        account.carry_over(TRAINING, *spent_by_rows(metrics_rows(run.metrics_path), Spent()))
    total = account.total(PURPOSES)
    unmetered_s = total.unread_s + total.estimated_s
    unread = [f"{unmetered_s:.3g} s without any reading"] if total.energy_j is not None and unmetered_s > 0 else []
    return {
        "train_seconds": total.seconds,
        "train_energy_j": total.energy_j,
        "train_energy_source": "; ".join(account.sources),
        "train_energy_missing": unread + account.missing,
        "train_estimated_j": total.estimated_j if total.estimated_s > 0 else None,
        "train_estimate_source": "; ".join(account.estimates),
        "train_spent": {purpose: account.spent[purpose].plain() for purpose in PURPOSES if purpose in account.spent},
    }


def result_lines(result: dict[str, Any], path: Place) -> list[str]:
    """A result as lines of text."""
    lines = [
        f"{result['split']} accuracy on {result['images']} images, subnets taken without retraining:",
        f"  largest   {100 * result['largest_top1']:.2f}%{_balanced(result, 'largest_balanced')}",
        f"  smallest  {100 * result['smallest_top1']:.2f}%{_balanced(result, 'smallest_balanced')}",
    ]
    if result["random_top1_mean"] is not None:
        count = len(result["subnets"]) - 2
        mean, std = 100 * result["random_top1_mean"], 100 * result["random_top1_std"]
        lines.append(f"  {count} random  {mean:.2f}% on average (std {std:.2f}){_balanced(result, 'random_balanced_mean')}")
    lines += _spent_lines(result)
    lines.append(f"all figures: {path}")
    return lines


def _balanced(result: dict[str, Any], key: str) -> str:
    """Balanced accuracy, if the classes have unequal sizes and each has an image."""
    value = result.get(key)
    return "" if value is None else f"; balanced {100 * value:.2f}%"


def _spent_lines(result: dict[str, Any]) -> list[str]:
    """Time and energy as lines of text; results of older versions cover only training steps."""
    joules, missing = result["train_energy_j"], result.get("train_energy_missing", [])
    bound = "at least " if missing else ""
    energy = "no energy reading" if joules is None else f"{bound}{joules / 3.6e6:.4f} kWh"
    source = f" ({result['train_energy_source']})" if result["train_energy_source"] else ""
    lines = [f"trained in {result['train_seconds'] / 60:.1f} minutes; {energy}{source}"]
    if result.get("train_estimated_j") is not None:
        lines.append(f"  estimated: {result['train_estimated_j'] / 3.6e6:.4f} kWh ({result['train_estimate_source']})")
    if "train_spent" in result:
        parts = (f"{purpose} {spent['seconds'] / 60:.1f}" for purpose, spent in result["train_spent"].items())
        lines.append(f"  minutes: {', '.join(parts)}")
    if joules is not None and missing:
        lines.append(f"  not counted: {'; '.join(missing)}")
    return lines
