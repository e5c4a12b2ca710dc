"""Parts of a search space: what a phase of progressive shrinking has opened, or what a user has fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.space.search_space import SearchSpace


def restrict(
    space: SearchSpace,
    *,
    kernels: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    expands: Sequence[float] | None = None,
    widths: int | None = None,
    resolutions: Sequence[int] | None = None,
) -> SearchSpace:
    """The space with only some choices open; its subnets are subnets of `space` too (its genes are its own).

    A stage keeps those of its choices that are listed, and always its largest, so stages with other choices (a fixed first
    stage, ResNet's depths) need no list of their own. `None` leaves a dimension as it is.

    Args:
        space: the whole space.
        kernels: kernel sizes in pixels.
        depths: blocks per stage.
        expands: expand ratios.
        widths: how many of each stage's (and the stem's) widths, counted from the widest.
        resolutions: input sides in pixels.

    Raises:
        UserError: a value that no stage of the space has.
    """
    stages = list(space.stages)
    for name, wanted in (("kernels", kernels), ("depths", depths), ("expands", expands)):
        if wanted is None:
            continue
        known = sorted({choice for stage in space.stages for choice in getattr(stage, name)})
        _check(space, name, wanted, known)
        for i, stage in enumerate(stages):
            choices = getattr(stage, name)
            kept: Any = {name: tuple(choice for choice in choices if choice in wanted or choice == choices[-1])}
            stages[i] = replace(stage, **kept)
    stem = space.stem
    if widths is not None:
        if widths < 1:
            raise UserError(f"{space.name}: widths is {widths}; must be at least 1")
        most = max(len(part) for part in (stem.widths, *(stage.widths for stage in stages)))
        if widths > most:
            raise UserError(f"{space.name}: widths is {widths}; the space has at most {most} per stage")
        stages = [replace(stage, widths=stage.widths[-widths:]) for stage in stages]
        stem = replace(stem, widths=stem.widths[-widths:], hidden_widths=stem.hidden_widths[-widths:])
    if depths is not None and len(stem.depths) > 1:
        # A deep stem's optional convolution counts as depth: open only once every depth of the stages is.
        everything = all(part.depths == whole.depths for part, whole in zip(stages, space.stages, strict=True))
        stem = stem if everything else replace(stem, depths=stem.depths[-1:])
    if resolutions is not None:
        _check(space, "resolutions", resolutions, list(space.resolutions))
    kept_resolutions = tuple(r for r in space.resolutions if resolutions is None or r in resolutions)
    return replace(space, stages=tuple(stages), stem=stem, resolutions=kept_resolutions)


def only(
    space: SearchSpace,
    *,
    kernels: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    expands: Sequence[float] | None = None,
    widths: int | None = None,
    resolutions: Sequence[int] | None = None,
) -> SearchSpace:
    """The space with nothing but the listed choices; what a user fixes in a search.

    A stage keeps those of its choices that are listed (`restrict` keeps its largest besides). What is fixed in a stage
    anyway (all of a fixed first stage) stays as it is. The arguments are those of `restrict`.

    Raises:
        UserError: a value that no stage of the space has, or a stage with several choices and none of the listed.
    """
    part = restrict(space, widths=widths, resolutions=resolutions)
    stages = list(part.stages)
    for name, wanted in (("kernels", kernels), ("depths", depths), ("expands", expands)):
        if wanted is None:
            continue
        _check(space, name, wanted, sorted({choice for stage in space.stages for choice in getattr(stage, name)}))
        for i, stage in enumerate(stages):
            choices = getattr(stage, name)
            kept: Any = {name: tuple(choice for choice in choices if choice in wanted or len(choices) == 1)}
            if not kept[name]:
                raise UserError(f"{space.name}: stage {i} has {name} {list(choices)}; none of them is in {list(wanted)}")
            stages[i] = replace(stage, **kept)
    return replace(part, stages=tuple(stages))


def largest_only(space: SearchSpace) -> SearchSpace:
    """The space whose only network is the largest, at every resolution."""
    last: Any = [
        {name: getattr(stage, name)[-1:] for name in ("kernels", "depths", "expands", "widths")} for stage in space.stages
    ]
    stages = tuple(replace(stage, **choices) for stage, choices in zip(space.stages, last, strict=True))
    stem = replace(
        space.stem,
        widths=space.stem.widths[-1:],
        hidden_widths=space.stem.hidden_widths[-1:],
        depths=space.stem.depths[-1:],
    )
    return replace(space, stages=stages, stem=stem)


def is_part(part: SearchSpace, whole: SearchSpace) -> bool:
    """Whether every subnet of `part` is one of `whole`."""
    if len(part.stages) != len(whole.stages) or part.compound != whole.compound:
        return False
    pairs: list[tuple[Sequence[Any], Sequence[Any]]] = [
        (part.resolutions, whole.resolutions),
        (part.stem.widths, whole.stem.widths),
        (part.stem.hidden_widths, whole.stem.hidden_widths),
        (part.stem.depths, whole.stem.depths),
    ]
    for small, large in zip(part.stages, whole.stages, strict=True):
        if whole.compound:
            ties = [list(zip(stage.depths, stage.expands, strict=True)) for stage in (small, large)]
            pairs.append((ties[0], ties[1]))
        pairs += [(getattr(small, n), getattr(large, n)) for n in ("widths", "depths", "kernels", "expands")]
    return all(set(small) <= set(large) for small, large in pairs)


def _check(space: SearchSpace, name: str, wanted: Sequence[Any], known: Sequence[Any]) -> None:
    if not wanted:
        raise UserError(f"{space.name}: {name} is empty; at least one choice is needed")
    for value in wanted:
        if value not in known:
            raise UserError(f"{space.name}: {name} has {value!r}, which no stage of the space has; known are {list(known)}")
