"""`--fix` in every shipped space: an answer that keeps to it, or one line; depth and expand ratio of a compound space."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa import UserError
from ofa.cli.shared.question import parse_fixes, searched_part
from ofa.runs.run_files import RunFiles
from ofa.space.parts import LISTS
from ofa.space.search_space import Genes, SearchSpace, load_space
from ofa.space.subnet import Subnet
from ofa.space.subspace import is_subspace
from search.arrays import Floats
from search.problem.domain import Domain
from tests.space_toys import SHIPPED, toy_space
from tests.verbs import error, ofa

NONSENSE = ("", ",", "3,", "a", "true", "3;5", "=3", "nan", "inf", "-inf", "1e400", "0", "-1", "99", "3.5", "9" * 5000)


def words_of(space: SearchSpace) -> list[list[str]]:
    """Options of every kind: each choice alone, all together, pairs of depth and expand ratio, and nonsense."""
    known = {name: sorted({choice for stage in space.stages for choice in stage.lists[name]}) for name in LISTS}
    known |= {"resolutions": [space.resolutions[0], space.resolutions[-1], 7], "widths": [1, 2, 3, 4, 5]}
    words = [[f"{name}={word(value)}"] for name, values in known.items() for value in values]
    words += [[f"{name}={','.join(map(word, values))}"] for name, values in known.items()]
    pairs = product(known["depths"], known["expands"])
    words += [[f"depths={depth}", f"expands={expand:g}"] for depth, expand in pairs]
    words += [[f"{name}={text}"] for name in known for text in NONSENSE]
    return [*words, [""], ["="], ["kernels"], ["stem=1"], ["kernels=3", "kernels=3"], ["kernels=3", "resolutions="]]


def word(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def keeps_to(subnet: Subnet, fixes: dict[str, Any], space: SearchSpace) -> bool:
    """Whether a subnet has no other choices than those fixed, but where its stage has only one."""
    for stage, choice in zip(space.stages, subnet.stages, strict=True):
        made: dict[str, set[Any]] = {
            "se": {choice.se},
            "depths": {len(choice.blocks)},
            "kernels": {block.kernel for block in choice.blocks},
            "expands": {block.expand for block in choice.blocks},
        }
        for name, values in made.items():
            if name in fixes and len(stage.lists[name]) > 1 and not values <= set(fixes[name]):
                return False
    return subnet.resolution in fixes.get("resolutions", space.resolutions)


@pytest.mark.parametrize("name", [*SHIPPED, "gated"])
def test_every_fix_is_kept_to_or_refused_in_one_line(name: str) -> None:
    space, rng = toy_space(name), np.random.default_rng(0)
    answers = 0
    for words in words_of(space):
        fixes, part, refusal = {}, None, ""
        try:
            fixes = parse_fixes(words)
            part = searched_part(space, fixes, [])
        except UserError as mistake:
            refusal = str(mistake)
        if refusal:
            assert "\n" not in refusal
            assert refusal.startswith(("--fix ", f"{name}: "))
            continue
        answers += 1
        if part is not None:
            assert is_subspace(part, space)
            assert part.count() < space.count()
        found = space.decode(Domain(space, part).sample(20, rng))
        assert all(keeps_to(subnet, fixes, space) for subnet in found)
    assert answers >= 5  # all of each kind of choices, at least


@dataclass(frozen=True)
class KnowsResolutions:
    """A predictor that was fitted at a few resolutions, as the published ones are."""

    resolutions: tuple[int, ...]

    def top1(self, genes: Genes) -> Floats:
        return np.zeros(len(genes))

    def std(self, genes: Genes) -> None:
        return None


def test_only_resolutions_that_the_predictor_knows_are_searched() -> None:
    space = load_space("mbv3-w1.2")
    part = searched_part(space, {}, [], KnowsResolutions((112, 160, 224)))
    assert part is not None
    assert part.resolutions == (160, 224)
    with pytest.raises(UserError, match="the predictor knows resolutions 112, 160, 224 px; searched are 128 px"):
        searched_part(space, {"resolutions": [128]}, [], KnowsResolutions((112, 160, 224)))


def test_a_depth_of_a_compound_space_brings_its_expand_ratio() -> None:
    space = load_space("fmnist-compound")
    shallow = searched_part(space, {"depths": [1]}, [])
    assert shallow is not None
    assert [(stage.depths, stage.expands) for stage in shallow.stages] == [
        ((1,), (1.0,)),
        ((1,), (2.0,)),
        ((1,), (1.5,)),
        ((1,), (1.5,)),
    ]
    assert searched_part(space, {"expands": [2, 1.5]}, []) == shallow
    assert searched_part(space, {"depths": [1, 2], "expands": [2, 1.5, 6]}, []) == shallow
    deep = searched_part(space, {"depths": [2, 3]}, [])
    assert deep is not None
    assert [stage.expands for stage in deep.stages] == [(1.0,), (4.0,), (3.0, 4.0), (3.0, 6.0)]
    message = (
        r"fmnist-compound: stage 1 has depths coupled with expand ratios, 1 with 2, 2 with 4; none of these pairs is in "
        r"depths \[1\] and expands \[4.0, 3.0\]"
    )
    with pytest.raises(UserError, match=message):
        searched_part(space, {"depths": [1], "expands": [4.0, 3.0]}, [])


def test_a_part_of_a_compound_space_that_breaks_its_pairs_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"fmnist-compound: stages\[1\]: depths are \[2\] and expands \[2.0, 4.0\]"):
        load_space("fmnist-compound").restrict(depths=[2])


@pytest.fixture(scope="module")
def compound_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run, its depths and expand ratios tied afterwards: weights are the same."""
    run = tmp_path_factory.mktemp("compound") / "run"
    shutil.copytree(trained_run, run, ignore=shutil.ignore_patterns("predictor", "queries"))
    lines = (run / "space.yaml").read_text().splitlines()[1:-1]  # without the digest, which is of the untied space
    (run / "space.yaml").write_text("\n".join(lines).replace("compound: false", "compound: true"))
    return run


def test_verbs_answer_within_a_fixed_part_of_a_compound_space(
    compound_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ofa(capsys, "predictor", compound_run, "--samples", 10)
    space = RunFiles.open(compound_run).space
    assert space.compound
    query = ("query", compound_run, "--platform", "edge-int8", "--no-verify", "--out", tmp_path / "net")
    for fix, pair in (("depths=1", (1, 2.0)), ("depths=2", (2, 4.0)), ("expands=2", (1, 2.0))):
        genes = ofa(capsys, *query, "--fix", fix)["genes"]
        stage = space.decode(np.array(genes, dtype=np.int8))[0].stages[1]
        assert (len(stage.blocks), stage.blocks[0].expand) == pair
    assert "1 with 2, 2 with 4; none of these pairs is" in error(capsys, *query, "--fix", "depths=1", "--fix", "expands=4")

    figure = ("pareto", compound_run, "--platform", "edge-int8", "--no-verify", "--out", tmp_path / "front.svg")
    assert ofa(capsys, *figure, "--fix", "depths=1")["platforms"][0]["front_points"] >= 1
    (tmp_path / "devices.csv").write_text("platform\nedge-int8\n")
    fleet = ("query", compound_run, "--fleet", tmp_path / "devices.csv", "--no-verify", "--out", tmp_path / "out.csv")
    assert ofa(capsys, *fleet, "--fix", "depths=1")["served"] == 1
