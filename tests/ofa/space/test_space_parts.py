"""Restrictions of a space: what a phase opens, what a user fixes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.space.search_space import load_space
from ofa.space.subspace import is_subspace, largest_only, only
from tests.space_toys import SHIPPED, deep_space, every_subnet, tiny_space, wide_space


def test_a_stage_keeps_what_is_listed_and_always_its_largest() -> None:
    space = wide_space()
    part = space.restrict(kernels=[3], depths=[1], expands=[2.0], resolutions=[12])
    assert [stage.kernels for stage in part.stages] == [(3, 5), (3, 7), (3, 5)]
    assert [stage.depths for stage in part.stages] == [(1, 2), (1, 2), (2,)]
    assert [stage.expands for stage in part.stages] == [(1.0,), (2.0, 6.0), (6.0,)]
    assert part.resolutions == (12,)
    assert [stage.widths for stage in part.stages] == [stage.widths for stage in space.stages]
    assert space.restrict() == space


def test_widths_are_counted_from_the_widest_in_stem_and_stages() -> None:
    part = deep_space().restrict(widths=1)
    assert part.stem.widths == (24,)
    assert part.stem.hidden_widths == (16,)
    assert [stage.widths for stage in part.stages] == [(32,), (48,)]
    assert deep_space().restrict(widths=2) == deep_space()


def test_the_stems_optional_convolution_opens_with_the_last_depths() -> None:
    space = deep_space()
    assert space.restrict(depths=[2, 3]).stem.depths == (3,)
    assert space.restrict(depths=[1, 2, 3]).stem.depths == (2, 3)
    assert space.restrict(kernels=[5]).stem.depths == (2, 3)


def test_subnets_of_a_part_are_subnets_of_the_whole_and_the_largest_stays() -> None:
    space = tiny_space()
    part = space.restrict(kernels=[5], expands=[2.0, 4.0], depths=[1], widths=1)
    assert set(every_subnet(part)) < set(every_subnet(space))
    assert part.largest() == space.largest()
    space.encode(every_subnet(part))  # none refused
    assert is_subspace(part, space)
    assert not is_subspace(space, part)


@pytest.mark.parametrize("name", SHIPPED)
def test_largest_only_holds_the_largest_subnet_at_every_resolution(name: str) -> None:
    space = load_space(name)
    part = largest_only(space)
    assert part.count() == len(space.resolutions)
    assert part.largest() == space.largest()
    assert part.smallest() == replace(space.largest(), resolution=space.resolutions[0])
    assert is_subspace(part, space)


def test_a_phases_choices_in_the_published_space() -> None:
    space = load_space("mbv3-w1.2")
    part = space.restrict(kernels=[7, 5], depths=[4], expands=[6])
    assert part.count() == 25 * (2**4) ** 5
    for subnet in part.decode(part.sample(50, np.random.default_rng(0))):
        space.check(subnet)
        assert all(block.expand == 6 and block.kernel > 3 for stage in subnet.stages[1:] for block in stage.blocks)


def test_choices_the_space_does_not_have_are_refused() -> None:
    space = wide_space()
    with pytest.raises(UserError, match=r"wide: kernels has 9, which no stage of the space has; known are \[3, 5, 7\]"):
        space.restrict(kernels=[3, 9])
    with pytest.raises(UserError, match=r"wide: depths has 3, .*; known are \[1, 2\]"):
        space.restrict(depths=[3])
    with pytest.raises(UserError, match=r"wide: expands has 2\.5, .*; known are \[1\.0, 2\.0, 3\.0, 6\.0\]"):
        space.restrict(expands=[2.5])
    with pytest.raises(UserError, match=r"wide: resolutions has 14, .*; known are \[12, 16\]"):
        space.restrict(resolutions=[14])
    with pytest.raises(UserError, match="wide: kernels is empty; at least one choice is needed"):
        space.restrict(kernels=[])
    with pytest.raises(UserError, match="wide: widths is 0; must be at least 1"):
        space.restrict(widths=0)
    with pytest.raises(UserError, match="wide: widths is 3; the space has at most 2 per stage"):
        space.restrict(widths=3)
    with pytest.raises(TypeError, match="unknown choices kernel; known are kernels, depths, expands, se"):
        space.restrict(kernel=[3])  # type: ignore[call-arg]


def test_is_subspace_looks_at_every_kind_of_choice() -> None:
    space = deep_space()
    assert is_subspace(space, space)
    stage = space.stages[0]
    foreign = [
        replace(space, resolutions=(24, 40)),
        replace(space, stages=space.stages[:1]),
        replace(space, stem=replace(space.stem, widths=(16, 32))),
        replace(space, stem=replace(space.stem, hidden_widths=(8, 24))),
        *(
            replace(space, stages=(replace(stage, **{name: choices}), space.stages[1]))
            for name, choices in {"widths": (8,), "depths": (4,), "kernels": (7,), "expands": (2.0,)}.items()
        ),
    ]
    assert [is_subspace(other, space) for other in foreign] == [False] * 8
    assert not is_subspace(space, replace(space, stem=replace(space.stem, depths=(3,))))


def test_only_keeps_nothing_but_what_is_listed() -> None:
    space = load_space("mbv3-w1.2")
    part = only(space, kernels=[3], depths=[2, 3], expands=[4.0], resolutions=[160, 224])
    assert [stage.kernels for stage in part.stages] == [(3,)] * 6
    assert [stage.depths for stage in part.stages] == [(1,)] + [(2, 3)] * 5
    assert [stage.expands for stage in part.stages] == [(1.0,)] + [(4.0,)] * 5
    assert part.resolutions == (160, 224)
    assert is_subspace(part, space)
    assert only(space) == space
    assert only(deep_space(), widths=1) == deep_space().restrict(widths=1)


def test_only_refuses_what_a_stage_does_not_have() -> None:
    space = wide_space()
    with pytest.raises(UserError, match=r"kernels has 4, which no stage of the space has; known are \[3, 5, 7\]"):
        only(space, kernels=[4])
    with pytest.raises(UserError, match=r"stage 0 has kernels \[3, 5\]; none of them is in \[7\]"):
        only(space, kernels=[7])
