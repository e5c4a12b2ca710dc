"""Candidates that are measured are different nets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ofa import load_space
from ofa.cli.shared.candidates import Candidates


def test_expand_ratios_that_round_to_one_width_are_one_candidate() -> None:
    space = load_space("fashion-mnist")
    smallest = space.smallest()
    stage = smallest.stages[0]
    assert stage.width == 8  # three expand ratios give 8 hidden channels
    same = [
        replace(smallest, stages=(replace(stage, blocks=(replace(stage.blocks[0], expand=ratio),)), *smallest.stages[1:]))
        for ratio in (0.25, 0.5)
    ]
    problem: Any = SimpleNamespace(space=space)
    result: Any = SimpleNamespace(genes=space.encode([smallest, *same, space.largest(), smallest]))
    candidates = Candidates(problem, result, {})
    assert candidates._distinct(5) == [0, 3]
    assert candidates._distinct(1) == [0]
