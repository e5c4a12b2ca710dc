"""The search space: everything elastic, frozen, and its genes.

Genes are a subnet as a row of small integers. Their order is: resolution, stem width, stem hidden width, stem depth, then
per stage its width, its depth, and per block its kernel and its expand ratio. A gene is an index into the sorted choices.
Genes of blocks beyond a stage's depth are 0, so equal subnets have equal rows. numpy only: no torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.space.kinds import KINDS
from ofa.space.parts import Choices, HeadSpace, StageSpace, StemSpace, check_choices, lists_in
from ofa.space.subnet import Block, Stage, Stem, Subnet

__all__ = ["Gene", "Genes", "HeadSpace", "SearchSpace", "StageSpace", "StemSpace", "load_space"]

Genes = npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Everything elastic about a network family; see `docs/spaces.md` for the YAML."""

    name: str
    block: str
    """`mbconv` (MobileNetV2, V3) or `bottleneck` (ResNet)."""
    stem: StemSpace
    stages: tuple[StageSpace, ...]
    head: HeadSpace
    resolutions: tuple[int, ...]
    """Sides of the square input, in pixels."""
    in_channels: int = 3
    classes: int = 1000
    kernel_transforms: bool = True
    """Learned matrices between kernel sizes (OFA, section 3.3); without, a smaller kernel is the centre of a larger one."""
    norm_eps: float = 1e-5
    """Added to the variance by every batch norm (the published ProxylessNAS has 1e-3)."""
    compound: bool = False
    """The expand ratios of a stage follow its depth, the i-th choice of one with the i-th of the other (CompOFA, Sahni et
    al., 2021). The genes stay; all other rows are not in the space."""
    description: str = ""

    def __post_init__(self) -> None:
        if self.block not in KINDS:
            raise ValueError(f"block is {self.block!r}; allowed are {', '.join(KINDS)}")
        if not self.stages:
            raise ValueError("stages is empty; a space needs at least one stage")
        check_choices("resolutions", self.resolutions)
        if not 0 < self.norm_eps < inf:
            raise ValueError(f"norm_eps is {self.norm_eps}; must be positive and finite")
        for name in ("in_channels", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; must be at least 1")
        if self.resolutions[0] < self.total_stride:
            raise ValueError(
                f"resolution {self.resolutions[0]} is too small for a total stride of {self.total_stride}; "
                f"resolutions must be at least {self.total_stride}"
            )
        for i, stage in enumerate(self.stages):
            if self.compound and len(stage.depths) != len(stage.expands):
                raise ValueError(
                    f"stages[{i}]: depths are {list(stage.depths)} and expands {list(stage.expands)}; "
                    "in a compound space they go together, so give as many of one as of the other"
                )
            if stage.se and not KINDS[self.block].squeeze_excite:
                able = ", ".join(name for name, kind in KINDS.items() if kind.squeeze_excite)
                raise ValueError(f"stages[{i}]: se is for {able} blocks, but this space has {self.block} blocks")

    # -- derived facts -------------------------------------------------------------------------------------------------

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last feature map, along one side."""
        return self.stem.stride * (2 if self.stem.pool else 1) * prod(stage.stride for stage in self.stages)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that gives genes and weights their meaning; names and descriptions do not count."""
        facts = schema.to_plain(self)
        del facts["name"], facts["description"]
        if not self.compound:
            del facts["compound"]  # spaces from before it was there keep their fingerprint
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The columns of a gene matrix."""
        genes = [
            Gene("resolution", self.resolutions),
            Gene("stem.width", self.stem.widths),
            Gene("stem.hidden", self.stem.hidden_widths or (0,)),
            Gene("stem.depth", self.stem.depths),
        ]
        for s, stage in enumerate(self.stages):
            genes += [Gene(f"stages[{s}].width", stage.widths, s), Gene(f"stages[{s}].depth", stage.depths, s)]
            for b in range(stage.depths[-1]):
                place = f"stages[{s}].blocks[{b}]"
                genes += [Gene(f"{place}.kernel", stage.kernels, s, b), Gene(f"{place}.expand", stage.expands, s, b)]
        return tuple(genes)

    @cached_property
    def levels(self) -> npt.NDArray[np.int64]:
        """Number of choices of each gene, int64[genes]."""
        return np.array([len(gene.choices) for gene in self.genes])

    @cached_property
    def stage_columns(self) -> tuple[slice, ...]:
        """The columns of each stage: width, depth, then kernel and expand of each block."""
        columns, start = [], 4
        for stage in self.stages:
            stop = start + 2 + 2 * stage.depths[-1]
            columns.append(slice(start, stop))
            start = stop
        return tuple(columns)

    def count(self) -> int:
        """Number of distinct subnets, exactly."""
        total = len(self.resolutions) * len(self.stem.widths)
        total *= max(1, len(self.stem.hidden_widths)) * len(self.stem.depths)
        for stage in self.stages:
            per_block = len(stage.kernels) * (1 if self.compound else len(stage.expands))
            total *= len(stage.widths) * sum(per_block**depth for depth in stage.depths)
        return total

    # -- genes ---------------------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """`n` random subnets, every choice uniform as in OFA; int8[n, genes], canonical."""
        return self.canonical(rng.integers(0, self.levels, size=(n, len(self.levels)), dtype=np.int8))

    def canonical(self, genes: npt.ArrayLike) -> Genes:
        """A copy in which the genes of absent blocks are 0, and those of expand ratios follow the depth if compound."""
        genes = np.array(genes, dtype=np.int8, ndmin=2)
        for stage, columns in zip(self.stages, self.stage_columns, strict=True):
            depths = np.asarray(stage.depths)[genes[:, columns.start + 1]]
            absent = np.arange(stage.depths[-1]) >= depths[:, None]  # [n, blocks]
            if self.compound:
                genes[:, columns.start + 3 : columns.stop : 2] = genes[:, columns.start + 1, None]
            genes[:, columns.start + 2 : columns.stop][np.repeat(absent, 2, axis=1)] = 0
        return genes

    def encode(self, subnets: Sequence[Subnet] | Subnet) -> Genes:
        """Subnets to int8[n, genes]; raises `UserError` naming the first choice that is not in the space."""
        subnets = [subnets] if isinstance(subnets, Subnet) else list(subnets)
        return np.array([self._encode_one(subnet) for subnet in subnets], dtype=np.int8).reshape(-1, len(self.genes))

    def _encode_one(self, subnet: Subnet) -> list[int]:
        if len(subnet.stages) != len(self.stages):
            raise UserError(f"{self.name}: the subnet has {len(subnet.stages)} stages; the space has {len(self.stages)}")
        stem = subnet.stem
        row = [
            self._index("resolution", self.resolutions, subnet.resolution),
            self._index("stem.width", self.stem.widths, stem.width),
            self._index("stem.hidden", self.stem.hidden_widths or (None,), stem.hidden),
            self._index("stem.depth", self.stem.depths, stem.depth),
        ]
        for s, (choice, stage) in enumerate(zip(subnet.stages, self.stages, strict=True)):
            row += [
                self._index(f"stages[{s}].width", stage.widths, choice.width),
                self._index(f"stages[{s}].depth", stage.depths, len(choice.blocks)),
            ]
            for b, block in enumerate(choice.blocks):
                row += [
                    self._index(f"stages[{s}].blocks[{b}].kernel", stage.kernels, block.kernel),
                    self._index(f"stages[{s}].blocks[{b}].expand", stage.expands, block.expand),
                ]
            row += [0] * (2 * (stage.depths[-1] - len(choice.blocks)))
            self._check_compound(s, row[self.stage_columns[s]])
        return row

    def check(self, subnet: Subnet) -> None:
        """Raise `UserError` naming the first choice that is not in the space; any resolution will do."""
        self._encode_one(replace(subnet, resolution=self.resolutions[0]))

    def _check_compound(self, stage: int, row: list[int]) -> None:
        """Raise `UserError` if a compound space has no stage of these genes (width, depth, kernel, expand, ...)."""
        choices, (_, depth, *blocks) = self.stages[stage], row
        for expand in blocks[1 : 2 * choices.depths[depth] : 2] if self.compound else ():
            if expand != depth:
                raise UserError(
                    f"{self.name}: stages[{stage}] has {choices.depths[depth]} blocks and expand ratio "
                    f"{choices.expands[expand]:g}; in this compound space it goes with {choices.expands[depth]:g}"
                )

    def _index(self, place: str, choices: tuple[Any, ...], value: Any) -> int:
        try:
            return choices.index(value)
        except ValueError:
            raise UserError(f"{self.name}: {place} is {value!r}; allowed are {list(choices)}") from None

    def decode(self, genes: npt.ArrayLike) -> list[Subnet]:
        """int8[n, genes] (or one row) to subnets; raises `UserError` on a wrong shape or a value out of range."""
        genes = np.array(genes, ndmin=2)
        if genes.ndim != 2 or genes.shape[1] != len(self.genes):
            raise UserError(f"{self.name}: genes have shape {genes.shape}; expected (n, {len(self.genes)})")
        if not np.issubdtype(genes.dtype, np.integer):
            raise UserError(f"{self.name}: genes are {genes.dtype}; expected integers")
        wrong = np.argwhere((genes < 0) | (genes >= self.levels))
        if len(wrong):
            row, column = wrong[0]
            gene = self.genes[column]
            raise UserError(
                f"{self.name}: row {row}: gene {gene.name} is {genes[row, column]}; allowed are 0 to {len(gene.choices) - 1}"
            )
        return [self._decode_one(row) for row in genes.tolist()]

    def _decode_one(self, row: list[int]) -> Subnet:
        hidden = self.stem.hidden_widths[row[2]] if self.stem.hidden_widths else None
        stages: list[Stage] = []
        for stage, columns in zip(self.stages, self.stage_columns, strict=True):
            self._check_compound(len(stages), row[columns])
            width, depth, *blocks = row[columns]
            pairs = zip(blocks[::2], blocks[1::2], strict=True)
            chosen = [Block(stage.kernels[kernel], stage.expands[expand]) for kernel, expand in pairs]
            stages.append(Stage(stage.widths[width], tuple(chosen[: stage.depths[depth]])))
        stem = Stem(self.stem.widths[row[1]], self.stem.depths[row[3]], hidden)
        return Subnet(self.resolutions[row[0]], stem, tuple(stages))

    def largest(self) -> Subnet:
        """Every choice at its maximum."""
        return self.decode(self.levels - 1)[0]

    def smallest(self) -> Subnet:
        """Every choice at its minimum."""
        return self.decode(np.zeros_like(self.levels))[0]

    # -- subspaces -----------------------------------------------------------------------------------------------------

    def restrict(self, **choices: Unpack[Choices]) -> SearchSpace:
        """The space with only some choices open; its subnets are subnets of this one too (its genes are its own).

        A stage keeps those of its choices that are listed, and always its largest, so stages with other choices (a fixed
        first stage, ResNet's depths) need no list of their own.

        Raises:
            UserError: a value that no stage of the space has.
        """
        self.check_choices(choices)
        widths, resolutions = choices.get("widths"), choices.get("resolutions") or self.resolutions
        stages = tuple(stage.restrict(lists_in(choices), widths) for stage in self.stages)
        # A deep stem's optional convolution counts as depth: open only once every depth of the stages is.
        every_depth = choices.get("depths") is None or all(
            kept.depths == stage.depths for kept, stage in zip(stages, self.stages, strict=True)
        )
        kept = tuple(size for size in self.resolutions if size in resolutions)
        return replace(self, stages=stages, stem=self.stem.restrict(widths, every_depth), resolutions=kept)

    def check_choices(self, choices: Choices) -> None:
        """Raise `UserError` for a value that no stage of the space has."""
        unknown = choices.keys() - Choices.__annotations__.keys()
        if unknown:
            raise TypeError(f"unknown choices {', '.join(sorted(unknown))}; known are {', '.join(Choices.__annotations__)}")
        for name, values in lists_in(choices).items():
            self._check_known(name, values, sorted({choice for stage in self.stages for choice in getattr(stage, name)}))
        resolutions, widths = choices.get("resolutions"), choices.get("widths")
        if resolutions is not None:
            self._check_known("resolutions", resolutions, self.resolutions)
        if widths is not None:
            most = max(len(self.stem.widths), *(len(stage.widths) for stage in self.stages))
            if widths < 1:
                raise UserError(f"{self.name}: widths is {widths}; must be at least 1")
            if widths > most:
                raise UserError(f"{self.name}: widths is {widths}; the space has at most {most} per stage")

    def _check_known(self, name: str, values: Sequence[Any], known: Sequence[Any]) -> None:
        if not values:
            raise UserError(f"{self.name}: {name} is empty; at least one choice is needed")
        for value in values:
            if value not in known:
                raise UserError(
                    f"{self.name}: {name} has {value!r}, which no stage of the space has; known are {list(known)}"
                )


@dataclass(frozen=True, slots=True)
class Gene:
    """A column of a gene matrix: its name, its choices in order, and the stage and block it belongs to."""

    name: str
    choices: tuple[Any, ...]
    stage: int | None = field(default=None)
    block: int | None = field(default=None)


def load_space(name_or_path: str | Path) -> SearchSpace:
    """A space that ships (`mbv3-w1.2`, ...) by name, or one from a YAML file.

    Raises:
        UserError: the file is missing or wrong, or the name is unknown; the message lists what is known.
    """
    path = shipped.find("spaces", name_or_path, what="space")
    return schema.build(SearchSpace, schema.load_yaml(path), str(path))
