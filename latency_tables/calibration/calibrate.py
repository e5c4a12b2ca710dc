"""A platform from end-to-end timings of a few networks: an operation-level model, fitted with a prior.

Latency is linear in the model's coefficients (`cost_models.op_model`), but a handful of timings cannot tell two dozen of
them apart. So the fit starts from a prior: the usual division of an inference's time among the terms (`calibration.prior`).
It scales the prior as a whole, and multiplies each coefficient by a factor u_k that is as close to 1 as the timings allow
(ridge regression, non-negative):

    minimise  sum_i (predicted_i / measured_i - 1)^2  +  (TIMING_ERROR / PRIOR_DEVIATION)^2  sum_k (u_k - 1)^2,   u_k >= 0

With thousands of timings the second sum is negligible. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from latency_tables.arrays import Floats
from latency_tables.blocks.fused_ops import OP_KINDS, FusedOp, fuse
from latency_tables.blocks.memory import BYTES
from latency_tables.calibration.prior import PRIOR
from latency_tables.calibration.requirements import check_networks, merge_repeats, with_energy
from latency_tables.calibration.timings_csv import Timing
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpTime
from latency_tables.cost_models.uncertainty import ErrorReport, compare
from latency_tables.platform import Platform
from ofa.errors import UserError
from ofa.numerics.stated import numerics_of
from ofa.space.shapes import BlockShape, walk_blocks

TIMING_ERROR = 0.01
"""Relative error expected of a timing."""
PRIOR_DEVIATION = 0.6
"""Relative deviation expected of a device's coefficient from the scaled prior. On the ten devices of the published
specialised nets half of this value, and twice of it, give about the same error (docs/platforms.md)."""
MOST_LEFT_OUT = 50
"""Most networks for leave-one-out; of more, a tenth is left out at a time."""

TERMS = tuple((kind, item.name) for kind in OP_KINDS for item in fields(OpTime))
"""The coefficients of a model, in the order of the columns of `block_terms`."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Description of the timed device; the fields are those of `Platform`."""

    name: str
    device: str
    runtime: str
    source: str
    precision: str = "fp32"
    batch: int = 1
    threads: int | None = None
    licence: str = "yours: your measurements"
    date: str | None = None


def calibrate(timings: Sequence[Timing], subject: Subject, prior: LatencyModel = PRIOR) -> Platform:
    """A platform whose model is fitted to timings; its error is cross-validated (leave-one-out up to 50 networks).

    Raises:
        UserError: the timings cannot identify the model: too few networks, too alike, contradicting each other.
    """
    stated = _stated(timings)
    timings = merge_repeats(timings, lambda timing: (timing.space.fingerprint, timing.subnet))
    _check(timings)
    terms = network_terms(timings, subject.precision, subject.batch)
    latency_ms = np.array([timing.latency_ms for timing in timings])
    weights = prior_weights(prior, subject.precision, subject.batch)
    predicted_ms = held_out(terms, latency_ms, weights)
    error = report(predicted_ms, latency_ms)
    blocks = (block for timing in timings for block in walk_blocks(timing.space, timing.subnet))
    model = replace(to_model(fit(terms, latency_ms, weights)), seen=seen(blocks))
    names = sorted({timing.space.name for timing in timings})
    sizes = sorted({timing.subnet.resolution for timing in timings})
    return Platform(
        **vars(subject),
        numerics=numerics_of(subject.precision),
        kind="calibrated",
        description="A model of operations fitted to end-to-end timings of whole networks with `ofa calibrate`.",
        details={
            "networks": f"{len(timings)} of {', '.join(names)}",
            "resolutions": f"{sizes[0]} to {sizes[-1]}",
            "latencies": f"{latency_ms.min():g} to {latency_ms.max():g} ms",
        },
        error=error,
        latency=model,
        energy=_energy(timings, predicted_ms, subject.batch, *stated),
    )


# -- the linear model ------------------------------------------------------------------------------------------------------


def block_terms(block: BlockShape, precision: str, batch: int) -> Floats:
    """Amounts of a block that `LatencyModel.block_ms` multiplies by the coefficients `TERMS`, float64[terms]."""
    return operation_terms(fuse(block), precision, batch)


def operation_terms(operations: Iterable[FusedOp], precision: str, batch: int) -> Floats:
    """The same of executed operations."""
    megabytes = BYTES[precision] * 1e-6
    terms = np.zeros((len(OP_KINDS), 4))
    for op in operations:
        row = terms[OP_KINDS.index(op.kind)]
        row += (op.macs * 1e-6 * batch, op.weights * megabytes, op.activations * megabytes * batch, 1)
    return terms.ravel()


def network_terms(timings: Iterable[Timing], precision: str, batch: int) -> Floats:
    """The terms of whole networks, float64[networks, terms]."""
    known: dict[BlockShape, Floats] = {}
    rows = []
    for timing in timings:
        total = np.zeros(len(TERMS))
        for block in walk_blocks(timing.space, timing.subnet):
            if block not in known:
                known[block] = block_terms(block, precision, batch)
            total += known[block]
        rows.append(total)
    return np.array(rows)


def prior_weights(prior: LatencyModel, precision: str, batch: int) -> Floats:
    """A prior's coefficients for a device of another precision and batch, float64[terms].

    Kept is the division of an inference's time among the terms, not the coefficient per byte or per image: a device that
    runs larger batches, or narrower numbers, is taken to gain by them.
    """
    megabytes = BYTES[precision] / BYTES["fp32"]
    scale = {"ms_per_mmac": batch, "ms_per_weight_mb": megabytes, "ms_per_activation_mb": megabytes * batch}
    times = [prior.ops.get(kind) or prior.ops.get("default") or OpTime() for kind in OP_KINDS]
    return np.array([getattr(time, item.name) / scale.get(item.name, 1) for time in times for item in fields(OpTime)])


def fit(terms: Floats, latency_ms: Floats, prior: Floats) -> Floats:
    """Coefficients, float64[terms], non-negative; a term that is 0 in the prior stays 0."""
    from scipy.optimize import nnls

    used = prior > 0
    shares = terms[:, used] * prior[used] / latency_ms[:, None]
    whole = shares.sum(axis=1)
    scale = whole.sum() / (whole @ whole)  # factor on the whole prior with the least relative squared error
    ridge = TIMING_ERROR / PRIOR_DEVIATION * np.eye(shares.shape[1])
    moves, _ = nnls(np.vstack([shares * scale, ridge]), np.concatenate([np.ones(len(terms)), ridge.sum(axis=1)]))
    weights = np.zeros(len(prior))
    weights[used] = prior[used] * scale * moves
    return weights


def held_out(terms: Floats, latency_ms: Floats, prior: Floats) -> Floats:
    """Prediction of each network by a fit without it, float64[networks]; 10-fold beyond `MOST_LEFT_OUT` networks."""
    count = len(latency_ms)
    folds = np.arange(count) % (count if count <= MOST_LEFT_OUT else 10)
    predicted = np.empty(count)
    for fold in range(folds.max() + 1):
        out = folds == fold
        predicted[out] = terms[out] @ fit(terms[~out], latency_ms[~out], prior)
    return predicted


def to_model(weights: Floats) -> LatencyModel:
    """Coefficients as a latency model, rounded to five digits."""
    ops: dict[str, OpTime] = {}
    for kind in OP_KINDS:
        found = {name: float(f"{w:.5g}") for (k, name), w in zip(TERMS, weights, strict=True) if k == kind}
        ops[kind] = OpTime(**found)
    return LatencyModel(ops=ops)


def seen(blocks: Iterable[BlockShape]) -> dict[str, tuple[float, ...]]:
    """The range of feature-map elements by kind of operation, for `LatencyModel.seen`."""
    return seen_operations(op for block in set(blocks) for op in fuse(block))


def seen_operations(operations: Iterable[FusedOp]) -> dict[str, tuple[float, ...]]:
    """The same of executed operations."""
    sizes: dict[str, set[int]] = {}
    for op in operations:
        sizes.setdefault(op.kind, set()).add(op.activations)
    return {kind: (float(min(found)), float(max(found))) for kind, found in sorted(sizes.items())}


# -- what the data determine -----------------------------------------------------------------------------------------------


def _check(timings: Sequence[Timing]) -> None:
    """Refuse timings that cannot identify a model's terms."""
    advice = "time random networks of different sizes and resolutions"
    check_networks([timing.macs for timing in timings], advice)
    sizes = {timing.subnet.resolution for timing in timings}
    if len(sizes) == 1:
        raise UserError(
            f"all networks are at resolution {sizes.pop()}; at least two are needed to tell what grows with the image from "
            f"what does not: {advice}"
        )


def report(predicted: Floats, measured: Floats, what: str = "timings") -> ErrorReport:
    """The error of predictions of networks by fits without them; raises `UserError` where they cannot be right."""
    how = "each network predicted by a fit without it (leave-one-out)"
    if len(measured) > MOST_LEFT_OUT:
        how = "each network predicted by a fit without its tenth of the networks (10-fold)"
    return _checked(compare(predicted, measured, how), "networks left out are", what)


def _checked(report: ErrorReport, who: str, what: str) -> ErrorReport:
    """A report that says so where it fails its check; raises `UserError` where its measurements cannot be right."""
    if report.verdict == "refused":
        raise UserError(
            f"{who} predicted with a mean error of {report.mape:.0%}: these {what} do not follow from these networks (rows "
            "mixed up, another unit, or not all of one device and batch?)"
        )
    return report.marked("time more, and more diverse, networks")


def _energy(
    timings: Sequence[Timing], predicted_ms: Floats, batch: int, meters: str, boundary: str | None
) -> EnergyModel | None:
    """Power x time, where enough networks have an energy; its power is the mean over them."""
    known = with_energy(timings)
    if not known.any():
        return None
    latency_ms = np.array([timing.latency_ms for timing in timings])[known]
    energy_mj = np.array([timing.energy_mj for timing in timings if timing.energy_mj is not None])
    power_w = energy_mj * batch / latency_ms
    others_w = (power_w.sum() - power_w) / (len(power_w) - 1)
    note = "each network by the latency predicted without it, times the mean power of the others"
    return EnergyModel(
        source=f"power x time; power: mean of measured energy / latency of {len(power_w)} networks{meters}",
        boundary=boundary,
        power_w=float(f"{power_w.mean():.5g}"),
        error=_checked(
            compare(others_w * predicted_ms[known] / batch, energy_mj, note), "energies of networks left out are", "energies"
        ),
    )


def _stated(timings: Sequence[Timing]) -> tuple[str, str | None]:
    """Meters of measured energies as the end of a source, and their boundary; raises `UserError` where they have several."""
    known = [timing for timing in timings if timing.energy_mj is not None]
    if not known:
        return "", None
    for timing in known:
        if timing.boundary != known[0].boundary:
            raise UserError(
                f"{timing.place}: boundary is {timing.boundary!r}; {known[0].place} has {known[0].boundary!r}: a "
                "platform's energies are measured at one boundary"
            )
    meters = ", ".join(dict.fromkeys(timing.meter for timing in known if timing.meter))
    return f", metered with {meters}" if meters else "", known[0].boundary or None
