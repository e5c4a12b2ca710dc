"""Published lookup tables as platforms: OFA's and CompOFA's per-resolution files, and ProxylessNAS's `mobile_trim.yaml`.

A published key, `expanded_conv-input:56x56x32-output:56x56x32-expand:128-kernel:3-stride:1-idskip:1-se:0-hs:0`, is parsed
into the shape of a block; nothing is looked up by strings afterwards. `expand:` is the number of hidden channels where the
key has `se:` and `hs:` (MobileNetV3), and their ratio to the input's channels where it has not (ProxylessNAS). Times are
means, in ms unless stated otherwise; their deviation is `std` or `var` (its square). JSON is read as YAML is. A table does
not say with which runtime or in which precision it was measured: that is the user's to state, and else unknown. No torch
here.

Sources: https://github.com/han-cai/files (`proxylessnas/mobile_trim.yaml`, the tables of OFA's tutorial) and
https://github.com/gatech-sysml/CompOFA (`NAS/checkpoints/latency_table@note10`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from math import exp
from pathlib import Path

from latency_tables.cost_models.block_table import BlockTable, MeasuredBlock, describe, op_to_list
from latency_tables.cost_models.uncertainty import ErrorReport
from latency_tables.costs.factors import ShapeGrid
from latency_tables.platform import Platform
from latency_tables.published.keys import BLOCK, FORMATS, HEAD, POOL, STEM, Entry, key_of, parse
from latency_tables.units import doubt, ms_per, stated
from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.files.names import made_name
from ofa.numerics.stated import numerics_of
from ofa.space import shapes
from ofa.space.search_space import HeadSpace, SearchSpace, StageSpace, StemSpace, load_space
from ofa.space.shapes import BlockShape, OpShape, head_shape, stem_shape

SIGMAS_P90 = 1.2816
"""The 90th percentile of a normal distribution, in standard deviations."""

PROXYLESS_MOBILE = SearchSpace(
    name="proxyless-mobile",
    block="mbconv",
    description="ProxylessNAS's space for phones (Cai et al., ICLR 2019): the blocks of the published Pixel 1 table.",
    stem=StemSpace(widths=(32,), activation="relu6"),
    stages=tuple(
        StageSpace(widths=(width,), depths=depths, kernels=(3, 5, 7), expands=expands, stride=stride, activation="relu6")
        for width, depths, expands, stride in (
            (16, (1,), (1,), 1),
            (24, (1, 2, 3, 4), (3, 6), 2),
            (40, (1, 2, 3, 4), (3, 6), 2),
            (80, (1, 2, 3, 4), (3, 6), 2),
            (96, (1, 2, 3, 4), (3, 6), 1),
            (192, (1, 2, 3, 4), (3, 6), 2),
            (320, (1,), (3, 6), 1),
        )
    ),
    head=HeadSpace(width=1280, activation="relu6"),
    resolutions=(224,),
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Facts that a published table leaves out, as the user states them."""

    unit: str | None = None
    """Unit of its times, out of `units.MS_PER_UNIT`; None: ms, where the implied speeds are usual ones."""
    device: str | None = None
    runtime: str | None = None
    precision: str | None = None
    batch: int = 1
    threads: int | None = None
    licence: str | None = None


NOTHING_STATED = Provenance()


def load_tables(source: str | Path, name: str | None = None, given: Provenance = NOTHING_STATED) -> Platform:
    """A published table, or a folder of them with one resolution each, as a platform.

    Args:
        source: a YAML or JSON file, or a folder of them (`FORMATS`).
        name: name of the platform; None: that of the file or folder.
        given: facts that the table leaves out.

    Raises:
        UserError: an entry is duplicate, negative, NaN, missing or malformed, or seems to be in another unit while none is
            stated; names its file, line and key.
    """
    source = Path(source)
    paths = [source]
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in FORMATS)
    if not paths:
        endings = ", ".join(f"*{ending}" for ending in FORMATS)
        raise UserError(f"{source}: no {endings} here; expected published tables, one per resolution")
    blocks: list[MeasuredBlock] = []
    spaces: dict[int, SearchSpace] = {}
    files: dict[int, Path] = {}
    known = [PROXYLESS_MOBILE, *map(load_space, shipped.names("spaces"))]
    for path in paths:
        resolution, space, measured = _load_file(path, known, given)
        if resolution in files:
            raise UserError(f"{path}: is for resolution {resolution}, as {files[resolution].name} is; give each once")
        files[resolution], spaces[resolution] = path, space
        blocks += measured
    names = {space.name for space in spaces.values()}
    if len(names) > 1:
        raise UserError(f"{source}: holds tables of different spaces ({', '.join(sorted(names))}); give one space's")
    resolutions = sorted(spaces)
    space = replace(spaces[resolutions[0]], resolutions=tuple(resolutions))
    named = name or made_name(source.resolve().stem)
    return Platform(
        name=named,
        device=given.device or f"{named} (published lookup table; the file does not say more)",
        runtime=given.runtime or "not stated",
        precision=given.precision,
        numerics=numerics_of(given.precision),
        batch=given.batch,
        threads=given.threads,
        kind="measured",
        description=f"A published lookup table of the blocks of space {space.name}.",
        source=f"{source.name}: mean time of each block",
        licence=given.licence or "that of the published table; see its source",
        details={
            "resolutions": ", ".join(map(str, resolutions)),
            "unit of its times": stated(given.unit),
            "quantiles": "10th and 90th percentile from the published deviation: mean x exp(+-1.2816 std / mean)",
        },
        error=ErrorReport(note="the sum of its blocks was not compared with whole networks"),
        table=BlockTable(space=space.name, fingerprint=space.fingerprint, blocks=tuple(blocks)),
    )


def _load_file(path: Path, known: list[SearchSpace], given: Provenance) -> tuple[int, SearchSpace, list[MeasuredBlock]]:
    """The resolution, the space (one of `known`) and the blocks of one file."""
    data = schema.load_yaml(path)
    v3 = any("-se:" in str(key) for key in data)
    unit_ms = ms_per(given.unit)
    entries = {str(key): parse(str(key), value, v3, unit_ms, f"{path}:{data.key_lines[key]}") for key, value in data.items()}
    by_op = {op: list(keys) for op, keys in groupby(sorted(entries, key=_op_of), _op_of)}
    for op, keys in by_op.items():
        if op != BLOCK and len(keys) > 1:
            place = f"{path}:{data.key_lines[keys[1]]}: key {keys[1]!r}"
            raise UserError(f"{place}: there is another {op}, {keys[0]!r}; a file is of one resolution")
    for op in (STEM, BLOCK, *(HEAD if v3 else (HEAD[0], HEAD[-1]))):
        if op not in by_op:
            raise UserError(f"{path}: key '{op}-input:...' is missing; a table has the blocks of a whole network")
    stem, head = entries[by_op[STEM][0]], [entries[by_op[op][0]] for op in HEAD if op in by_op]
    measured = {BlockShape("stem", stem.ops): [stem]}
    for key in by_op[BLOCK]:
        shape = BlockShape("mbconv", entries[key].ops, residual=entries[key].residual)
        if shape in measured:
            raise UserError(f"{path}:{data.key_lines[key]}: key {key!r}: the same block is given twice")
        measured[shape] = [entries[key]]
    measured[BlockShape("head", _head_ops(head))] = head
    resolution = stem.ops[0].in_size
    space = _space_of(path, resolution, list(measured), v3, known)
    if given.unit is None:
        _check_unit(path, measured, {id(entries[key]): (key, data.key_lines[key]) for key in entries}, given.batch)
    return resolution, space, [_measurement(shape, parts, resolution) for shape, parts in measured.items()]


def _op_of(key: str) -> str:
    return key.partition("-")[0]


def _head_ops(entries: list[Entry]) -> tuple[OpShape, ...]:
    """The head's operations; a table without the pool has its time in the classifier's."""
    ops = [op for entry in entries for op in entry.ops]
    if all(entry.op != POOL for entry in entries):
        ops.insert(1, OpShape("global_pool", ops[0].out_channels, ops[0].out_channels, ops[0].out_size, 1))
    return tuple(ops)


def _space_of(path: Path, resolution: int, blocks: list[BlockShape], v3: bool, known: list[SearchSpace]) -> SearchSpace:
    """The known space whose blocks the table has, at this resolution alone; raises `UserError` naming a missing block."""
    stem, head = blocks[0], blocks[-1]
    for space in known:
        if space.block != "mbconv" or stem_shape(space, space.largest().stem, resolution) != stem:
            continue
        space = replace(space, resolutions=(resolution,))
        grid = ShapeGrid.of(space)
        wanted = [shape for shape in grid.distinct() if shape.kind == "mbconv"]
        given = set(blocks)
        if len(given.intersection(wanted)) < len(wanted) / 2:
            continue
        for shape in wanted:
            if shape not in given:
                key = key_of(shape, v3)
                what = f"key {key!r} is missing ({describe(shape)})"  # messages cut a long key
                raise UserError(f"{path}: {what}; space {space.name} needs it at {resolution} px")
        wanted_head = head_shape(space, space.stages[-1].widths[-1], head.main[0].in_size)
        if wanted_head == head:
            return space
    raise UserError(f"{path}: its blocks match no known space; known are {', '.join(space.name for space in known)}")


def _check_unit(path: Path, measured: dict[BlockShape, list[Entry]], places: dict[int, tuple[str, int]], batch: int) -> None:
    """Ask for the unit, naming a block's key, where ms would mean an unusual speed: another unit, or such a device."""
    for shape, entries in measured.items():
        unusual = doubt(shapes.macs(shape.main), sum(entry.mean_ms for entry in entries), batch)
        if unusual:
            slowest = max(entries, key=lambda entry: entry.mean_ms)
            key, line = places[id(slowest)]
            raise UserError(
                f"{path}:{line}: key {key!r}: mean {slowest.mean_ms:g} {unusual}: which unit is it? State it (ms, us or s) "
                "to take the table as it is: ofa platforms import SOURCE --unit ms --out FILE"
            )


def _measurement(shape: BlockShape, entries: list[Entry], resolution: int) -> MeasuredBlock:
    mean_ms, count = sum(entry.mean_ms for entry in entries), min(entry.count for entry in entries)
    ratio = exp(SIGMAS_P90 * sum(entry.std_ms**2 for entry in entries) ** 0.5 / mean_ms)
    return MeasuredBlock(
        kind=shape.kind,
        main=tuple(tuple(op_to_list(op)) for op in shape.main),
        residual=shape.residual,
        median_ms=mean_ms,
        p10_ms=mean_ms / ratio if count > 1 else None,  # a single run deviates by 0 from itself
        p90_ms=mean_ms * ratio if count > 1 else None,
        count=count,
        resolution=resolution,
    )
