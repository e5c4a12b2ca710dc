"""Subspaces of a search space: what a phase of progressive shrinking has opened, or what a user has fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from ofa.errors import UserError
from ofa.space.parts import LISTS, Choices, lists_in
from ofa.space.search_space import SearchSpace


def only(space: SearchSpace, **choices: Unpack[Choices]) -> SearchSpace:
    """The space with nothing but the listed choices; what a user fixes in a search.

    A stage keeps those of its choices that are listed (`SearchSpace.restrict` keeps its largest besides). What is fixed in a
    stage anyway (all of a fixed first stage) stays as it is. In a compound space a depth brings its expand ratio, and an
    expand ratio its depth.

    Raises:
        UserError: a value that no stage of the space has, or a stage with several choices and none of the listed.
    """
    space.check_choices(choices)
    whole = space.restrict(widths=choices.get("widths"), resolutions=choices.get("resolutions"))
    stages = [stage.keep(_only_listed(space, i, lists_in(choices))) for i, stage in enumerate(whole.stages)]
    return replace(whole, stages=tuple(stages))


def _only_listed(space: SearchSpace, i: int, listed: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    """Those of `LISTS` that stage `i` keeps when only the listed choices are wanted."""
    has = space.stages[i].lists
    kept: dict[str, set[int]] = {}  # levels, which tell what goes together in a compound space
    for name, known in has.items():
        wanted = listed.get(name, known)
        kept[name] = {level for level, choice in enumerate(known) if choice in wanted or len(known) == 1}
        if not kept[name]:
            raise UserError(f"{space.name}: stage {i} has {name} {list(known)}; none of them is in {list(wanted)}")
    if space.compound:
        kept["depths"] = kept["expands"] = kept["depths"] & kept["expands"]
        if not kept["depths"]:
            tied = has["depths"], has["expands"]
            pairs = ", ".join(f"{depth} with {expand:g}" for depth, expand in zip(*tied, strict=True))
            raise UserError(
                f"{space.name}: stage {i} has depths that go with expand ratios, {pairs}; none of these pairs is in "
                f"depths {list(listed['depths'])} and expands {list(listed['expands'])}"
            )
    return {name: tuple(known[level] for level in sorted(kept[name])) for name, known in has.items()}


def largest_only(space: SearchSpace) -> SearchSpace:
    """The space whose only network is the largest, at every resolution."""
    stages = tuple(stage.restrict(dict.fromkeys(LISTS, ()), widths=1) for stage in space.stages)
    return replace(space, stages=stages, stem=space.stem.restrict(widths=1, every_depth=False))


def is_subspace(inner: SearchSpace, outer: SearchSpace) -> bool:
    """Tell whether every subnet of `inner` is one of `outer`."""
    if len(inner.stages) != len(outer.stages) or inner.compound != outer.compound:
        return False
    pairs: list[tuple[Sequence[Any], Sequence[Any]]] = [
        (inner.resolutions, outer.resolutions),
        (inner.stem.widths, outer.stem.widths),
        (inner.stem.hidden_widths, outer.stem.hidden_widths),
        (inner.stem.depths, outer.stem.depths),
    ]
    for small, large in zip(inner.stages, outer.stages, strict=True):
        if outer.compound:
            ties = [list(zip(stage.depths, stage.expands, strict=True)) for stage in (small, large)]
            pairs.append((ties[0], ties[1]))
        if small.stage_genes != large.stage_genes:
            return False
        pairs += [(small.choices(name), large.choices(name)) for name in small.stage_genes + small.block_genes]
    return all(set(small) <= set(large) for small, large in pairs)
