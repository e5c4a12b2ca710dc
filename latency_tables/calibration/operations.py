"""A platform from measured networks that are given as lists of operations: latency and energy, each fitted per operation.

Both are linear in the amounts of an operation (multiply-accumulates, bytes of weights and of feature maps, its start), so
both are fitted as `calibration.calibrate` fits latency, from a prior that has every term of every kind of operation. Energy
is that of the whole device, waiting included. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from latency_tables.arrays import Floats
from latency_tables.blocks.fused_ops import OP_KINDS
from latency_tables.calibration.calibrate import (
    Subject,
    fit,
    held_out,
    operation_terms,
    prior_weights,
    report,
    seen_operations,
    to_model,
)
from latency_tables.calibration.operations_csv import ListedNetwork
from latency_tables.calibration.prior import EVERY_KIND
from latency_tables.calibration.requirements import check_networks, merge_repeats, with_energy
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpEnergy
from latency_tables.cost_models.uncertainty import compare
from latency_tables.platform import Platform


@dataclass(frozen=True, kw_only=True)
class Held:
    """Measurements of networks, and what fits without each network, and without each family, predict."""

    measured: Floats
    without_network: Floats
    without_family: Floats | None
    """None: the networks are of one family, or no family is given."""

    def family_error(self) -> str | None:
        """The error with a whole family left out, in words; None where there is none."""
        if self.without_family is None:
            return None
        found = compare(self.without_family, self.measured, "")
        return f"mean {found.mape:.1%}, largest {found.worst:.1%}"


def calibrate_operations(networks: Sequence[ListedNetwork], subject: Subject, prior: LatencyModel = EVERY_KIND) -> Platform:
    """A platform whose latency and energy per operation are fitted to measured networks; cross-validated.

    Several rows of one network are averaged; `prior` divides a network's time, and its energy, among the terms.

    Raises:
        UserError: the networks cannot identify the model: too few, too alike, or contradicting each other.
    """
    networks = merge_repeats(networks, lambda network: network.name)
    check_networks([network.macs for network in networks], "measure networks of different sizes and kinds")
    terms = np.array([operation_terms(network.operations, subject.precision, subject.batch) for network in networks])
    weights = prior_weights(prior, subject.precision, subject.batch)
    families = [network.family for network in networks]
    latency_ms = np.array([network.latency_ms for network in networks])
    latency = predictions(terms, latency_ms, weights, families)
    fuse_add = not any(op.kind == "elementwise" for network in networks for op in network.operations)
    model = replace(
        to_model(fit(terms, latency_ms, weights)),
        fuse_add=fuse_add,
        seen=seen_operations(op for network in networks for op in network.operations),
    )
    energy, family_error = _energy(networks, terms, weights, subject.batch)
    details = {
        "networks": f"{len(networks)}, given as lists of operations",
        "latencies": f"{latency_ms.min():g} to {latency_ms.max():g} ms",
    }
    idle_w = [network.idle_w for network in networks if network.idle_w is not None]
    if idle_w:
        details["idle power"] = f"{np.median(idle_w):.3g} W (median), part of the energy"
    for what, found in (("latency", latency.family_error()), ("energy", family_error)):
        if found is not None:
            details[f"error of {what}, a whole family left out"] = found
    if energy is not None:
        energy = replace(energy, fuse_add=fuse_add)
    return Platform(
        **vars(subject),
        kind="calibrated",
        description="Models of operations, of latency and of energy, fitted to whole networks with `ofa calibrate`."
        if energy is not None
        else "A model of operations fitted to whole networks with `ofa calibrate`.",
        details=details,
        error=report(latency.without_network, latency_ms),
        latency=model,
        energy=energy,
    )


def predictions(terms: Floats, measured: Floats, prior: Floats, families: Sequence[str]) -> Held:
    """Each network predicted by a fit without it, and by one without its family."""
    groups = np.array(families)
    by_family = None
    if len(set(families)) > 1 and all(families):
        by_family = np.empty(len(measured))
        for family in set(families):
            out = groups == family
            by_family[out] = terms[out] @ fit(terms[~out], measured[~out], prior)
    return Held(measured=measured, without_network=held_out(terms, measured, prior), without_family=by_family)


def to_energy(weights: Floats) -> dict[str, OpEnergy]:
    """Coefficients in mJ per term of a batch as those of an energy model, rounded to five digits."""
    by_kind = weights.reshape(len(OP_KINDS), -1)
    names = ("pj_per_mac", "pj_per_weight_byte", "pj_per_activation_byte", "overhead_uj")
    # 1 mJ per million operations, or per MB, is 1,000 pJ per operation, or per byte; 1 mJ is 1,000 uJ.
    return {
        kind: OpEnergy(**{name: float(f"{1000 * weight:.5g}") for name, weight in zip(names, row, strict=True)})
        for kind, row in zip(OP_KINDS, by_kind, strict=True)
    }


def _energy(
    networks: Sequence[ListedNetwork], terms: Floats, prior: Floats, batch: int
) -> tuple[EnergyModel | None, str | None]:
    """Energy per operation, where enough networks have an energy, with its error on families left out."""
    known = with_energy(networks)
    if not known.any():
        return None, None
    energy_mj = batch * np.array([network.energy_mj for network in networks if network.energy_mj is not None])
    families = [network.family for network in networks if network.energy_mj is not None]
    held = predictions(terms[known], energy_mj, prior, families)
    model = EnergyModel(
        source=f"energy per operation, fitted to the measured energies of {len(energy_mj)} networks",
        ops=to_energy(fit(terms[known], energy_mj, prior)),
        error=report(held.without_network, energy_mj, "energies"),
    )
    return model, held.family_error()
