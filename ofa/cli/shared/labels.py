"""The energy labels of a subnet for its card: the letter on each platform, and how far the frugalest subnet is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import answerable, open_predictor
from ofa.errors import UserError
from ofa.footprint.label_entry import UNSTATED_FACTOR, Energy, Top1, label_entry, sentence, with_letter
from search.problem.objectives import Objective

if TYPE_CHECKING:
    from latency_tables import Costs, Platform
    from ofa.footprint.energy_label import Bounds
    from ofa.runs.run_files import RunFiles
    from ofa.space.search_space import Genes, SearchSpace
    from search.predictors.protocols import Predictor
    from search.reports.card import Accuracy

NO_PREDICTOR = "the run has no predictor of top-1"


def labels_of(
    run: RunFiles,
    platforms: Sequence[Platform],
    costs: Sequence[Costs],
    genes: Genes,
    accuracy: Accuracy,
    predictor: Predictor | None = None,
) -> dict[str, Any]:
    """The entry `labels` of a subnet's card: of every platform that states energy; nothing where none does.

    `costs` are those of the space on each platform; `genes` is the subnet, int8[1, genes]; `predictor` None: the run's,
    where there is one.
    """
    if predictor is None:
        predictor = own_predictor(run)
    entries = []
    for platform, cost in zip(platforms, costs, strict=True):
        entry = label_of(run.space, run, platform, cost.at(None), genes, top1_of(accuracy, platform.name), predictor)
        entries += [] if entry["joules"] is None else [entry]
    return {"labels": entries} if entries else {}


def label_of(
    space: SearchSpace,
    run: RunFiles | None,
    platform: Platform,
    costs: Costs,
    genes: Genes,
    top1: Top1,
    predictor: Predictor | None,
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """The entry of one platform; `run` None: the subnet lies in no run that is here; `bounds` None: the label in use."""
    ratio, note = None, "its run is not here" if run is None else "the accuracy is not top-1"
    if run is not None and top1.value is not None:
        ratio, note = frugality(run, costs, genes, predictor)
    return label_entry(
        on=facts_of(platform, costs),
        energy=energy_of(costs, genes),
        input_values=input_values(space, run),
        classes=space.classes,
        top1=top1,
        date=date.today().isoformat(),
        ratio=ratio,
        ratio_note=note,
        bounds=bounds,
    )


def own_predictor(run: RunFiles) -> Predictor | None:
    """The run's predictor of top-1; None: there is none, or it was fitted to another metric or to other weights."""
    try:
        return open_predictor(run, "top1")[0]
    except UserError:
        return None


def relabelled(card: dict[str, Any], value: float | None, standard_error: float | None, images: int) -> dict[str, Any]:
    """The entry `labels` of a card for weights that were trained further: other letters, and no ratio."""
    top1 = Top1(value=value, measured=True, standard_error=standard_error, images=images)
    unknown = {"ratio_to_frugalest": None, "ratio_note": "the other subnets of the run were not trained further"}
    labels = [with_letter(entry | unknown, top1) for entry in card.get("labels", [])]
    return {"labels": labels} if labels else {}


def label_lines(card: dict[str, Any]) -> list[str]:
    """The labels of a card as lines of text."""
    return [f"energy label: {sentence(entry)}" for entry in card.get("labels", [])]


def top1_of(accuracy: Accuracy, platform: str) -> Top1:
    """The accuracy as a label states it: top-1 alone, as the platform computes where that was measured, else in fp32."""
    if accuracy.metric.name != "top1":
        return Top1(value=None, measured=False)
    for under in accuracy.under:
        if under.platform == platform and under.value is not None:
            return Top1(
                value=under.value,
                measured=True,
                standard_error=under.standard_error,
                images=accuracy.images,
                numerics=under.numerics,
            )
    if accuracy.measured is None:
        return Top1(value=accuracy.predicted, measured=False)
    return Top1(value=accuracy.measured, measured=True, standard_error=accuracy.standard_error, images=accuracy.images)


def facts_of(platform: Platform, costs: Costs) -> dict[str, Any]:
    """A platform's entry on a label."""
    names = ("device", "runtime", "precision", "batch", "kind")
    stated = {name: getattr(platform, name) for name in names}
    source = None if costs.why_unknown("energy_mj") else costs.source("energy_mj")
    boundary = None if platform.energy is None else platform.energy.boundary
    return {"platform": platform.name, **stated, "boundary": boundary, "source": source}


def energy_of(costs: Costs, genes: Genes) -> Energy:
    """The energy of an inference with its p10 and p90.

    The p90 is the platform's. Below the median, the spread is taken to be the same, as a factor: p10 = p50^2 / p90. Where
    nothing was compared, both are the factor that the platform expects, or 2.
    """
    if costs.why_unknown("energy_mj") is not None:
        return Energy(joules=None, low=1.0, high=1.0, uncertainty="energy unknown")
    joules = float(costs.energy_mj(genes)[0]) / 1000
    bounds = costs.p50_p90("energy_mj", genes)
    error = costs.error("energy_mj")
    if bounds is None or error is None:
        stated = None if error is None else error.expected_factor
        factor = stated or UNSTATED_FACTOR
        why = "as the platform's error is unknown" if stated is None else "as the platform states without comparison"
        return Energy(joules=joules, low=1 / factor, high=factor, uncertainty=f"p10, p90: a factor of {factor:g}, {why}")
    median, high = (float(value[0]) / 1000 / joules for value in bounds)
    words = f"p90 from {error.networks} networks that were not fitted; p10 as far below the median"
    return Energy(joules=joules, low=median**2 / high, high=high, uncertainty=words)


def input_values(space: SearchSpace, run: RunFiles | None) -> int:
    """Values of a native input: those of the images that the run keeps, at most those at the space's largest resolution."""
    largest = space.in_channels * space.resolutions[-1] ** 2
    kept = None if run is None else run.images("train")
    return largest if kept is None else min(largest, int(kept.pixels[0].size))


def frugality(run: RunFiles, costs: Costs, genes: Genes, predictor: Predictor | None) -> tuple[float | None, str]:
    """Energy over that of the frugalest subnet of the run that is predicted to be as accurate; and what it is from.

    None, with the reason, where there is no exact front.
    """
    import numpy as np

    from search.problem.problem import Problem
    from search.searchers.exact import Exact, why_not_exact
    from search.searchers.listed import Listed

    if predictor is None:
        return None, NO_PREDICTOR
    if costs.why_unknown("energy_mj") is not None:
        return None, "energy unknown"
    name = costs.platform.name
    try:
        problem = Problem(
            space=run.space,
            predictor=predictor,
            costs={name: costs},
            objectives=[Objective("energy_mj", name)],
            min_top1=float(predictor.top1(genes)[0]),
            part=costs.covered,
            among=answerable(run),
        )
        why = None if problem.among is not None else why_not_exact(problem)
        if why is not None:
            return None, f"no exact front: {why}"
        searcher = Exact() if problem.among is None else Listed()
        found = searcher.search(problem, np.random.default_rng(0), 1_000_000)
    except UserError as error:
        return None, f"no exact front: {error}"
    least = float(costs.energy_mj(found.genes[:1])[0])
    return float(costs.energy_mj(genes)[0]) / least, "accuracy as predicted, from the exact front of the run"
