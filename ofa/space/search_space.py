"""The search space: a frozen description of everything elastic, and its subnets as rows of genes (`ofa.space.gene_rows`).

Genes of blocks beyond a stage's depth are 0 in canonical rows, so equal subnets have equal rows. Only numpy, no torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.files.bounds import FINITE, Above, AtLeast, AtMost, Bounded, NotEmpty, OneOf
from ofa.space.gene_rows import Gene, GeneLayout, GeneRows, Genes, gene_list
from ofa.space.kinds import KINDS
from ofa.space.parts import Choices, HeadSpace, Resolutions, StageSpace, StemSpace, lists_in
from ofa.space.subnet import Stem, Subnet

__all__ = ["Gene", "Genes", "HeadSpace", "SearchSpace", "StageSpace", "StemSpace", "load_space"]


MOST_STAGES, MOST_COMBINATIONS, MOST_PARAMETERS = 64, 1_000_000, 2e10
"""Limits on the stages of a space, the shapes of a block in one stage, and the parameters of the largest subnet. Spaces
in use have up to 9, 225 and 4e7; a file beyond the limits is a mistake, and would fill the memory before it is refused."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Bounded):
    """Everything elastic about a network family; see `docs/spaces.md` for the YAML."""

    name: str
    """Name in cards and messages."""
    block: Annotated[str, OneOf(tuple(KINDS))]
    """`mbconv` (MobileNetV2, V3) or `bottleneck` (ResNet)."""
    stem: StemSpace
    stages: Annotated[tuple[StageSpace, ...], NotEmpty("a space needs at least one stage")]
    """Stages in order; the blocks of a stage have feature maps of the same size."""
    head: HeadSpace
    resolutions: Resolutions
    """Choices of the side of the square input, in pixels."""
    in_channels: Annotated[int, AtLeast(1), AtMost(1024)] = 3
    """Channels of an image: 1 (grey) or 3 (RGB)."""
    classes: Annotated[int, AtLeast(1), AtMost(1_000_000)] = 1000
    """Outputs of the network, one per class of the data."""
    kernel_transforms: bool = True
    """True: a smaller kernel is the centre of a larger one, times a learned matrix (OFA, section 3.3). False: no matrix."""
    norm_eps: Annotated[float, Above(0), FINITE] = 1e-5
    """Epsilon of every batch norm, added to the variance (the published ProxylessNAS has 1e-3)."""
    compound: bool = False
    """True: depth and expand ratio of a stage are coupled: the i-th depth has the i-th expand ratio in all its blocks
    (CompOFA, Sahni et al., 2021). The genes are the same; rows with other combinations are not in the space."""
    description: str = ""
    """One or two sentences for users."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resolutions[0] < self.total_stride:
            raise ValueError(
                f"resolution {self.resolutions[0]} is too small for a total stride of {self.total_stride}; "
                f"resolutions must be at least {self.total_stride}"
            )
        self._check_size()
        for i, stage in enumerate(self.stages):
            if self.compound and len(stage.depths) != len(stage.expands):
                raise ValueError(
                    f"stages[{i}]: depths are {list(stage.depths)} and expands {list(stage.expands)}; "
                    "in a compound space the i-th depth has the i-th expand ratio, so give as many of one as of the other"
                )
            if stage.se is not False and not KINDS[self.block].squeeze_excite:
                able = ", ".join(name for name, kind in KINDS.items() if kind.squeeze_excite)
                raise ValueError(f"stages[{i}]: se is for {able} blocks, but this space has {self.block} blocks")

    def _check_size(self) -> None:
        """Raise `ValueError` for a space too large to be tabulated, or whose largest subnet fits in no memory."""
        if len(self.stages) > MOST_STAGES:
            raise ValueError(f"stages are {len(self.stages)}; at most {MOST_STAGES} are allowed")
        before, parameters = self.stem.widths, float(self.classes * (self.head.features or self.head.width or 1))
        for i, stage in enumerate(self.stages):
            combinations = (
                len(self.resolutions)
                * len(before)
                * prod(len(stage.choices(gene)) for gene in ("width", *stage.shared_genes, *stage.block_genes))
            )
            if combinations > MOST_COMBINATIONS:
                raise ValueError(
                    f"stages[{i}]: resolutions, widths and choices of a block combine to {combinations:,} shapes; at most "
                    f"{MOST_COMBINATIONS:,} are tabulated"
                )
            widest = max(before[-1], stage.widths[-1])
            hidden = stage.expands[-1] * widest
            parameters += stage.depths[-1] * hidden * (2 * widest + stage.kernels[-1] ** 2)
            before = stage.widths
        if parameters > MOST_PARAMETERS:
            raise ValueError(
                f"its largest subnet has about {parameters:.2g} parameters; at most {MOST_PARAMETERS:.2g} are allowed"
            )

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
            del facts["compound"]  # so that spaces older than this field keep their fingerprint
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The columns of a gene matrix."""
        return gene_list(self.resolutions, self.stem, self.stages)

    @cached_property
    def levels(self) -> npt.NDArray[np.int64]:
        """Number of choices of each gene, int64[genes]."""
        return np.array([len(gene.choices) for gene in self.genes])

    @cached_property
    def columns(self) -> GeneRows:
        """Column numbers, by the names of `GeneRows`: `columns.depth(2)`, `columns.block("kernel", 2)[0]`."""
        return self.rows(np.arange(len(self.genes)))

    def rows(self, genes: npt.NDArray[Any]) -> GeneRows:
        """Access by name to gene rows [..., genes]."""
        return GeneRows(self._layout, genes)

    @cached_property
    def _layout(self) -> GeneLayout:
        return GeneLayout(self.stages)

    def count(self) -> int:
        """Number of distinct subnets, exactly."""
        total = len(self.resolutions) * len(self.stem.widths)
        total *= max(1, len(self.stem.hidden_widths)) * len(self.stem.depths)
        for stage in self.stages:
            free = [name for name in stage.block_genes if not (self.compound and name == "expand")]
            per_block = prod(len(stage.choices(name)) for name in free)
            total *= prod(len(stage.choices(name)) for name in ("width", *stage.shared_genes))
            total *= sum(per_block**depth for depth in stage.depths)
        return total

    # -- genes ---------------------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """`n` random subnets, every gene uniform as in OFA; int8[n, genes], canonical."""
        return self.canonical(rng.integers(0, self.levels, size=(n, len(self.levels)), dtype=np.int8))

    def canonical(self, genes: npt.ArrayLike) -> Genes:
        """A copy in which genes of absent blocks are 0 and, in a compound space, expand genes follow the depth."""
        genes = np.array(genes, dtype=np.int8, ndmin=2)
        rows = self.rows(genes)
        for s in range(len(self.stages) if self.compound else 0):
            rows.block("expand", s)[:] = rows.depth(s)[:, None]
        genes *= rows.present()
        return genes

    def encode(self, subnets: Sequence[Subnet] | Subnet) -> Genes:
        """Subnets to int8[n, genes]; raises `UserError` naming the first choice that is not in the space."""
        subnets = [subnets] if isinstance(subnets, Subnet) else list(subnets)
        genes = np.array([self._encode_one(subnet) for subnet in subnets], dtype=np.int8).reshape(-1, len(self.genes))
        self._check_compound(genes)
        return genes

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
        for s, (chosen, stage) in enumerate(zip(subnet.stages, self.stages, strict=True)):
            for name in stage.stage_genes:
                row.append(self._index(f"stages[{s}].{name}", stage.choices(name), getattr(chosen, name)))
            if chosen.se is not None and "se" not in stage.stage_genes:
                raise UserError(f"{self.name}: stages[{s}].se is {chosen.se}; this stage leaves no choice, so leave it out")
            for b, block in enumerate(chosen.blocks):
                for name in stage.block_genes:
                    row.append(self._index(f"stages[{s}].blocks[{b}].{name}", stage.choices(name), getattr(block, name)))
            row += [0] * len(stage.block_genes) * (stage.depths[-1] - chosen.depth)
        return row

    def check(self, subnet: Subnet) -> None:
        """Raise `UserError` naming the first choice that is not in the space; the resolution is not checked."""
        self.encode(replace(subnet, resolution=self.resolutions[0]))

    def _check_compound(self, genes: Genes) -> None:
        """Raise `UserError` if the space is compound and one of the rows is not in it."""
        if not self.compound:
            return
        rows = self.rows(genes)
        present = self.rows(rows.present())
        for s, stage in enumerate(self.stages):
            depth, expand = rows.depth(s), rows.block("expand", s)
            wrong = np.argwhere((expand != depth[:, None]) & present.block("expand", s))
            if len(wrong):
                row, block = wrong[0]
                blocks, given, tied = stage.depths[depth[row]], stage.expands[expand[row, block]], stage.expands[depth[row]]
                raise UserError(
                    f"{self.name}: stages[{s}] has {blocks} blocks and expand ratio {given:g}; "
                    f"in this compound space that depth has expand ratio {tied:g}"
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
        self._check_compound(genes)
        rows = self.rows(genes)
        stages = zip(*(rows.chosen(s) for s in range(len(self.stages))), strict=True)
        before = zip(rows.resolution.tolist(), rows.stem.tolist(), strict=True)
        return [
            Subnet(self.resolutions[resolution], self._decode_stem(*stem), chosen)
            for (resolution, stem), chosen in zip(before, stages, strict=True)
        ]

    def _decode_stem(self, width: int, hidden: int, depth: int) -> Stem:
        stem = self.stem
        return Stem(stem.widths[width], stem.depths[depth], stem.hidden_widths[hidden] if stem.hidden_widths else None)

    def largest(self) -> Subnet:
        """Every choice at its maximum."""
        return self.decode(self.levels - 1)[0]

    def smallest(self) -> Subnet:
        """Every choice at its minimum."""
        return self.decode(np.zeros_like(self.levels))[0]

    # -- subspaces -----------------------------------------------------------------------------------------------------

    def restrict(self, **choices: Unpack[Choices]) -> SearchSpace:
        """The space with only some choices open. Its subnets are subnets of this space too, but have other gene rows.

        A stage keeps its listed choices, and always its largest, so stages with other choices (a fixed first stage,
        ResNet's depths) need no list of their own.

        Raises:
            UserError: a value is in no stage of the space; or a compound space would have more depths than expand ratios, or
                fewer.
        """
        self.check_choices(choices)
        widths, resolutions = choices.get("widths"), choices.get("resolutions") or self.resolutions
        stages = tuple(stage.restrict(lists_in(choices), widths) for stage in self.stages)
        # The optional convolution of a deep stem counts as depth: it is open only when all depths of the stages are.
        every_depth = choices.get("depths") is None or all(
            kept.depths == stage.depths for kept, stage in zip(stages, self.stages, strict=True)
        )
        kept = tuple(size for size in self.resolutions if size in resolutions)
        try:
            return replace(self, stages=stages, stem=self.stem.restrict(widths, every_depth), resolutions=kept)
        except ValueError as error:  # compound, and depths and expand ratios that are left do not match
            raise UserError(f"{self.name}: {error}") from None

    def check_choices(self, choices: Choices) -> None:
        """Raise `UserError` for a value that no stage of the space has."""
        unknown = choices.keys() - Choices.__annotations__.keys()
        if unknown:
            raise TypeError(f"unknown choices {', '.join(sorted(unknown))}; known are {', '.join(Choices.__annotations__)}")
        for name, values in lists_in(choices).items():
            self._check_known(name, values, sorted({choice for stage in self.stages for choice in stage.lists[name]}))
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


def load_space(name_or_path: str | Path) -> SearchSpace:
    """A space that ships (`mbv3-w1.2`, ...) by name, or one from a YAML file.

    Raises:
        UserError: the file is missing or wrong, or the name is unknown; the message lists the names.
    """
    path = shipped.find("spaces", name_or_path, what="space")
    return schema.build(SearchSpace, schema.load_yaml(path), str(path))
