"""What the subnets of a space cost on a platform, for whole gene matrices at once. No torch here."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from latency_tables import memory
from latency_tables.factors import Factors, ShapeGrid
from latency_tables.platform import Platform
from ofa import shapes
from ofa.errors import UserError
from ofa.shapes import BlockShape, walk_blocks
from ofa.space import SearchSpace

Floats = npt.NDArray[np.float64]

METRICS = ("latency_ms", "energy_mj", "memory_kb", "weights_kb", "macs_m", "params_m")


def metrics_of(platform: Platform) -> tuple[str, ...]:
    """What a platform knows, out of `METRICS`."""
    return tuple(metric for metric in METRICS if metric != "energy_mj" or platform.energy is not None)


class Costs:
    """Costs of a space's subnets; every method takes genes, integers [n, genes] or one row, and returns float64[n].

    Cost factors are built when a metric is first asked for. Raises `UserError` where the platform does not know a metric or
    a block, and on genes of a wrong shape or out of range.
    """

    def __init__(self, platform: Platform, space: SearchSpace) -> None:
        self.platform = platform
        self.space = space
        self._factors: dict[str, Factors] = {}
        self._incomplete: set[str] = set()
        """Metrics of which some blocks of the space are unknown."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What this platform knows, out of `METRICS`."""
        return metrics_of(self.platform)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What users of these costs must know: blocks of the space beyond what the platform was calibrated on."""
        model = self.platform.latency
        beyond = {} if model is None else model.unseen(self._grid.distinct())
        prefix = f"platform {self.platform.name}, space {self.space.name}: outside the calibration: "
        return tuple(f"{prefix}{kind}: {text}" for kind, text in beyond.items())

    def of(self, metric: str, genes: npt.ArrayLike) -> Floats:
        """One of `metrics` by name; raises `UserError` naming the first block that a table does not have."""
        values = self.factors(metric)(genes)
        if metric in self._incomplete and np.isnan(values).any():
            row = int(np.isnan(values).argmax())
            subnet = self.space.decode(np.array(genes, ndmin=2)[row])[0]
            for shape in walk_blocks(self.space, subnet):
                self.block(metric, shape, subnet.resolution)  # raises at the one that is missing
        return values

    def latency_ms(self, genes: npt.ArrayLike) -> Floats:
        """Time of one inference of the platform's batch, in ms."""
        return self.of("latency_ms", genes)

    def energy_mj(self, genes: npt.ArrayLike) -> Floats:
        """Energy of the inference of one image, in mJ."""
        return self.of("energy_mj", genes)

    def memory_kb(self, genes: npt.ArrayLike) -> Floats:
        """Peak activation memory for one image, in kB of 1024 bytes; see `latency_tables.memory` for the rules."""
        return self.of("memory_kb", genes)

    def weights_kb(self, genes: npt.ArrayLike) -> Floats:
        """Storage of weights and biases at the platform's precision, batch norm folded, in kB of 1024 bytes."""
        return self.of("weights_kb", genes)

    def macs_m(self, genes: npt.ArrayLike) -> Floats:
        """Multiply-accumulates of one image, in millions."""
        return self.of("macs_m", genes)

    def params_m(self, genes: npt.ArrayLike) -> Floats:
        """Parameters, batch norm's scale and shift included, in millions."""
        return self.of("params_m", genes)

    def factors(self, metric: str) -> Factors:
        """The cost factors of a metric: arrays over the few genes that each of its terms depends on."""
        if metric not in self._factors:
            self._factors[metric] = self._build(metric)
        return self._factors[metric]

    def block(self, metric: str, shape: BlockShape, resolution: int | None = None) -> float:
        """What one block contributes to a metric of a network of this resolution."""
        platform = self.platform
        match metric:
            case "latency_ms":
                return platform.block_ms(shape, resolution)
            case "energy_mj":
                return platform.block_mj(shape, resolution)
            case "memory_kb":
                return memory.peak_kb(shape, platform.precision)
            case "weights_kb":
                return memory.weights_kb(shape, platform.precision)
            case "macs_m":
                return shapes.macs(shape.ops) / 1e6
            case "params_m":
                return shapes.params(shape.ops) / 1e6
        raise UserError(f"unknown metric {metric!r}; known are {', '.join(METRICS)}")

    def constant(self, metric: str) -> float:
        """What a network's metric has besides its blocks."""
        match metric:
            case "latency_ms":
                return self.platform.network_ms
            case "energy_mj":
                return self.platform.network_mj
        return 0.0

    @cached_property
    def _grid(self) -> ShapeGrid:
        return ShapeGrid.of(self.space)

    def _build(self, metric: str) -> Factors:
        reduce = np.maximum if metric == "memory_kb" else np.add
        missing: list[UserError] = []

        def value(shape: BlockShape, resolution: int) -> float:
            try:
                return self.block(metric, shape, resolution)
            except UserError as error:
                if self.platform.table is None:
                    raise
                missing.append(error)
                return np.nan

        factors = self._grid.map(value, reduce, self.constant(metric))
        if missing:
            if np.isnan(factors.stem).all() or np.isnan(factors.head).all():
                raise missing[0]  # the table has nothing of this space
            self._incomplete.add(metric)
        return factors
