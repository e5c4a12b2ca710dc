"""The most accurate subnet under a platform's limits: searched with the predictor, measured, and written ready to use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.common import add_measuring_arguments, check_at_least, printer
from ofa.errors import UserError

if TYPE_CHECKING:
    from latency_tables import Costs
    from ofa.cli.common import Measured
    from ofa.run import RunDirectory
    from ofa.space import Genes
    from search.card import Accuracy
    from search.problem import Floats, Limit
    from search.searcher import SearchResult

EXAMPLE = "ofa query runs/demo --platform edge-int8 --latency-ms 0.5 --energy-mj 0.03"
LIMITS = {
    "latency_ms": "latency per inference, in ms",
    "energy_mj": "energy per inference, in mJ",
    "memory_kb": "peak activation memory, in kB",
    "params_m": "parameters, in millions",
    "macs_m": "multiply-accumulates, in millions",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run directory with a predictor")
    parser.add_argument("--platform", required=True, metavar="P", help="a platform by name, or a YAML file")
    for metric, text in LIMITS.items():
        parser.add_argument(f"--{metric.replace('_', '-')}", type=float, metavar="X", help=f"at most X: {text}")
    parser.add_argument("--algorithm", default="auto", help="auto (default), exact, evolution or random")
    parser.add_argument("--budget", type=int, default=20_000, metavar="N", help="predictions at most (default: 20000)")
    parser.add_argument("--verify", type=int, default=5, metavar="K", help="measure the best K predicted (default: 5)")
    parser.add_argument("--no-verify", action="store_true", help="believe the predictor; nothing is measured")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the subnet is written (default: RUN/queries/NAME)")
    add_measuring_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Search, measure, write."""
    check_at_least(args, budget=1, verify=1, images=1, seed=0)

    import numpy as np

    from latency_tables import load_platform
    from search.problem import Limit, Problem
    from search.searcher import find_searcher

    find_searcher(args.algorithm)  # a wrong name is told before anything is opened
    platform = load_platform(args.platform)
    bounds = {metric: getattr(args, metric) for metric in LIMITS}
    limits = [Limit(metric, bound, platform.name) for metric, bound in bounds.items() if bound is not None]

    from ofa.cli.common import Measured, open_predictor, platform_costs
    from ofa.run import RunDirectory

    say = printer(args)
    directory = RunDirectory.open(args.run)
    out = args.out or directory.path / "queries" / query_name(platform.name, limits)
    _check_out(out)
    predictor, facts = open_predictor(directory)
    costs = platform_costs(platform, directory.space)
    problem = Problem(space=directory.space, predictor=predictor, costs={platform.name: costs}, limits=limits)
    searcher, why = find_searcher(args.algorithm, problem)
    result = searcher.search(problem, np.random.default_rng(args.seed), args.budget)
    proven = "; no subnet within the limits is predicted better" if result.optimal else ""
    say(f"{searcher.name} ({why}): {result.evaluations} predictions in {result.seconds:.2f} s{proven}")
    measured = Measured.open(directory, args.images, args.device, show=not args.json)
    best, accuracy = 0, _predicted(result, 0, predictor.std(result.genes[:1]), facts)
    if not args.no_verify:
        best, accuracy = _verify(result, predictor.std(result.genes), facts, measured, args.verify, say)
    card = _card(directory, costs, result, best, accuracy, limits, measured)
    _save(out, directory, measured, result.genes[best], card)
    say("")
    for line in card["figures"]:
        value = "unknown" if line["value"] is None else f"{line['value']:.4g} {line['unit']}"
        say(f"{line['name']:36}{value:>14}  {line['source']}")
    say(f"\nwritten to {out} (card.md has sources and uncertainties; python {out / 'load.py'} runs it)")
    return {"out": str(out), "card": card, "genes": result.genes[best].tolist(), "verified": not args.no_verify}


def _check_out(out: Path) -> None:
    """Only a new folder, an empty one, or an earlier answer may be written to."""
    if out.exists() and not (out.is_dir() and ((out / "subnet.json").exists() or not any(out.iterdir()))):
        raise UserError(f"--out is {out}, which exists and holds no subnet; give another folder")


def query_name(platform: str, limits: list[Limit]) -> str:
    """A folder's name that says what was asked."""
    parts = [platform] + [f"{limit.metric}-{limit.bound:g}" for limit in limits]
    return "_".join(parts if limits else [*parts, "no-limits"])


def _predicted(result: SearchResult, row: int, std: Floats | None, facts: dict[str, Any]) -> Accuracy:
    from search.card import Accuracy

    spread = None if std is None else float(std[row])
    return Accuracy(predicted=float(result.top1[row]), predicted_std=spread, fitted_on=facts["samples"])


def _verify(
    result: SearchResult, std: Floats | None, facts: dict[str, Any], measured: Measured, count: int, say: Any
) -> tuple[int, Accuracy]:
    """Measure the best predicted; the best measured wins, the better predicted among equals."""
    from dataclasses import replace

    top1 = measured.top1(result.genes[:count])
    best = int(top1.argmax())
    for i, value in enumerate(top1):
        mark = "  <- best" if i == best else ""
        say(f"  candidate {i + 1}: predicted {100 * result.top1[i]:.2f}%, measured {100 * value:.2f}%{mark}")
    accuracy = _predicted(result, best, std, facts)
    return best, replace(accuracy, measured=float(top1[best]), images=measured.images, candidates=len(top1))


def _card(
    directory: RunDirectory,
    costs: Costs,
    result: SearchResult,
    best: int,
    accuracy: Accuracy,
    limits: list[Limit],
    measured: Measured,
) -> dict[str, Any]:
    from search.card import build_card, limits_plain

    space, data = directory.space, measured.evaluator.data
    genes = result.genes[best : best + 1]
    facts = {
        "run": directory.path.name,
        "space": f"{space.name} (fingerprint {space.fingerprint})",
        "limits": limits_plain(limits),
        "algorithm": f"{result.algorithm}, {result.evaluations} predictions" + (", optimal" if result.optimal else ""),
        "input": {
            "channels": space.in_channels,
            "resolution": space.decode(genes)[0].resolution,
            "mean": list(data.mean),
            "std": list(data.std),
            "classes": list(data.classes),
        },
    }
    return build_card(f"Subnet of {space.name} for {costs.platform.name}", costs, genes, accuracy, facts)


def _save(out: Path, directory: RunDirectory, measured: Measured, genes: Genes, card: dict[str, Any]) -> None:
    from ofa.subnet_directory import save_subnet

    subnet = directory.space.decode(genes)[0]
    save_subnet(out, directory.space, subnet, measured.evaluator.module(subnet), card)
