"""The layout of gene rows: every column has one name, and every name is a view of the rows."""

from __future__ import annotations

import numpy as np
import pytest

from ofa.space.gene_rows import STEM_GENES, GeneLayout, GeneRows
from ofa.space.search_space import SearchSpace, load_space
from tests.space_toys import SHIPPED, tiny_space


def named_columns(space: SearchSpace) -> dict[str, int]:
    """The columns as `GeneRows` tells them, by the names that `space.genes` has."""
    columns = space.columns
    found = {"resolution": columns.resolution}
    found |= {f"stem.{name}": columns.of_stem(name) for name in STEM_GENES}
    for s, stage in enumerate(space.stages):
        found |= {f"stages[{s}].{name}": columns.of_stage(name, s) for name in stage.stage_genes}
        for name in stage.block_genes:
            found |= {f"stages[{s}].blocks[{b}].{name}": column for b, column in enumerate(columns.block(name, s))}
    return {name: int(column) for name, column in found.items()}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_column_has_the_name_that_the_space_gives_it(name: str) -> None:
    space = load_space(name)
    assert named_columns(space) == {gene.name: column for column, gene in enumerate(space.genes)}


@pytest.mark.parametrize("shape", [(), (7,), (2, 3)], ids=str)
def test_what_is_written_by_name_is_written_into_the_rows(shape: tuple[int, ...]) -> None:
    space = tiny_space()
    for strided in (False, True):
        genes = np.zeros((*shape, 2 * len(space.genes)), dtype=np.int8)[..., :: 2 if strided else 1]
        genes = genes[..., : len(space.genes)]
        rows = space.rows(genes)
        assert rows.block("kernel", 1).shape == (*shape, 3)
        assert rows.blocks(2).shape == (*shape, 2, 2)
        rows.resolution[...] = 1
        rows.stem[...] = 2
        rows.of_stem("depth")[...] = 3
        rows.width(1)[...] = 4
        rows.depth(1)[...] = 5
        rows.block("kernel", 1)[...] = [6, 7, 8]
        rows.blocks(2)[..., 1, :] = 9
        expected = [1, 2, 2, 3, *[0] * 4, 4, 5, 6, 0, 7, 0, 8, 0, 0, 0, 0, 0, 9, 9]
        assert (genes == expected).all()


def test_blocks_beyond_the_depth_are_not_present() -> None:
    space = tiny_space()
    depths = space.stages[1].depths
    genes = np.zeros((len(depths), len(space.genes)), dtype=np.int8)
    space.rows(genes).depth(1)[:] = np.arange(len(depths))
    present = space.rows(space.rows(genes).present())
    assert (present.block("kernel", 1).sum(axis=1).tolist(), present.block("expand", 1).sum(axis=1).tolist()) == (
        list(depths),
        list(depths),
    )
    assert present.resolution.all()
    assert present.stem.all()
    assert all(present.width(s).all() and present.depth(s).all() for s in range(3))
    assert not present.blocks(2)[:, 1:].any(), "its depth is the smallest"
    assert [len(stage.blocks) for stage in space.rows(genes).chosen(1)] == list(depths)


def test_rows_of_another_space_do_not_pass_for_ones_own() -> None:
    space = tiny_space()
    with pytest.raises(ValueError, match="cannot reshape"):
        GeneRows(GeneLayout(space.stages), np.zeros((1, len(space.genes) - 1), dtype=np.int8)).blocks(2)
