"""The options of `ofa query` and `ofa pareto` as a problem: platforms, limits, objective, a subspace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.measure.accuracy import ACCURACIES, AccuracyMetric
from search.problem.limits import Limit
from search.problem.objectives import Objective

if TYPE_CHECKING:
    from latency_tables import Costs, Platform
    from ofa.space.search_space import SearchSpace
    from search.predictors.protocols import Predictor


def true_or_false(word: str) -> bool:
    """A truth value as YAML spells it; raises `ValueError` for any other word."""
    return ("false", "true").index(word) == 1


FIXABLE: dict[str, Callable[[str], Any]] = {
    "kernels": int,
    "depths": int,
    "expands": float,
    "se": true_or_false,
    "resolutions": int,
    "widths": int,
}
NOUNS = {int: "whole numbers", float: "numbers", true_or_false: "true or false,"}


@dataclass(frozen=True)
class GivenLimit:
    """One limit as given on the command line: on every platform (None), or on a named one."""

    value: float
    platform: str | None = None


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """An option per metric that can be limited."""
    for name, metric in METRICS.items():
        parser.add_argument(
            flag(name),
            action="append",
            default=[],
            metavar="X",
            help=f"at most X: {metric.meaning}; P=X: on platform P only",
        )


def add_objective_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that change the objective from the most accurate subnet to the cheapest."""
    parser.add_argument(
        "--minimize",
        metavar="METRIC",
        help=f"search the subnet with the lowest METRIC, one of {', '.join(METRICS)}; P=METRIC: on platform P",
    )
    for name, metric in ACCURACIES.items():
        words = f"only subnets with at least this {metric.words}, in [0, 1], e.g. 0.88"
        parser.add_argument(f"--min-{name}", type=float, metavar="X", help=words)


def add_fix_argument(parser: argparse.ArgumentParser) -> None:
    """The option that confines a search to a subspace."""
    parser.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="WHAT=VALUES",
        help=f"search only subnets with these choices, e.g. kernels=3 or depths=2,3; WHAT is one of {', '.join(FIXABLE)} "
        "(widths=N: the N widest of each stage)",
    )


def flag(metric: str) -> str:
    """The option of a metric."""
    return f"--{metric.replace('_', '-')}"


def load_platforms(words: Sequence[str]) -> list[Platform]:
    """Platforms by name or file; raises `UserError` when two have one name."""
    from latency_tables import load_platform

    platforms = [load_platform(word) for word in words]
    names = [platform.name for platform in platforms]
    if not names:
        raise UserError("--platform is missing; give one or more by name or YAML file")
    if len(set(names)) < len(names):
        raise UserError(f"--platform is {', '.join(names)}; must be distinct")
    return platforms


def parse_bounds(args: argparse.Namespace) -> dict[str, list[GivenLimit]]:
    """The limits of each metric as given; raises `UserError` for an invalid one."""
    return {metric: [_bound(flag(metric), word) for word in getattr(args, metric)] for metric in METRICS}


def _bound(option: str, word: str) -> GivenLimit:
    platform, separator, number = word.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        raise UserError(f"{option} is {word!r}; expected a number, or PLATFORM=NUMBER") from None
    if not (isfinite(value) and value > 0):
        raise UserError(f"{option} is {word}; must be finite and above 0")
    return GivenLimit(value, platform if separator else None)


def limits_of(bounds: dict[str, list[GivenLimit]], names: Sequence[str]) -> list[Limit]:
    """The limits on the named platforms: a platform's own limit, else the one for all.

    Raises:
        UserError: a limit is given twice, or for a platform that is not given; or a metric that is the same on all platforms
            is limited on one of them.
    """
    limits = []
    for metric, given in bounds.items():
        by_platform = {bound.platform: bound.value for bound in given}
        if len(by_platform) < len(given):
            raise UserError(f"{flag(metric)} is given twice for the same platforms; give it once")
        own = [name for name in by_platform if name is not None]
        for name in own:
            if name not in names:
                raise UserError(f"{flag(metric)} is for platform {name!r}; asked about are {', '.join(names)}")
            if not METRICS[metric].on_platform:
                raise UserError(f"{flag(metric)} is for platform {name!r}, but the same on all; give a number alone")
        everywhere = by_platform.get(None)
        places = names if METRICS[metric].on_platform else names[:1]
        values = {name: by_platform.get(name, everywhere) for name in places}
        limits += [Limit(metric, value, name) for name, value in values.items() if value is not None]
    return limits


def objective_of(word: str | None, names: Sequence[str]) -> Objective:
    """The objective of `--minimize`, or accuracy without it; raises `UserError` for an unknown metric or platform."""
    if word is None:
        return Objective()
    place, separator, metric = word.rpartition("=")
    if metric not in METRICS or (separator and place not in names):
        raise UserError(
            f"--minimize is {word!r}; expected one of {', '.join(METRICS)}, after PLATFORM= of {', '.join(names)}, or alone"
        )
    if METRICS[metric].on_platform and not separator and len(names) > 1:
        raise UserError(f"--minimize is {metric}, but on which platform? Give --minimize {names[0]}={metric}, say")
    return Objective(metric, place or names[0])


def least_accuracy(args: argparse.Namespace, held: AccuracyMetric) -> float | None:
    """The least accuracy, from `--min-NAME`; None without it. Raises `UserError` if the predictor has another metric."""
    for name, metric in ACCURACIES.items():
        value = getattr(args, f"min_{name}")
        if value is not None and metric is not held:
            raise UserError(
                f"--min-{name} is {value:g}, but the predictor is fitted to {held.words}: give --min-{held.name}, or run "
                f"`ofa predictor {args.run} --accuracy {name}`"
            )
    least: float | None = getattr(args, f"min_{held.name}")
    return least


def parse_fixes(words: Sequence[str]) -> dict[str, Any]:
    """`--fix` options as arguments of `ofa.space.subspace.only`; raises `UserError` for an invalid one."""
    fixes: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or name not in FIXABLE:
            raise UserError(f"--fix is {word!r}; expected WHAT=VALUES, WHAT being one of {', '.join(FIXABLE)}")
        if name in fixes:
            raise UserError(f"--fix {name} is given twice; give all values at once: {name}=A,B")
        try:
            values = [FIXABLE[name](value) for value in text.split(",")]
        except ValueError:
            raise UserError(f"--fix is {word!r}; expected {NOUNS[FIXABLE[name]]} separated by commas") from None
        if name == "widths" and len(values) > 1:
            raise UserError(f"--fix is {word!r}; expected one number: how many widths, from the widest")
        fixes[name] = values[0] if name == "widths" else values
    return fixes


def searched_part(
    space: SearchSpace, fixes: dict[str, Any], costs: Sequence[Costs], predictor: Predictor | None = None
) -> SearchSpace | None:
    """The subspace to search: the fixed choices, at resolutions that the predictor and all platforms know.

    A resolution at which a platform has no costs is left out, with a warning on standard error. Returns None where
    the whole space is searched.

    Raises:
        UserError: a fixed choice is not in the space, or the predictor and the platforms have no resolution in common.
    """
    from ofa.space.subspace import only
    from search.predictors.protocols import AtResolutions

    part = only(space, **fixes)
    known = list(part.resolutions)
    if isinstance(predictor, AtResolutions):
        known = [size for size in known if size in predictor.resolutions]
        if not known:
            wanted, there = (", ".join(map(str, sizes)) for sizes in (part.resolutions, predictor.resolutions))
            raise UserError(f"the predictor knows resolutions {there} px; searched are {wanted} px")
    for cost in costs:
        if cost.covered is None:
            continue
        lacking = [size for size in known if size not in cost.resolutions]
        known = [size for size in known if size in cost.resolutions]
        if not known:
            wanted, there = (", ".join(map(str, sizes)) for sizes in (part.resolutions, cost.resolutions))
            raise UserError(f"platform {cost.platform.name} has costs at {there} px; searched are {wanted} px")
        if lacking:
            sizes = ", ".join(map(str, lacking))
            print(f"warning: platform {cost.platform.name} has no costs at {sizes} px; not searched there", file=sys.stderr)
    part = only(part, resolutions=known)
    return None if part == space else part
