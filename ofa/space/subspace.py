"""Subspaces of a search space: opened by a phase of progressive shrinking, or left by a user's `--fix`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from ofa.errors import UserError
from ofa.space.parts import LISTS, Choices, lists_in
from ofa.space.search_space import SearchSpace


def only(space: SearchSpace, **choices: Unpack[Choices]) -> SearchSpace:
    """The space with only the listed choices, for `--fix` in a search.

    A stage keeps only those of its choices that are listed (`SearchSpace.restrict` also keeps its largest). A field in which
    a stage has no choice stays as it is. In a compound space, a depth selects its expand ratio, and an expand ratio its
    depth.

    Raises:
        UserError: no stage of the space has a value, or a stage with several choices has none of the listed ones.
    """
    space.check_choices(choices)
    whole = space.restrict(widths=choices.get("widths"), resolutions=choices.get("resolutions"))
    stages = [stage.keep(_only_listed(space, i, lists_in(choices))) for i, stage in enumerate(whole.stages)]
    return replace(whole, stages=tuple(stages))


def _only_listed(space: SearchSpace, i: int, listed: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    """The choices that stage `i` keeps of each field in `LISTS` that it has."""
    has = space.stages[i].lists
    kept: dict[str, set[int]] = {}  # by level, because equal levels are coupled in a compound space
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
                f"{space.name}: stage {i} has depths coupled with expand ratios, {pairs}; none of these pairs is in "
                f"depths {list(listed['depths'])} and expands {list(listed['expands'])}"
            )
    return {name: tuple(known[level] for level in sorted(kept[name])) for name, known in has.items()}


def largest_only(space: SearchSpace) -> SearchSpace:
    """The space of the largest network alone, at every resolution."""
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
