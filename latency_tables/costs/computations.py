"""The computation of every metric of `latency_tables.METRICS`: a block's contribution, the constant part, source, error.

Everything that differs between metrics is here, in their entries; costs, bounds and cards treat all metrics alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latency_tables.blocks import memory, tflm_memory
from latency_tables.blocks.memory import BYTES_PER_KB
from latency_tables.blocks.memory_rules import RULES
from latency_tables.blocks.tflm_memory import Arena, tflite_graph
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.costs.boundaries import boundary_words
from latency_tables.costs.protocol import CostedPlatform
from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.space import shapes
from ofa.space.shapes import BlockShape, walk_blocks
from ofa.space.subnet import Subnet

if TYPE_CHECKING:
    from ofa.space.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class Computation:
    """One metric on any platform; an exact one needs only `block` and `source`."""

    block: Callable[[CostedPlatform, BlockShape, int | None], float]
    """Contribution of a block, in a network of the given resolution; raises `UserError` where it is unknown."""
    network: Callable[[CostedPlatform], float] = lambda _: 0.0
    """Constant part, added once to the sum over the blocks."""
    source: Callable[[CostedPlatform], str]
    """Origin of the value, for cards."""
    why_unknown: Callable[[CostedPlatform], str | None] = lambda _: None
    """Reason why the metric is unknown; None where it is known."""
    error: Callable[[CostedPlatform], ErrorReport | None] = lambda _: None
    """Error on whole measured networks; None where it is unknown."""
    arena: Callable[[CostedPlatform], Arena | None] = lambda _: None
    """Parts of a memory that is composed of sums and maxima over blocks; None where `block` gives all of it."""
    exactness: Callable[[CostedPlatform], str | None] = lambda _: None
    """Text on cards in place of an uncertainty, where it differs from `Metric.exactness`."""
    varies: Callable[[CostedPlatform], bool] = lambda _: False
    """True: a time, or power x time, so that it varies with the timed runs of a measured block."""


COUNTED = "computed from the shapes of the layers"
COUNTS: dict[str, Callable[[BlockShape], float]] = {
    "macs_m": lambda shape: shapes.macs(shape.ops) / 1e6,
    "params_m": lambda shape: shapes.params(shape.ops) / 1e6,
}
"""Contribution of a block to the metrics that are the same on every platform, by the metric's name."""


FLASH = {"tflm": "size of the .tflite file that ofa export writes, computed"}
"""Source of the size of weights, by the rules under which it is more than weights and biases."""


def _of_shape(count: Callable[[BlockShape], float]) -> Computation:
    return Computation(block=lambda platform, shape, _: count(shape), source=lambda _: COUNTED)


COMPUTATIONS: dict[str, Computation] = {
    "latency_ms": Computation(
        block=lambda platform, shape, resolution: platform.block_ms(shape, resolution),
        network=lambda platform: platform.network_ms,
        source=lambda platform: f"{platform.kind}: {platform.runtime}",
        error=lambda platform: platform.error,
        varies=lambda _: True,
    ),
    "energy_mj": Computation(
        block=lambda platform, shape, resolution: platform.block_mj(shape, resolution),
        network=lambda platform: platform.network_mj,
        source=lambda platform: _energy_source(platform),
        why_unknown=lambda platform: platform.why_no_energy,
        error=lambda platform: None if platform.energy is None else platform.energy.error,
        varies=lambda platform: platform.energy is not None and platform.energy.power_w is not None,
    ),
    "memory_kb": Computation(
        block=lambda platform, shape, _: memory.peak_kb(shape, _known_precision(platform)),
        source=lambda platform: RULES[platform.memory_rule].source,
        why_unknown=lambda platform: _why_no_bytes(platform),
        arena=lambda platform: tflm_memory.ARENA if platform.memory_rule == "tflm" else None,
        exactness=lambda platform: RULES[platform.memory_rule].exactness,
    ),
    "activations_kb": Computation(
        block=lambda platform, shape, _: memory.peak_kb(shape, _known_precision(platform)),
        source=lambda _: "computed from the lifetimes of the feature maps",
        why_unknown=lambda platform: _why_no_bytes(platform),
    ),
    "weights_kb": Computation(
        block=lambda platform, shape, _: _weights_kb(platform, shape),
        network=lambda platform: tflm_memory.FLASH_PER_NETWORK / BYTES_PER_KB if platform.memory_rule == "tflm" else 0.0,
        source=lambda platform: FLASH.get(platform.memory_rule, "computed, batch norm folded"),
        why_unknown=lambda platform: _why_no_bytes(platform),
    ),
    **{name: _of_shape(count) for name, count in COUNTS.items()},
}
"""The computation of each metric, by its name."""


def counted(space: SearchSpace, subnet: Subnet) -> dict[str, float]:
    """The metrics of a subnet that are the same on every platform."""
    blocks = list(walk_blocks(space, subnet))
    return {name: sum(map(count, blocks)) for name, count in COUNTS.items()}


def metrics_of(platform: CostedPlatform) -> tuple[str, ...]:
    """The metrics that a platform knows, out of `METRICS`."""
    return tuple(metric for metric in METRICS if COMPUTATIONS[metric].why_unknown(platform) is None)


def _why_no_bytes(platform: CostedPlatform) -> str | None:
    if platform.precision is not None:
        return None
    return "its precision is not stated; give its file a precision (ofa platforms import: --precision)"


def _known_precision(platform: CostedPlatform) -> str:
    if platform.precision is None:
        raise UserError(f"platform {platform.name}: memory is unknown: {_why_no_bytes(platform)}")
    return platform.precision


def _weights_kb(platform: CostedPlatform, shape: BlockShape) -> float:
    if platform.memory_rule == "tflm":
        return tflite_graph(shape).flash_bytes / BYTES_PER_KB
    return memory.weights_kb(shape, _known_precision(platform))


def _energy_source(platform: CostedPlatform) -> str:
    energy = platform.energy
    assert energy is not None
    origin = energy.source if energy.power_w is None else f"{energy.power_w:g} W times latency: {energy.source}"
    return f"{origin}; {boundary_words(energy.boundary)}"
