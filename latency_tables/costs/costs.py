"""Costs of the subnets of a space on a platform, for whole gene matrices at once. No torch here."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from latency_tables.arrays import Floats
from latency_tables.blocks.tflm_memory import Arena
from latency_tables.cost_models.uncertainty import P50, P90, ErrorReport, check_confidence
from latency_tables.costs.bounds import UpperBounds, has_bounds, refusals
from latency_tables.costs.composed import ComposedFactors, CostFactors, shared_memory
from latency_tables.costs.computations import COMPUTATIONS, metrics_of
from latency_tables.costs.factors import Factors, ShapeGrid
from latency_tables.costs.protocol import CostedPlatform
from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import BlockShape, walk_blocks

REDUCE: dict[str, np.ufunc] = {"sum": np.add, "max": np.maximum}


class Costs:
    """Costs of a space's subnets; every method takes genes, integers [n, genes] or one row, and returns float64[n].

    Cost factors are built when a metric is first asked for. Raises `UserError` where the platform does not know a metric or
    a block, and on genes of a wrong shape or out of range.

    With a `confidence` (0.5 to below 1), latency and energy are upper bounds: a new network's measurement is expected to
    stay below with that probability (`cost_models.uncertainty` has the rule); at 0.5 they are medians. None gives the
    estimates themselves. The bound of a metric whose error is unknown raises `UserError`. Metrics computed from shapes are
    exact and do not depend on the confidence.
    """

    def __init__(
        self, platform: CostedPlatform, space: SearchSpace, confidence: float | None = None, grid: ShapeGrid | None = None
    ) -> None:
        """`grid` holds the space's blocks if they have been enumerated already; None enumerates them."""
        if confidence is not None:
            check_confidence(confidence)
        self.platform = platform
        self.space = space
        self.confidence = confidence
        self._grid = ShapeGrid.of(space) if grid is None else grid
        self._factors: dict[str, CostFactors] = {}
        self._missing: dict[str, UserError] = {}
        """Error that names the first unknown block, by metric; no entry where all blocks of the space are known."""
        self._bounds = None if confidence is None else UpperBounds(platform, confidence)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that this platform knows, out of `METRICS`."""
        return metrics_of(self.platform)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Lines for users: blocks outside the range that the platform was calibrated on, metrics with too large an error."""
        model = self.platform.latency
        beyond = {} if model is None else model.unseen(self._grid.distinct())
        prefix = f"platform {self.platform.name}, space {self.space.name}: outside the calibration: "
        found = [f"{prefix}{kind}: {text}" for kind, text in beyond.items()]
        if found and self.confidence is not None:
            found.append(f"{prefix}the bounds at confidence {self.confidence:g} hold for networks like those compared")
        return tuple(found + [f"platform {self.platform.name}: {text}" for text in refusals(self.platform)])

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """The space's resolutions at which the latency of every block is known; only a measured table can lack some."""
        factors = self._plain.factors("latency_ms")
        assert isinstance(factors, Factors)
        arrays = (factors.stem, *factors.first, *factors.later, factors.head)
        unknown = [np.isnan(array).reshape(len(array), -1).any(axis=1) for array in arrays if array is not None]
        partial = np.any(unknown, axis=0)
        return tuple(size for size, lacks in zip(self.space.resolutions, partial, strict=True) if not lacks)

    @property
    def covered(self) -> SearchSpace | None:
        """The space restricted to `resolutions`, where costs are known; None where that is the whole space.

        Raises:
            UserError: no resolution is known completely; names a block that is missing.
        """
        if self.resolutions == self.space.resolutions:
            return None
        if not self.resolutions:
            raise self._plain._missing["latency_ms"]
        return self.space.restrict(resolutions=list(self.resolutions))

    def of(self, metric: str, genes: npt.ArrayLike) -> Floats:
        """Values of one of `metrics`, by name; raises `UserError` naming the first block that a table does not have."""
        values = self.factors(metric)(genes)
        if metric in self._missing and np.isnan(values).any():
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
        """Memory (RAM) for one image, in kB of 1024 bytes; see `latency_tables.blocks.memory_rules` for the rules."""
        return self.of("memory_kb", genes)

    def activations_kb(self, genes: npt.ArrayLike) -> Floats:
        """Peak of the feature maps alive at once, in kB of 1024 bytes; no runtime needs less memory."""
        return self.of("activations_kb", genes)

    def weights_kb(self, genes: npt.ArrayLike) -> Floats:
        """Storage of weights and biases at the platform's precision, batch norm folded, in kB of 1024 bytes."""
        return self.of("weights_kb", genes)

    def macs_m(self, genes: npt.ArrayLike) -> Floats:
        """Multiply-accumulates of one image, in millions."""
        return self.of("macs_m", genes)

    def params_m(self, genes: npt.ArrayLike) -> Floats:
        """Parameters, batch norm's scale and shift included, in millions."""
        return self.of("params_m", genes)

    def factors(self, metric: str) -> CostFactors:
        """The cost factors of a metric: arrays over the few genes that each of its terms depends on.

        `memory_kb` is composed of several where the platform's runtime keeps data beside feature maps.
        """
        if metric not in METRICS:
            raise UserError(f"unknown metric {metric!r}; known are {', '.join(METRICS)}")
        if metric not in self._factors:
            self._factors[metric] = self._build(metric)
        return self._factors[metric]

    def at(self, confidence: float | None) -> Costs:
        """These costs at another confidence."""
        if confidence == self.confidence:
            return self
        return Costs(self.platform, self.space, confidence, self._grid)

    def p50_p90(self, metric: str, genes: npt.ArrayLike) -> tuple[Floats, Floats] | None:
        """The bounds below which half and 9 of 10 measurements of a metric are expected, float64[n] each.

        None where its error, or how much the runs of a block vary, is unknown. Equal where the metric is exact.
        """
        if not METRICS[metric].estimated:
            exact = self.of(metric, genes)
            return exact, exact
        if not self.has_bounds(metric):
            return None
        return self._p50.of(metric, genes), self._p90.of(metric, genes)

    def has_bounds(self, metric: str) -> bool:
        """Tell whether upper bounds of a metric are known: always if it is exact, else if its error is known."""
        return has_bounds(self.platform, metric)

    def error(self, metric: str) -> ErrorReport | None:
        """The error of a metric on whole measured networks; None where it is unknown, or the metric exact."""
        return COMPUTATIONS[metric].error(self.platform)

    def source(self, metric: str) -> str:
        """The origin, in words, of the values of a metric that the platform knows."""
        return COMPUTATIONS[metric].source(self.platform)

    def exactness(self, metric: str) -> str:
        """Text on cards in place of an uncertainty, for a metric that is not estimated."""
        return COMPUTATIONS[metric].exactness(self.platform) or METRICS[metric].exactness

    def why_unknown(self, metric: str) -> str | None:
        """Reason why a metric is unknown on this platform; None where it is known."""
        return COMPUTATIONS[metric].why_unknown(self.platform)

    def block(self, metric: str, shape: BlockShape, resolution: int | None = None) -> float:
        """Contribution of one block to a metric of a network of this resolution; for an arena, that of its feature maps."""
        estimate = COMPUTATIONS[metric].block(self.platform, shape, resolution)
        if self._bounds is None or not METRICS[metric].estimated:
            return estimate
        return estimate * self._bounds.ratio(metric, shape, resolution)

    def constant(self, metric: str) -> float:
        """Constant part of a network's metric, added once to the sum over its blocks."""
        constant = COMPUTATIONS[metric].network(self.platform)
        if self._bounds is None or not METRICS[metric].estimated:
            return constant
        return constant * self._bounds.ratio(metric)

    @cached_property
    def _plain(self) -> Costs:
        return self.at(None)

    @cached_property
    def _p50(self) -> Costs:
        return self.at(P50)

    @cached_property
    def _p90(self) -> Costs:
        return self.at(P90)

    def _build(self, metric: str) -> CostFactors:
        arena = COMPUTATIONS[metric].arena(self.platform)
        return self._built(metric) if arena is None else self._arena(arena)

    def _arena(self, arena: Arena) -> ComposedFactors:
        peak = self._grid.map(lambda shape, _: arena.peak(shape), np.maximum)
        planning = self._grid.map(lambda shape, _: arena.planning(shape))
        return shared_memory(peak, planning, self._grid.map(lambda shape, _: arena.kept(shape), constant=arena.constant))

    def _built(self, metric: str) -> Factors:
        missing: list[UserError] = []

        def value(shape: BlockShape, resolution: int) -> float:
            try:
                return self.block(metric, shape, resolution)
            except UserError as error:
                if self.platform.table is None:
                    raise
                missing.append(error)
                return np.nan

        factors = self._grid.map(value, REDUCE[METRICS[metric].reduce], self.constant(metric))
        if missing:
            if np.isnan(factors.stem).all() or np.isnan(factors.head).all():
                raise missing[0]  # the table has nothing of this space
            self._missing[metric] = missing[0]
        return factors
