"""A platform from measured times: outliers, medians, correction by whole networks, error on held-out ones. No torch here."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latency_tables.arrays import Floats, Mask
from latency_tables.cost_models.block_table import BlockTable, MeasuredBlock, describe, op_to_list
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport, compare
from latency_tables.on_device.results import ENERGY, Row
from latency_tables.on_device.timing import CALM_RATIO, REFERENCE, VISITS, calm_limit
from latency_tables.platform import Platform
from latency_tables.profiling.plan import EMPTY_ITEM, SpacePlan
from ofa.errors import UserError
from ofa.space.shapes import BlockShape, walk_blocks

LEAST_RUNS = 5
"""Fewest calm runs of an item; with fewer, all of its runs count."""
OUTLIER = 5.0
"""A run is rejected if it is slower than the median of its visit by more than this many standard deviations. ..."""
SIGMA = 1.4826
"""... A standard deviation is taken as this times the median absolute deviation (exact for normal distributions), ..."""
LEAST_SIGMA = 0.01
"""... but at least as this fraction of the median, because clocks have a finite step."""


@dataclass(frozen=True)
class Times:
    """The runs of an item."""

    kept_ms: Floats
    rejected: int
    calm: bool = True
    """True: the processor was at its full speed in these runs."""

    @property
    def median_ms(self) -> float:
        """Median of the runs kept."""
        return float(np.median(self.kept_ms))


def reject_outliers(visits_ms: Sequence[Floats], rejected: int = 0) -> Times:
    """Drop runs far slower than others of their visit; see `OUTLIER`. `rejected`: the number dropped before."""
    kept = []
    for times_ms in visits_ms:
        median = np.median(times_ms)
        sigma = max(SIGMA * float(np.median(np.abs(times_ms - median))), LEAST_SIGMA * float(median))
        kept.append(times_ms[times_ms <= median + OUTLIER * sigma])
    kept_ms = np.concatenate(kept)
    return Times(kept_ms, rejected + sum(map(len, visits_ms)) - len(kept_ms))


def assemble(
    plan: SpacePlan,
    name: str,
    rows: Sequence[Row],
    facts: Mapping[str, str],
    energy: EnergyModel,
    watts: Mapping[str, float],
    place: str,
) -> Platform:
    """The platform that the measured rows of a plan give: every visit of every item, from the file `place`.

    `watts` is the power in W while a block or a network runs, by item, empty where it was not measured; with it, error and
    constant of `energy` are filled in.

    Raises:
        UserError: naming the first block that is missing.
    """
    times, batch = _by_item(plan, rows, place), plan.settings.batch
    # A fast call, not the median: on a busy machine, calls of a few microseconds scatter by more than a small block takes.
    empty_ms = float(np.quantile(times[EMPTY_ITEM].kept_ms, 0.1))
    alone_ms = {item: _beside(times[item].median_ms, empty_ms, plan.blocks[item], place) for item in plan.blocks}
    whole_ms = {item: times[item].median_ms for item in plan.networks}
    intercept, factor, error = _corrected(plan, alone_ms, whole_ms)
    blocks_mj: dict[str, float] = {}
    if watts:
        alone_mj, whole_mj = ({item: watts[item] * ms / batch for item, ms in of.items()} for of in (alone_ms, whole_ms))
        network_mj, factor_mj, energy_error = _corrected(plan, alone_mj, whole_mj)
        blocks_mj = {item: rounded(factor_mj * mj) for item, mj in alone_mj.items()}
        energy = replace(energy, network_mj=network_mj, error=energy_error)
    blocks = tuple(
        _measurement(shape, times[item], alone_ms[item], blocks_mj.get(item)) for item, shape in plan.blocks.items()
    )
    device = facts.get("accelerator", facts["processor"])
    return Platform(
        name=name,
        device=device,
        runtime=facts["runtime"],
        precision="fp32",
        batch=batch,
        threads=int(facts["threads"]),
        kind="measured",
        description=f"The blocks of space {plan.space.name} and whole subnets of it, measured with `ofa profile`.",
        source="clock readings around each block, while chains of blocks run as in a network",
        licence="yours: your measurements",
        date=datetime.date.today().isoformat(),
        details={key: fact for key, fact in facts.items() if key not in ("runtime", "threads")}
        | _details(plan, times, empty_ms, facts),
        error=error,
        table=BlockTable(
            space=plan.space.name, fingerprint=plan.space.fingerprint, intercept_ms=intercept, factor=factor, blocks=blocks
        ),
        energy=energy,
    )


def network_times(plan: SpacePlan, rows: Sequence[Row], place: str) -> Floats:
    """Median times of a plan's whole networks in ms, in their order; `UserError` where a visit is missing."""
    times = _by_item(plan, rows, place)
    return np.array([times[item].median_ms for item in plan.networks])


def _corrected(
    plan: SpacePlan, of_block: Mapping[str, float], of_network: Mapping[str, float]
) -> tuple[float, float, ErrorReport]:
    """Intercept and factor of the sum of blocks (time or energy, by item), fitted to networks; the error on others."""
    by_shape = {shape: of_block[item] for item, shape in plan.blocks.items()}
    nets = (*plan.networks.values(), plan.space.smallest())
    *summed, smallest = (sum(by_shape[b] for b in walk_blocks(plan.space, net)) for net in nets)
    sums, whole = np.array(summed), np.array([of_network[item] for item in plan.networks])
    fit = plan.settings.fit_networks
    intercept, factor = map(rounded, correction(sums[:fit], whole[:fit], smallest))
    return intercept, factor, report(intercept + factor * sums[fit:], whole[fit:])


def correction(sums: Floats, whole: Floats, smallest: float) -> tuple[float, float]:
    """Intercept and factor with the least relative squared error of intercept + factor x sum, for times or energies.

    The intercept is 0 and the factor the mean ratio, where the sums are too alike, or the measurements too noisy, to tell
    the two apart. The latter shows where a fit of both predicts less than half as much for the smallest subnet (`smallest`:
    the sum of its blocks) as the mean ratio does.
    """
    ratio = float((whole / sums).mean())
    if len(sums) < 3 or sums.max() < 1.05 * sums.min():
        return 0.0, ratio
    columns = np.stack([1 / whole, sums / whole], axis=1)
    intercept, factor = map(float, np.linalg.lstsq(columns, np.ones(len(sums)), rcond=None)[0])
    believable = factor > 0 and intercept + factor * smallest > 0.5 * ratio * smallest
    return (intercept, factor) if believable else (0.0, ratio)


def report(predicted: Floats, whole: Floats) -> ErrorReport:
    """Compare predictions of whole networks with measured times or energies; the note says so if they are too far off."""
    note = "corrected sum of blocks against whole random subnets that were not used for the correction"
    return compare(predicted, whole, note).marked("measure again on a quieter machine")


def _of_visits(visits: Sequence[tuple[Floats, Mask]], preempted: int) -> Times:
    """The calm runs of an item's visits (each: times in ms, and which runs are calm); all runs where hardly any is calm."""
    calm = [times_ms[which] for times_ms, which in visits if which.any()]
    if sum(map(len, calm)) < LEAST_RUNS:
        return replace(reject_outliers([times_ms for times_ms, _ in visits], preempted), calm=False)
    return reject_outliers(calm, preempted + sum(int((~which).sum()) for _, which in visits))


def _by_item(plan: SpacePlan, rows: Sequence[Row], place: str) -> dict[str, Times]:
    """The calm runs of every item, scaled to one speed of the processor by their references."""
    visits: dict[str, list[tuple[Floats, Mask]]] = {item: [] for item in plan.timing.items}
    preempted = dict.fromkeys(visits, 0)
    all_ms = np.array([ms for row in rows if row.item == REFERENCE for ms in row.times_ms] or [1.0])
    limit_ms = calm_limit(list(all_ms))
    usual_ms = float(np.median(all_ms[all_ms <= limit_ms]))
    reference_ms = np.ones(1)
    for _, _, item, count, times_ms in rows:
        if item.startswith(ENERGY):
            continue
        if item == REFERENCE:
            reference_ms = np.array(times_ms)
            continue
        visits[item].append((np.array(times_ms) * usual_ms / reference_ms, reference_ms <= limit_ms))
        preempted[item] += count
    for item, found in visits.items():
        if len(found) < VISITS:
            what = f" ({describe(plan.blocks[item])})" if item in plan.blocks else ""
            raise UserError(
                f"{place}: item {item!r}{what} has {len(found)} of {VISITS} visits; run the same command again to continue"
            )
    return {item: _of_visits(found, preempted[item]) for item, found in visits.items()}


def _beside(median_ms: float, empty_ms: float, shape: BlockShape, place: str) -> float:
    """Time of a block, minus the time of the call itself."""
    if median_ms <= empty_ms:
        raise UserError(
            f"{place}: {describe(shape)} takes {median_ms:.4g} ms, no longer than an empty call ({empty_ms:.4g} ms): too "
            "disturbed to be used; delete the file and measure again on a quieter machine"
        )
    return median_ms - empty_ms


def _measurement(shape: BlockShape, times: Times, alone_ms: float, energy_mj: float | None) -> MeasuredBlock:
    scale = alone_ms / times.median_ms
    p10, median, p90 = (rounded(scale * float(value)) for value in np.quantile(times.kept_ms, [0.1, 0.5, 0.9]))
    return MeasuredBlock(
        kind=shape.kind,
        main=tuple(tuple(op_to_list(op)) for op in shape.main),
        shortcut=tuple(tuple(op_to_list(op)) for op in shape.shortcut),
        residual=shape.residual,
        median_ms=median,
        p10_ms=p10,
        p90_ms=p90,
        count=len(times.kept_ms),
        rejected=times.rejected,
        energy_mj=energy_mj,
    )


def _details(plan: SpacePlan, times: Mapping[str, Times], empty_ms: float, facts: Mapping[str, str]) -> dict[str, str]:
    runs, rejected = sum(len(t.kept_ms) for t in times.values()), sum(t.rejected for t in times.values())
    fit, test = plan.settings.fit_networks, plan.settings.test_networks
    told = not facts.get("system", "").startswith("Windows")  # see `latency_tables.on_device.timing`
    preempted = "preempted" if told else "preempted (how many is unknown: this system does not tell)"
    return {
        "resolutions": ", ".join(map(str, plan.space.resolutions)),
        "runs": f"{runs + rejected}, {rejected} of them rejected",
        "rejected": f"{preempted}; or slow moments, a fixed computation before and after the run taking above "
        f"{CALM_RATIO:g} times its 10th percentile; or above the visit's median by {OUTLIER:g} standard deviations",
        "without calm runs": f"{sum(not t.calm for t in times.values())} blocks or networks; all of their runs count",
        "speed": "runs are scaled by that fixed computation to its median in calm runs",
        "timed seconds": f"{sum(float(t.kept_ms.sum()) for t in times.values()) / 1000:.0f}",
        "empty call": f"{rounded(empty_ms * 1000)} us, subtracted from every block",
        "whole networks": f"{fit + test} random subnets, {fit} for the correction, {test} held out",
    }


def rounded(value: float) -> float:
    """Round to five significant digits; a timing has no more."""
    return float(f"{value:.5g}")
