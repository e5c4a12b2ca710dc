"""A platform: a device with its runtime, precision, batch and threads; where its numbers come from and how sure they are.

Latency comes from measured blocks (`table`) or from a model of operations (`latency`); energy from measured blocks, from
power x time, or from a model of operations. Memory is computed. No torch here.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from latency_tables.blocks.memory import BYTES
from latency_tables.cost_models.block_table import BlockTable, Measurement
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, check_not_negative
from latency_tables.cost_models.uncertainty import ErrorReport as ErrorReport
from ofa.errors import UserError
from ofa.files import atomic, schema
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import BlockShape

if TYPE_CHECKING:
    from latency_tables.costs.costs import Costs

KINDS = ("measured", "calibrated", "modelled")
_SHIPPED = Path(__file__).resolve().parent / "platforms"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A device and what subnets cost on it; see `docs/platforms.md` for the YAML."""

    name: str
    device: str
    runtime: str
    precision: str
    """Of weights and activations; `fp32`, `fp16`, `bf16`, `int16` or `int8`."""
    batch: int = 1
    """Images per inference. Latency is of the whole batch; energy and memory are per image."""
    threads: int | None = None
    kind: str
    """Where its latency is from: `measured` on the device, `calibrated` on measurements, or `modelled` without any."""
    description: str
    source: str
    """Where its numbers are from: the instrument, or the publication."""
    licence: str
    date: str | None = None
    """Of the measurement, YYYY-MM-DD."""
    details: dict[str, str] = field(default_factory=dict)
    """Provenance besides: processor, versions, settings."""
    error: ErrorReport
    latency: LatencyModel | None = None
    table: BlockTable | None = None
    energy: EnergyModel | None = None

    def __post_init__(self) -> None:
        check_not_negative(self)
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; allowed are {', '.join(KINDS)}")
        if self.precision not in BYTES:
            raise ValueError(f"precision is {self.precision!r}; allowed are {', '.join(BYTES)}")
        for name in ("batch", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; must be at least 1")
        if (self.latency is None) == (self.table is None):
            raise ValueError("give either latency (a model of operations) or table (measured blocks)")
        measured_energy = self.table is not None and all(block.energy_mj is not None for block in self.table.blocks)
        if self.energy is not None and self.energy.power_w is None and self.energy.ops is None and not measured_energy:
            raise ValueError("energy has neither power_w nor ops, and not every block of the table has energy_mj")

    # -- what a block and a network cost -------------------------------------------------------------------------------

    def block_ms(self, shape: BlockShape, resolution: int | None = None) -> float:
        """What a block adds to the latency of a network of this resolution, in ms per batch; `UserError` where unknown."""
        if self.table is not None:
            return self.table.factor * self._measured(shape, resolution).median_ms
        assert self.latency is not None
        try:
            return self.latency.block_ms(shape, self.precision, self.batch)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None

    @property
    def network_ms(self) -> float:
        """What a network's latency has besides its blocks, in ms per batch."""
        if self.table is not None:
            return self.table.intercept_ms
        assert self.latency is not None
        return self.latency.network_ms

    def block_mj(self, shape: BlockShape, resolution: int | None = None) -> float:
        """What a block adds to an inference's energy, in mJ per image; raises `UserError` where it is unknown."""
        energy = self._known_energy()
        if energy.power_w is not None:
            return energy.power_w * self.block_ms(shape, resolution) / self.batch
        if energy.ops is None:
            measured = self._measured(shape, resolution).energy_mj
            assert measured is not None
            return measured
        try:
            dynamic = energy.ops_mj(shape, self.precision, self.batch)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None
        return dynamic + (energy.static_w * self.block_ms(shape, resolution) / self.batch if energy.static_w else 0.0)

    @property
    def network_mj(self) -> float:
        """What an inference's energy has besides its blocks, in mJ per image."""
        energy = self._known_energy()
        return (energy.power_w or energy.static_w) * self.network_ms / self.batch

    def costs(self, space: SearchSpace, confidence: float | None = None) -> Costs:
        """Costs of the subnets of a space; with a confidence, latency and energy are the upper bounds at it. See `Costs`."""
        from latency_tables.costs.costs import Costs

        return Costs(self, space, confidence)

    def _measured(self, shape: BlockShape, resolution: int | None) -> Measurement:
        assert self.table is not None
        try:
            return self.table.find(shape, resolution)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None

    def _known_energy(self) -> EnergyModel:
        if self.energy is None:
            raise UserError(
                f"platform {self.name}: energy is unknown; give its file an energy section (a source, and power_w or ops)"
            )
        return self.energy


def platform_names() -> list[str]:
    """Names of the platforms that ship."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_platform(name_or_path: str | Path) -> Platform:
    """A platform that ships by name, or one from a file.

    A file is a platform's YAML or a published latency table (`published.tables`); a folder holds published tables,
    one per resolution. An existing YAML file wins over a name, a name over a folder (write `./note10` for the folder).

    Raises:
        UserError: the file is missing or wrong (with its line), or the name is unknown; the message lists what is known.
    """
    from latency_tables.published import tables

    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if str(name_or_path) not in platform_names():
            if path.is_dir():
                return tables.load_tables(path)
            known = ", ".join(platform_names())
            raise UserError(f"unknown platform {str(name_or_path)!r}; known are {known}, or give a YAML file (or folder)")
        path = _SHIPPED / f"{name_or_path}.yaml"
    data = schema.load_yaml(path)
    if tables.looks_published(data):
        return tables.load_tables(path)
    return schema.build(Platform, data, str(path))


def save_platform(platform: Platform, path: str | Path) -> None:
    """Write a platform as YAML that `load_platform` reads back as an equal one; atomic, measured blocks one per line."""
    data = _plain(platform)
    blocks = data["table"].pop("blocks") if "table" in data else []
    text = yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True)
    if blocks:
        lines = (yaml.safe_dump(block, sort_keys=False, default_flow_style=True, width=10**6) for block in blocks)
        # `table` need not be the last section, so its blocks follow its own line.
        text = text.replace("\ntable:\n", "\ntable:\n  blocks:\n" + "".join(f"    - {line}" for line in lines))
    atomic.atomic_write(path, text)


def _plain(value: Any) -> Any:
    """A dataclass as dicts, lists and scalars, without fields that hold their default."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {item: getattr(value, item.name) for item in fields(value) if item.init}
        return {item.name: _plain(entry) for item, entry in kept.items() if entry != _default(item)}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
