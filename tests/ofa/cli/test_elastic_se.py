"""Squeeze-and-excitation as a choice of a stage: from the YAML through supernet, costs and search to a subnet's file."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latency_tables import load_platform
from ofa import Subnet, Supernet, extract, official
from ofa.deploy.subnet_directory import load_subnet, read_subnet
from ofa.errors import UserError
from ofa.files import schema
from ofa.runs.recipe import Opens, load_recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.space import shapes
from ofa.space.search_space import Genes, SearchSpace, load_space
from ofa.space.subspace import is_subspace, largest_only, only
from ofa.training.trainer import Trainer
from search.arrays import Floats
from search.predictors.features import FeatureMap
from search.predictors.kinds import KINDS
from search.problem.domain import Domain
from search.problem.limits import Limit
from search.problem.problem import Problem
from search.searchers.exact import Exact
from tests.space_toys import every_subnet, gated_space, tiny_space
from tests.tiny import write_recipe
from tests.verbs import error, ofa

PLATFORM = "edge-int8"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gates(subnet: Subnet) -> list[bool | None]:
    return [stage.se for stage in subnet.stages]


def without_gates(subnet: Subnet) -> Subnet:
    return replace(subnet, stages=tuple(replace(stage, se=stage.se and False) for stage in subnet.stages))


def supernet_of(space: SearchSpace) -> Supernet:
    """float64, in eval mode, with norm entries and statistics that differ from channel to channel."""
    net = Supernet(space, seeded(0)).eval()
    for name, value in net.state_dict().items():
        if name.endswith(("running_var", "norm.weight")):
            value.uniform_(0.7, 1.3, generator=seeded(1))
        elif value.dim() == 1:
            value.add_(torch.randn(value.shape, generator=seeded(2)), alpha=0.3)
    return net.double()


IMAGES = torch.randn(3, 1, 8, 8, generator=seeded(3), dtype=torch.float64)


# -- the space -----------------------------------------------------------------------------------------------------------


def test_the_stage_has_a_gene_more_and_every_subnet_has_its_row() -> None:
    space = gated_space()
    assert [gene.name for gene in space.genes if gene.name.endswith("se")] == ["stages[0].se", "stages[1].se"]
    assert [gene.name for gene in space.genes][4:8] == [f"stages[0].{name}" for name in ("width", "depth", "se")] + [
        "stages[0].blocks[0].kernel"
    ]
    subnets = every_subnet(space)
    assert len(set(subnets)) == space.count() == 288
    rows = space.encode(subnets)
    assert len(np.unique(rows, axis=0)) == 288
    assert space.decode(rows) == subnets
    assert (space.canonical(rows) == rows).all()
    assert (gates(space.largest()), gates(space.smallest())) == ([True, True, None], [False, False, None])


def test_json_has_the_choice_and_nothing_where_there_is_none() -> None:
    space = gated_space()
    subnet = space.decode(space.sample(1, np.random.default_rng(0)))[0]
    written = json.loads(json.dumps(subnet.to_dict()))
    assert [list(stage) for stage in written["stages"]] == [["width", "blocks", "se"]] * 2 + [["width", "blocks"]]
    assert Subnet.from_dict(written) == subnet
    del written["stages"][1]["se"]
    with pytest.raises(UserError, match=r"gated: stages\[1\]\.se is None; allowed are \[False, True\]"):
        space.check(Subnet.from_dict(written))
    written["stages"][1]["se"], written["stages"][2]["se"] = False, True
    with pytest.raises(UserError, match=r"gated: stages\[2\]\.se is True; this stage leaves no choice, so leave it out"):
        space.check(Subnet.from_dict(written))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([True, False], r"se is \[True, False\]; allowed are true, false, and the list \[false, true\] to choose from"),
        ([], r"se is \[\]; allowed are true, false"),
        ("maybe", "se: expected true or false, got 'maybe'"),
        (["maybe"], r"se\[0\]: expected true or false, got 'maybe'"),
    ],
)
def test_what_the_key_may_not_be(given: object, message: str) -> None:
    plain = schema.to_plain(gated_space())
    plain["stages"][1]["se"] = given
    with pytest.raises(UserError, match=message):
        schema.build(SearchSpace, plain, "mine.yaml")


def test_bottlenecks_have_none() -> None:
    stages = tuple(replace(stage, se=(False,)) for stage in tiny_space().stages)
    with pytest.raises(ValueError, match="se is for mbconv blocks, but this space has bottleneck blocks"):
        tiny_space(stages=stages, block="bottleneck")


def test_every_way_to_say_it_gives_genes_a_meaning_of_their_own() -> None:
    def fingerprint(se: bool | tuple[bool, ...]) -> str:
        space = gated_space()
        return replace(space, stages=(*space.stages[:2], replace(space.stages[2], se=se))).fingerprint

    ways: list[bool | tuple[bool, ...]] = [False, True, (False,), (True,), (False, True)]
    assert len({fingerprint(se) for se in ways}) == 5


def test_subspaces_keep_the_gene() -> None:
    space = gated_space()
    assert [stage.se for stage in space.restrict(se=[False]).stages] == [(False, True), (False, True), True]
    assert [stage.se for stage in largest_only(space).stages] == [(True,), (True,), True]
    without = only(space, se=[False])
    assert [stage.se for stage in without.stages] == [(False,), (False,), True]
    assert is_subspace(without, space)
    assert not is_subspace(space, without)
    assert len(without.genes) == len(space.genes)
    for subnet in every_subnet(without):
        space.check(subnet)
    fixed = replace(space, stages=tuple(replace(stage, se=True) for stage in space.stages))
    assert not is_subspace(fixed, space), "its subnets do not say what the space wants to know"
    domain = Domain(space, without)
    found = space.decode(domain.sample(50, np.random.default_rng(0)))
    assert {tuple(gates(subnet)) for subnet in found} == {(False, False, None)}
    assert domain.contains(space.encode(every_subnet(without))).all()
    assert domain.contains(space.encode(every_subnet(space))).sum() == 72


# -- networks ------------------------------------------------------------------------------------------------------------


def test_extracted_subnets_equal_the_supernet_and_have_gates_only_where_chosen() -> None:
    space = gated_space()
    net = supernet_of(space)
    with torch.inference_mode():
        for subnet in space.decode(space.sample(30, np.random.default_rng(0))):
            plain = extract(net, subnet)
            assert torch.equal(plain(IMAGES), net(IMAGES, subnet))
            for s, stage in enumerate(subnet.stages):
                gated = any(name.startswith(f"stages.{s}.") and ".se." in name for name in plain.state_dict())
                assert gated == (s == 2 or bool(stage.se))
        assert not torch.equal(net(IMAGES, space.largest()), net(IMAGES, without_gates(space.largest())))


def test_sorting_channels_keeps_subnets_with_and_without_gates() -> None:
    space = gated_space()
    net = supernet_of(space)
    before = copy.deepcopy(net)
    opened = space.restrict(expands=[4.0, 6.0], widths=1)
    net.sort_channels(opened)
    with torch.inference_mode():
        for subnet in every_subnet(opened):
            torch.testing.assert_close(net(IMAGES, subnet), before(IMAGES, subnet), rtol=0, atol=1e-9)
        smallest = space.smallest()
        assert (net(IMAGES, smallest) - before(IMAGES, smallest)).abs().max() > 1e-6, "what is not open may change"


def test_both_choices_learn() -> None:
    """A gate gets a gradient from subnets that have it, and from no other."""
    space = gated_space()
    net = Supernet(space, seeded(0))
    gate = net.get_submodule("stages.1.0.se.reduce")
    for subnet, learns in ((space.largest(), True), (without_gates(space.largest()), False)):
        net.zero_grad(set_to_none=True)
        net(IMAGES.float(), subnet).square().sum().backward()
        assert (gate.weight.grad is not None) == learns


def test_the_published_format_has_no_word_for_it() -> None:
    with pytest.raises(UserError, match="squeeze-and-excitation is elastic here; the published format cannot express"):
        official.to_arch(gated_space(), gated_space().largest())


# -- costs, predictors, search -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["latency_ms", "energy_mj", "memory_kb", "weights_kb", "macs_m", "params_m"])
def test_cost_factors_equal_the_walk_of_every_subnet(metric: str) -> None:
    space = gated_space(resolutions=(8, 12))
    costs = load_platform(PLATFORM).costs(space)
    subnets = every_subnet(space)
    reduce = max if metric == "memory_kb" else sum
    walked = [
        reduce(costs.block(metric, block, subnet.resolution) for block in shapes.walk_blocks(space, subnet))
        + costs.constant(metric)
        for subnet in subnets
    ]
    np.testing.assert_allclose(costs.of(metric, space.encode(subnets)), walked, rtol=1e-12)
    if metric != "memory_kb":
        assert costs.of(metric, space.encode(space.largest())) > costs.of(
            metric, space.encode(without_gates(space.largest()))
        )


def accuracy(space: SearchSpace, genes: Genes) -> Floats:
    """Larger choices are better, a gate of the second stage most of all, and more so in a deep stage."""
    rows = space.rows(genes)
    gate = 0.02 + 0.02 * rows.depth(1)
    return np.asarray(0.6 + 0.005 * genes.sum(axis=1) + gate * rows.of_stage("se", 1) - 0.01 * rows.of_stage("se", 0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_predictor_sees_it(kind: str) -> None:
    space = gated_space()
    genes = space.encode(every_subnet(space))
    rng = np.random.default_rng(0)
    seen = genes[rng.choice(len(genes), 150, replace=False)]
    predictor = KINDS[kind].fit(space, seen, accuracy(space, seen))
    assert np.abs(predictor.top1(genes) - accuracy(space, genes)).max() < 0.012
    other = genes.copy()
    other_gate = space.rows(other).of_stage("se", 1)
    other_gate[:] = 1 - other_gate
    change = predictor.top1(other) - predictor.top1(genes)
    assert (np.sign(change) == np.sign(other_gate - 0.5)).all()


def test_the_features_tell_subnets_apart_that_differ_in_gates_alone() -> None:
    space = gated_space()
    features = FeatureMap(space, "choices")(space.encode(every_subnet(space)))
    assert len(np.unique(features, axis=0)) == 288


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("metrics", [("latency_ms",), ("memory_kb",), ("latency_ms", "params_m", "memory_kb")], ids=len)
def test_the_exact_search_is_exact(metrics: tuple[str, ...], share: float) -> None:
    space = gated_space(resolutions=(8, 12))
    rows = space.encode(every_subnet(space))
    predictor = KINDS["stage-additive"].fit(space, rows[::4], accuracy(space, rows[::4]))
    costs = load_platform(PLATFORM).costs(space)
    bounds = {metric: float(np.quantile(costs.of(metric, rows), share)) for metric in metrics}
    limits = [Limit(metric, bound, PLATFORM) for metric, bound in bounds.items()]
    problem = Problem(space=space, predictor=predictor, costs={PLATFORM: costs}, limits=limits)
    feasible = (problem.utilisation(rows) <= 1).all(axis=1)
    result = Exact().search(problem, np.random.default_rng(0), budget=100)
    assert result.optimal
    assert float(problem.top1(result.genes).max()) == pytest.approx(float(problem.top1(rows[feasible]).max()), abs=1e-12)


# -- from a recipe to a file ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of a space with the choice, which its last phase opens."""
    folder = tmp_path_factory.mktemp("gated")
    recipe_path = write_recipe(folder)
    space_path = folder / "tiny-space.yaml"
    space_path.write_text(space_path.read_text().replace("se: true", "se: [false, true]"))
    text = recipe_path.read_text()
    assert text.endswith("opens: {expands: [2, 4]}}\n")
    recipe_path.write_text(text + "  - {name: gates, epochs: 1, peak_lr: 0.05, opens: {se: [false, true]}}\n")
    recipe, space = load_recipe(recipe_path)
    directory = RunDirectory.create(folder / "run", recipe, space)
    Trainer(directory, quiet=True).train()
    return directory.path


def test_a_phase_opens_it(gated_run: Path) -> None:
    run = RunDirectory.open(gated_run)
    opened = opened_spaces(run.recipe, run.space)
    assert [part.stages[1].se for part in opened] == [(True,)] * 4 + [(False, True)]
    assert opened[-1] == run.space
    assert Opens(everything=True).given()["se"] is None


def test_a_query_finds_fixes_and_writes_it(gated_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ofa(capsys, "predictor", gated_run, "--samples", 24)
    ask = ("query", gated_run, "--platform", PLATFORM, "--verify", 2)
    for value in (False, True):
        out = tmp_path / str(value)
        ofa(capsys, *ask, "--algorithm", "exact", "--fix", f"se={value}".lower(), "--out", out)
        space, subnet = read_subnet(out)
        assert space == load_space(gated_run / "space.yaml")
        assert gates(subnet) == [None, value]
        module = load_subnet(out)
        assert any(".se." in name for name in module.state_dict()) == value
        row = ofa(capsys, "evaluate", gated_run, "--subnet", out / "subnet.json", "--split", "validation")
        assert 0 <= row["subnets"][0]["top1"] <= 1
    assert "--fix is 'se=1'; expected true or false, separated by commas" in error(capsys, *ask, "--fix", "se=1")
    for algorithm in ("evolution", "optuna", "random"):
        found = ofa(capsys, *ask, "--algorithm", algorithm, "--budget", 60)
        assert gates(space.decode(np.array(found["genes"]))[0])[1] in (False, True)
