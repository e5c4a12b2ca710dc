"""Compound spaces: depth and expand ratio go together, from the genes through training to the search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa import UserError
from ofa.runs.recipe import load_recipe, opened_spaces
from ofa.space.search_space import SearchSpace, StageSpace
from ofa.space.subspace import is_subspace
from search.exact.stage_tables import StageTables
from search.problem.domain import Domain
from tests.search_toys import make_problem
from tests.space_toys import every_subnet, tiny_space
from tests.tiny import write_recipe


def compound_space() -> SearchSpace:
    stages = (
        StageSpace(widths=(8,), depths=(1,), kernels=(3,), expands=(1.0,)),
        StageSpace(widths=(16, 24), depths=(1, 3), kernels=(3, 5), expands=(2.0, 4.0)),
        StageSpace(widths=(24,), depths=(1, 2), kernels=(3,), expands=(2.0, 6.0), stride=2),
    )
    return tiny_space(stages=stages, compound=True)


def ties(space: SearchSpace, genes: np.ndarray) -> set[tuple[int, float]]:
    return {(len(s.blocks), b.expand) for subnet in space.decode(genes) for s in subnet.stages[1:2] for b in s.blocks}


def test_its_subnets_are_those_whose_expand_ratios_follow_the_depth() -> None:
    space = compound_space()
    free = replace(space, compound=False)
    tied = [
        subnet
        for subnet in every_subnet(free)
        if all(
            block.expand == stage.expands[stage.depths.index(len(choice.blocks))]
            for stage, choice in zip(space.stages, subnet.stages, strict=True)
            for block in choice.blocks
        )
    ]
    assert space.count() == len(tied) < free.count()
    assert space.decode(space.encode(tied)) == tied
    genes = space.sample(2000, np.random.default_rng(0))
    assert {row.tobytes() for row in genes} <= {row.tobytes() for row in space.encode(tied)}
    assert ties(space, genes) == {(1, 2.0), (3, 4.0)}
    assert space.fingerprint != free.fingerprint


def test_other_subnets_are_refused() -> None:
    space = compound_space()
    free = replace(space, compound=False)
    subnet = free.largest()
    genes = free.encode(subnet)
    free.rows(genes).block("expand", 1)[0, 0] = 0
    message = r"tiny: stages\[1\] has 3 blocks and expand ratio 2; in this compound space that depth has expand ratio 4"
    with pytest.raises(UserError, match=message):
        space.decode(genes)
    with pytest.raises(UserError, match=message):
        space.check(free.decode(genes)[0])


def test_as_many_depths_as_expand_ratios_are_needed() -> None:
    with pytest.raises(ValueError, match=r"stages\[1\]: depths are \[1, 3\] and expands \[2.0\]; in a compound"):
        tiny_space(compound=True)


def test_parts_keep_the_ties() -> None:
    space = compound_space()
    assert is_subspace(space.restrict(depths=[2, 3], expands=[4, 6]), space)
    crossed = replace(space.stages[1], depths=(1,), expands=(4.0,))
    assert not is_subspace(replace(space, stages=(space.stages[0], crossed, space.stages[2])), space)
    assert not is_subspace(replace(space, compound=False), space)


def test_a_search_never_leaves_it() -> None:
    space, rng = compound_space(), np.random.default_rng(1)
    domain = Domain(space)
    parents = domain.sample(300, rng)
    for genes in (
        parents,
        domain.sample_sizes(300, rng),
        domain.extremes(),
        domain.mutate(parents, 2.0, rng),
        domain.vary(domain.grown(parents, rng), domain.grown(parents[::-1], rng), len(parents), 0.0, rng),
        domain.neighbours(parents[:5]),
    ):
        assert len(genes)
        assert np.array_equal(genes, space.canonical(genes))
        assert len(space.decode(genes)) == len(genes)
        assert domain.contains(genes).all()


def test_a_phase_opens_depths_and_expand_ratios_together(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    space_file = tmp_path / "tiny-space.yaml"
    space_file.write_text(space_file.read_text() + "compound: true\n")
    with pytest.raises(UserError, match=r"phases\[2\] \(depth\): stages\[1\]: depths are \[1, 2\] and expands \[4.0\]"):
        load_recipe(path)
    text = path.read_text().partition("  - {name: depth")[0]
    path.write_text(text + "  - {name: compound, epochs: 1, peak_lr: 0.05, opens: {depths: [1, 2], expands: [2, 4]}}\n")
    recipe, space = load_recipe(path)
    assert opened_spaces(recipe, space)[-1] == space


def test_exact_search_knows_the_tied_subnets_and_no_others() -> None:
    space = compound_space()
    tables = StageTables(make_problem(space), [])
    for rows, stage in zip(tables.options[1:], space.stages, strict=True):
        assert len(rows) == sum(len(stage.kernels) ** depth for depth in stage.depths)
        assert np.array_equal(rows, space.canonical(rows))
