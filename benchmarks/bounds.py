"""Whether measured networks lie below the bounds that other networks of their device give them."""

from __future__ import annotations

import numpy as np

from latency_tables.calibration.calibrate import fit, held_out, network_terms, prior_weights
from latency_tables.calibration.prior import PRIOR
from latency_tables.calibration.timings_csv import Timing
from latency_tables.cost_models.uncertainty import P90, network_excess


def nested_below(timings: list[Timing], batch: int) -> list[tuple[bool, bool]]:
    """Whether each network's latency is below its p50 and p90; it is in neither the fit nor the error they come from."""
    terms = network_terms(timings, "fp32", batch)
    weights = prior_weights(PRIOR, "fp32", batch)
    latency_ms = np.array([timing.latency_ms for timing in timings])
    found = []
    for i, measured in enumerate(latency_ms):
        others = np.arange(len(timings)) != i
        p50 = float(terms[i] @ fit(terms[others], latency_ms[others], weights))
        errors = held_out(terms[others], latency_ms[others], weights) / latency_ms[others] - 1
        p90 = p50 * (1 + network_excess(float(np.abs(errors).mean()), len(errors), P90))
        found.append((bool(measured <= p50), bool(measured <= p90)))
    return found
