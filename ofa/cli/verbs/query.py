"""Find the most accurate subnet under a platform's limits, or the cheapest that is accurate enough; measure it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.metrics import METRICS
from ofa.cli.shared.candidates import Candidates
from ofa.cli.shared.energy import add_energy_arguments, booked_in_run, device_of, energy_choice
from ofa.cli.shared.labels import label_lines, labels_of
from ofa.cli.shared.numerics import UnderPlatforms, not_measured, ranking_note
from ofa.cli.shared.options import (
    WAIT_S,
    Measured,
    add_accuracy_argument,
    add_measuring_arguments,
    answerable,
    check_at_least,
    check_subnet_out,
    open_predictor,
    printer,
    warn,
    written_beside,
)
from ofa.cli.shared.question import (
    add_fix_argument,
    add_limit_arguments,
    add_objective_arguments,
    least_accuracy,
    limits_of,
    load_platforms,
    objective_of,
    parse_bounds,
    parse_fixes,
    searched_part,
)
from ofa.cli.shared.subnet_weights import (
    NO_WEIGHTS,
    UNRECALIBRATED,
    add_unrecalibrated_argument,
    weights_of,
    without_images,
)
from ofa.energy.account import QUERY
from ofa.errors import UserError
from ofa.files.output import locked_output
from ofa.measure.accuracy import ACCURACIES

if TYPE_CHECKING:
    from latency_tables import Costs, Platform
    from ofa.energy.choice import EnergyChoice
    from ofa.runs.run_files import RunFiles
    from search.evaluations.result import SearchResult
    from search.problem.limits import Limit
    from search.problem.problem import Problem
    from search.reports.card import Accuracy
    from search.searchers.catalogue import Searcher

EXAMPLE = """ofa query runs/demo --platform edge-int8 --latency-ms 0.5 --energy-mj 0.03
  ofa query runs/demo --platform note10 --platform pixel1 --latency-ms 3 --latency-ms pixel1=4 --confidence 0.9
  ofa query runs/demo --platform edge-int8 --minimize energy_mj --min-top1 0.88
  ofa query runs/demo --fleet devices.csv --out answer.csv"""
VERIFY = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run with a predictor: a directory or a bundle")
    parser.add_argument(
        "--platform", action="append", default=[], metavar="P", help="a platform by name, or a YAML file; may be repeated"
    )
    parser.add_argument(
        "--fleet", type=Path, metavar="CSV", help="answer many devices: columns platform, device, confidence and the limits"
    )
    add_limit_arguments(parser)
    parser.add_argument(
        "--confidence", type=float, metavar="C", help="apply limits to upper bounds of latency and energy at C, e.g. 0.9"
    )
    add_objective_arguments(parser)
    add_fix_argument(parser)
    parser.add_argument("--algorithm", default="auto", help="auto (default), exact, evolution, optuna, nsga2 or random")
    parser.add_argument(
        "--budget", type=int, metavar="N", help="most predictions (default: 20000; 300 with optuna, which is slower)"
    )
    parser.add_argument("--sampler", metavar="CLASS", help="optuna's sampler (default: TPESampler)")
    parser.add_argument(
        "--storage", metavar="URL", help="share optuna's study: sqlite:///FILE, journal://FILE, postgresql://..."
    )
    parser.add_argument(
        "--study", metavar="NAME", help="name of optuna's study in its storage (default: made from the problem)"
    )
    parser.add_argument("--history", type=Path, metavar="FILE", help="log the search to this JSONL; the same search resumes")
    parser.add_argument(
        "--verify",
        type=int,
        metavar="K",
        help=f"measure the best K predicted (default: {VERIFY}); of a fleet, the K that most devices get (default: all)",
    )
    parser.add_argument("--no-verify", action="store_true", help="measure nothing, take the predicted accuracy")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write the subnet to (default: RUN/queries/NAME); with --fleet, a file",
    )
    add_accuracy_argument(parser, default="the metric that the predictor was fitted to")
    add_unrecalibrated_argument(parser)
    add_measuring_arguments(parser)
    add_energy_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Search, measure, write."""
    check_at_least(args, budget=1, verify=1, images=1, seed=0)
    energy = energy_choice(args)
    if args.fleet is not None:
        from ofa.cli.shared.fleet_query import run_fleet

        return run_fleet(args)

    _find_searcher(args)  # refuses a wrong name before anything is opened
    platforms = load_platforms(args.platform)
    names = [platform.name for platform in platforms]
    limits = limits_of(parse_bounds(args), names)

    from ofa.deploy.subnet_directory import save_subnet
    from ofa.runs.run_files import RunFiles

    say = printer(args)
    directory = RunFiles.open(args.run)
    out = args.out or written_beside(directory, query_name(args, names, limits))
    check_subnet_out(out)
    problem, facts = _problem(args, directory, platforms, limits)
    costs = list(problem.costs.values())
    result = _searched(args, energy, directory, problem, say)
    candidates = Candidates(problem, result, facts)
    best, accuracy = 0, candidates.predicted(0)
    no_images = without_images(directory)
    if args.no_verify or args.unrecalibrated or no_images:
        accuracy = replace(accuracy, under=not_measured(platforms, "nothing was measured"))
    else:
        best, accuracy = _verified(args, energy, directory, candidates, platforms, say)
    card = _card(directory, platforms, costs, result, best, accuracy, problem)
    card |= labels_of(directory, platforms, costs, result.genes[best : best + 1], accuracy, problem.predictor)
    lacking = UNRECALIBRATED if args.unrecalibrated else NO_WEIGHTS if no_images else None
    card |= ranking_note(accuracy.under) | ({} if lacking is None else {"weights": lacking})
    genes = result.genes[best]
    subnet = directory.space.decode(genes)[0]
    weights = weights_of(directory, subnet, args.unrecalibrated, args.device)
    with locked_output(out, WAIT_S):
        save_subnet(out, directory.space, subnet, weights, card)
    _show(card, out, say)
    asked = [word for platform in args.platform for word in ("--platform", platform)]
    say(f"every limit on one page: {shlex.join(['ofa', 'report', args.run, *asked, '--out', 'report.html'])}")
    warnings = [warning for cost in costs for warning in cost.warnings]
    answer = {"out": str(out), "card": card, "genes": genes.tolist(), "verified": accuracy.measured is not None}
    return answer | {"accuracy": problem.accuracy.name, "warnings": warnings}


def _searched(
    args: argparse.Namespace, energy: EnergyChoice, directory: RunFiles, problem: Problem, say: Callable[[str], None]
) -> SearchResult:
    """Search, and log to --history; prints the searcher, its reason, and the warnings of the platforms."""
    import numpy as np

    from search.evaluations.log import SearchLog
    from search.searchers.catalogue import default_budget

    searcher, why = _find_searcher(args, problem)
    budget = args.budget or default_budget(searcher.name)
    with booked_in_run(energy, directory.path, QUERY, QUERY), locked_output(args.history) if args.history else nullcontext():
        settings = {"algorithm": searcher.name, "seed": args.seed, "budget": budget}
        log = SearchLog.open(args.history, problem, **settings) if args.history else None
        result = searcher.search(problem, np.random.default_rng(args.seed), budget, log)
    for cost in problem.costs.values():
        warn(cost)  # only here, so that an error is a single line
    proven = "; no subnet within the limits is predicted better" if result.optimal else ""
    say(f"{searcher.name} ({why}): {result.evaluations} predictions in {result.seconds:.2f} s{proven}")
    return result


def _verified(
    args: argparse.Namespace,
    energy: EnergyChoice,
    directory: RunFiles,
    candidates: Candidates,
    platforms: Sequence[Platform],
    say: Callable[[str], None],
) -> tuple[int, Accuracy]:
    """Measure the best candidates in fp32, and the chosen one under the platforms' numerics; imports torch."""
    from ofa.runs.run_directory import RunDirectory

    run, accuracy = RunDirectory.open(directory.path), candidates.problem.accuracy
    with booked_in_run(energy, run.path, QUERY, QUERY, device_of(args, True)):
        measured = Measured.open(run, args.images, args.device, show=not args.json, accuracy=accuracy)
        under = UnderPlatforms(platforms, measured, accuracy, args.seed)
        best, found = candidates.verified(measured, args.verify or VERIFY, say, under.deviation)
        return best, replace(found, under=under.of(candidates.result.genes[best : best + 1]))


def _problem(
    args: argparse.Namespace, directory: RunFiles, platforms: Sequence[Platform], limits: Sequence[Limit]
) -> tuple[Problem, dict[str, Any]]:
    """The question, and the facts about the predictor that answers it."""
    from search.problem.problem import Problem

    fixes = parse_fixes(args.fix)
    names = [platform.name for platform in platforms]
    objective = objective_of(args.minimize, names)
    predictor, facts, accuracy_metric = open_predictor(directory, args.accuracy)
    costs = [platform.costs(directory.space, args.confidence) for platform in platforms]
    problem = Problem(
        space=directory.space,
        predictor=predictor,
        costs=dict(zip(names, costs, strict=True)),
        limits=limits,
        objectives=[objective],
        min_top1=least_accuracy(args, accuracy_metric),
        accuracy=accuracy_metric,
        part=searched_part(directory.space, fixes, costs, predictor),
        confidence=args.confidence,
        among=answerable(directory),
        source=facts["arrays_sha256"],
    )
    return problem, facts


def _show(card: dict[str, Any], out: Path, say: Callable[[str], None]) -> None:
    """Print the figures of a card, its labels, and where the subnet is."""
    say("")
    width = max(len(line["name"]) for line in card["figures"]) + 2
    for line in card["figures"]:
        value = "unknown" if line["value"] is None else f"{line['value']:.4g} {line['unit']}"
        judged = f"within a factor of {line['expected_factor']:g}: " if "expected_factor" in line else ""
        say(f"{line['name']:{width}}{value:>12}  {judged}{line['source']}")
    for line in label_lines(card):
        say(line)
    runs = "" if card.get("weights") == NO_WEIGHTS else f"; python {out / 'load.py'} runs it"
    say(f"\nwritten to {out} (card.md has sources and uncertainties{runs})")
    if "weights" in card:
        say(card["weights"])


def _find_searcher(args: argparse.Namespace, problem: Problem | None = None) -> tuple[Searcher, str]:
    """The searcher that the options ask for, and the reason for it."""
    from search.searchers.catalogue import find_searcher
    from search.searchers.optuna_search import OptunaSearch

    searcher, why = find_searcher(args.algorithm, problem)
    given = {name: getattr(args, name) for name in ("sampler", "storage", "study") if getattr(args, name) is not None}
    if not given:
        return searcher, why
    if not isinstance(searcher, OptunaSearch):
        raise UserError(f"--{next(iter(given))} goes with --algorithm optuna; it is {args.algorithm}")
    return replace(searcher, **given), why


def query_name(args: argparse.Namespace, names: Sequence[str], limits: Sequence[Limit]) -> str:
    """A name for the folder, made of platforms, limits and options; with several platforms, each limit names its own."""
    several = len(names) > 1
    parts = ["+".join(names)]
    for limit in limits:
        where = f"-{limit.platform}" if several and METRICS[limit.metric].on_platform else ""
        parts.append(f"{limit.metric}{where}-{limit.bound:g}")
    if args.minimize is not None:
        parts.append(f"least-{args.minimize}")
    least = {name: getattr(args, f"min_{name}") for name in ACCURACIES}
    parts += [f"{name}-{value:g}" for name, value in least.items() if value is not None]
    if len(parts) == 1:
        parts.append("no-limits")
    if args.confidence is not None:
        parts.append(f"confidence-{args.confidence:g}")
    return "_".join([*parts, *args.fix]).replace("=", "-")


def _card(
    directory: RunFiles,
    platforms: Sequence[Platform],
    costs: Sequence[Costs],
    result: SearchResult,
    best: int,
    accuracy: Accuracy,
    problem: Problem,
) -> dict[str, Any]:
    from ofa.runs.subnet_weights import record_of_data
    from search.reports.card import build_card, facts_of_input, limits_plain

    space, data = directory.space, record_of_data(directory)
    genes = result.genes[best : best + 1]
    facts = {
        "run": directory.path.name,
        "space": f"{space.name} (fingerprint {space.fingerprint})",
        "limits": limits_plain(problem.limits, several=len(costs) > 1),
        **({} if problem.accuracy_only else {"least": str(problem.objectives[0])}),
        **({} if problem.min_top1 is None else {f"min_{problem.accuracy.name}": problem.min_top1}),
        **({} if problem.confidence is None else {"confidence": problem.confidence}),
        "algorithm": f"{result.algorithm}, {result.evaluations} predictions" + (", optimal" if result.optimal else ""),
        "input": facts_of_input(space, genes, data),
    }
    names = " and ".join(platform.name for platform in platforms)
    return build_card(f"Subnet of {space.name} for {names}", platforms, costs, genes, accuracy, facts)
