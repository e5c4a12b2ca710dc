"""Cost factors are exact, memory is what a hand finds, and costs agree with the traversal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latency_tables import METRICS, Costs, load_platform
from latency_tables.blocks.fused_ops import fuse
from latency_tables.blocks.memory import peak_elements, weights_kb
from latency_tables.costs.factors import ShapeGrid
from latency_tables.costs.lookup import MOST_ENTRIES, ROWS_AT_ONCE
from ofa.errors import UserError
from ofa.files import shipped
from ofa.space import shapes
from ofa.space.search_space import HeadSpace, SearchSpace, StageSpace, StemSpace, load_space
from ofa.space.shapes import walk, walk_blocks
from ofa.space.subnet import Block, Stage, Stem

SPACES = shipped.names("spaces")


def wide_space() -> SearchSpace:
    """A user's space with elastic widths in mbconv blocks, and a stage too deep for one table."""
    deep = StageSpace(widths=(16, 24), depths=(1, 3, 8), kernels=(3, 5, 7), expands=(2, 3, 4, 6), stride=2, se=True)
    return SearchSpace(
        name="wide",
        block="mbconv",
        stem=StemSpace(widths=(8, 16)),
        stages=(StageSpace(widths=(8, 16), depths=(1,), kernels=(3,), expands=(1,)), deep),
        head=HeadSpace(width=32, features=48),
        resolutions=(32, 45, 64),
        classes=7,
    )


def walked(costs: Costs, metric: str, genes: np.ndarray) -> np.ndarray:
    """The cost of each subnet by its own traversal."""
    reduce = max if METRICS[metric].reduce == "max" else sum
    blocks = [walk_blocks(costs.space, subnet) for subnet in costs.space.decode(genes)]
    return np.array([reduce(costs.block(metric, b) for b in bs) + costs.constant(metric) for bs in blocks])


@pytest.mark.parametrize("name", [*SPACES, "wide"])
def test_a_cost_is_the_same_in_whatever_order_its_terms_are_added(name: str) -> None:
    space = wide_space() if name == "wide" else load_space(name)
    costs = load_platform("edge-int8").costs(space)
    rng = np.random.default_rng(0)
    genes = space.sample(50, rng)
    for metric in costs.metrics:
        factors = costs.factors(metric)
        terms = [term.values[tuple(genes[:, term.columns].T)] for term in factors.terms()]
        assert (np.ptp(terms, axis=1) > 0).any()
        for _ in range(4):
            total = np.full(len(genes), factors.constant)
            for i in rng.permutation(len(terms)):
                total = factors.reduce(total, terms[i])
            np.testing.assert_array_equal(total, costs.of(metric, genes))


@pytest.mark.parametrize("name", [*SPACES, "wide"])
@pytest.mark.parametrize("platform", ["edge-int8", "eyeriss-like"])
def test_factors_equal_the_walk_on_genes_that_need_not_be_canonical(name: str, platform: str) -> None:
    space = wide_space() if name == "wide" else load_space(name)
    costs = load_platform(platform).costs(space)
    rng = np.random.default_rng(0)
    genes = rng.integers(0, space.levels, size=(12, len(space.levels)))  # absent blocks hold anything
    genes = np.concatenate([genes, [0 * space.levels, space.levels - 1]])  # smallest and largest
    if space.compound:
        genes = space.canonical(genes)  # elsewhere a present block's expand ratio is not free
    for metric in costs.metrics:
        values = costs.of(metric, genes)
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, walked(costs, metric, genes), rtol=1e-12)
        np.testing.assert_array_equal(values, costs.of(metric, space.canonical(genes)))


def test_a_space_too_large_for_one_table_per_stage_is_split() -> None:
    lookup = load_platform("edge-int8").costs(wide_space()).factors("latency_ms").lookup
    assert len(lookup.terms) == 4
    assert max(term.values.size for term in lookup.terms) <= MOST_ENTRIES


def test_methods_any_integer_type_rows_and_chunks() -> None:
    space = load_space("fmnist")
    costs = load_platform("edge-int8").costs(space)
    genes = space.sample(2 * ROWS_AT_ONCE + 17, np.random.default_rng(1))
    whole = costs.latency_ms(genes)
    assert whole.shape == (len(genes),)
    for kind in (np.uint8, np.int16, np.int32, np.int64):
        np.testing.assert_array_equal(costs.latency_ms(genes.astype(kind)), whole)
    np.testing.assert_array_equal(costs.latency_ms(np.asfortranarray(genes)), whole)
    np.testing.assert_array_equal(costs.latency_ms(genes[-1]), whole[-1:])
    assert costs.latency_ms(genes[:0]).shape == (0,)
    for metric in METRICS:
        np.testing.assert_array_equal(getattr(costs, metric)(genes[:9]), costs.of(metric, genes[:9]))


@pytest.mark.parametrize("kind", [np.int8, np.int64])
@pytest.mark.parametrize("value", [-1, 3])
def test_a_gene_out_of_range_is_named(kind: type, value: int) -> None:
    space = load_space("mbv3-w1.0")
    genes = space.sample(ROWS_AT_ONCE + 5, np.random.default_rng(0)).astype(kind)
    genes[ROWS_AT_ONCE + 2, 10] = value
    name = space.genes[10].name.replace("[", ".").replace("]", ".")
    message = rf"row {ROWS_AT_ONCE + 2}: gene {name} is {value}; allowed are 0 to 2"
    with pytest.raises(UserError, match=message):
        load_platform("edge-int8").costs(space).latency_ms(genes)


def test_wrong_shapes_types_and_metrics_are_refused() -> None:
    space = load_space("fmnist")
    costs = load_platform("edge-int8").costs(space)
    with pytest.raises(UserError, match=r"genes have shape \(2, 5\); expected \(n, \d+\)"):
        costs.latency_ms(np.zeros((2, 5), dtype=np.int8))
    with pytest.raises(UserError, match="genes are float64; they must be whole numbers"):
        costs.latency_ms(np.zeros((2, len(space.genes))))
    with pytest.raises(UserError, match="unknown metric 'joy'; known are latency_ms, energy_mj"):
        costs.of("joy", space.sample(1, np.random.default_rng(0)))


@pytest.mark.parametrize("name", SPACES)
def test_macs_and_params_are_those_of_the_walk(name: str) -> None:
    space = load_space(name)
    costs = load_platform("edge-int8").costs(space)
    genes = space.sample(5, np.random.default_rng(2))
    subnets = space.decode(genes)
    np.testing.assert_allclose(costs.macs_m(genes), [shapes.macs(walk(space, s)) / 1e6 for s in subnets], rtol=1e-12)
    np.testing.assert_allclose(costs.params_m(genes), [shapes.params(walk(space, s)) / 1e6 for s in subnets], rtol=1e-12)


def test_a_grid_has_each_block_once_and_all_that_a_walk_meets() -> None:
    space = load_space("fmnist")
    distinct = ShapeGrid.of(space).distinct()
    assert len(distinct) == len(set(distinct))
    met = {block for s in space.decode(space.sample(300, np.random.default_rng(3))) for block in walk_blocks(space, s)}
    assert met <= set(distinct)


# -- memory, by hand -------------------------------------------------------------------------------------------------------


def tiny_space(**stage: object) -> SearchSpace:
    choices: dict[str, object] = {"widths": (8,), "depths": (2,), "kernels": (3,), "expands": (2,), **stage}
    return SearchSpace(
        name="tiny",
        block="mbconv",
        stem=StemSpace(widths=(8,), stride=1),
        stages=(StageSpace(**choices),),  # type: ignore[arg-type]
        head=HeadSpace(),
        resolutions=(4,),
        classes=3,
    )


def test_peak_memory_by_hand() -> None:
    space = tiny_space(se=True)
    stem, first, second, head = walk_blocks(space, space.largest())
    assert first.residual
    assert peak_elements(stem) == 3 * 16 + 8 * 16  # input and output
    # The depthwise convolution is the worst: 16 channels in and out while the block's 8-channel input waits for the sum.
    assert peak_elements(first) == peak_elements(second) == 8 * 16 + 16 * 16 + 16 * 16
    assert peak_elements(head) == 8 * 16 + 8
    costs = load_platform("edge-int8").costs(space)
    genes = space.encode(space.largest())
    assert costs.memory_kb(genes) == [640 / 1024]
    assert load_platform("eyeriss-like").costs(space).memory_kb(genes) == [2 * 640 / 1024]


def test_peak_memory_counts_what_squeeze_and_excitation_holds() -> None:
    space = tiny_space(se=True, depths=(1,), expands=(1,))  # no expansion
    block = list(walk_blocks(space, space.largest()))[1]
    kinds = [op.kind for op in block.main]
    assert kinds == ["conv", "global_pool", "conv", "conv", "scale", "conv", "add"]
    # Depthwise: the block's input (held for the sum) and the output. Later: held input, gated map, 8 averages or gates.
    assert peak_elements(block) == 3 * 8 * 16  # projection: held input, its input, its output
    no_sum = type(block)("mbconv", block.main[:5])  # up to the product
    assert peak_elements(no_sum) == 2 * 8 * 16
    gate_only = type(block)("mbconv", block.main[1:5])  # gated map 8 x 16, averages 8 with 8 squeezed, then the gate 8
    assert peak_elements(gate_only) == 8 * 16 + 8 + 8


def test_peak_memory_of_a_bottleneck_with_a_shortcut_by_hand() -> None:
    space = load_space("resnet50")
    block = shapes.stage_block_shape(space, 1, 0, Block(3, 0.25), Stage(512, ()), 256, 56)
    hidden = 128
    image = {"in": 256 * 56**2, "pooled": 256 * 28**2, "out": 512 * 28**2, "wide": hidden * 56**2, "narrow": hidden * 28**2}
    steps = [
        image["in"] + image["pooled"],
        image["in"] + image["pooled"] + image["out"],
        image["in"] + image["out"] + image["wide"],
        image["out"] + image["wide"] + image["narrow"],
        image["out"] + image["narrow"] + image["out"],
        2 * image["out"],
    ]
    assert peak_elements(block) == max(steps)


def test_peak_memory_of_a_deep_stem_by_hand() -> None:
    space = load_space("resnet50")
    stem = shapes.stem_shape(space, Stem(64, 3, 32), 224)
    # 32 channels of 112 pixels to 64 of them; the residual sum before it needs two of 32.
    assert peak_elements(stem) == (32 + 64) * 112**2


def test_weights_are_stored_with_batch_norm_folded_and_wide_biases() -> None:
    space = tiny_space(depths=(1,), expands=(1,))
    stem, block, head = walk_blocks(space, space.largest())
    assert weights_kb(stem, "int8") == (27 * 8 + 8 * 4) / 1024
    assert weights_kb(stem, "fp32") == (27 * 8 + 8) * 4 / 1024
    assert weights_kb(block, "bf16") == (9 * 8 + 8 + 64 + 8) * 2 / 1024
    assert weights_kb(head, "int8") == (8 * 3 + 3 * 4) / 1024


# -- the model of operations, by hand --------------------------------------------------------------------------------------


def test_fused_operations_by_hand() -> None:
    space = tiny_space(depths=(1,))
    block = list(walk_blocks(space, space.largest()))[1]
    expand, depthwise, project = fuse(block)
    assert (expand.kind, expand.macs, expand.weights) == ("conv_1x1", 8 * 16 * 16, 8 * 16 + 16)
    assert (depthwise.kind, depthwise.macs, depthwise.weights) == ("depthwise", 9 * 16 * 16, 9 * 16 + 16)
    assert depthwise.activations == 2 * 16 * 16
    assert project.activations == 16 * 16 + 8 * 16 + 8 * 16  # reads the residual too
    assert [op.kind for op in fuse(block, fuse_add=False)] == ["conv_1x1", "depthwise", "conv_1x1", "elementwise"]
    assert fuse(block, fuse_add=False)[-1].activations == 3 * 8 * 16


def test_modelled_latency_and_energy_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "hand.yaml"
    path.write_text(
        """
name: hand
device: none
runtime: none
precision: fp16
batch: 2
kind: modelled
description: a test
source: made up
licence: MIT
error: {note: made up}
latency:
  network_ms: 0.5
  ops: {default: {ms_per_mmac: 1000, ms_per_weight_mb: 100, ms_per_activation_mb: 10, overhead_ms: 0.25}}
energy:
  source: made up
  static_w: 2
  ops: {default: {pj_per_mac: 1e6, pj_per_weight_byte: 2e6, pj_per_activation_byte: 3e6, pj_per_output: 4e6}}
"""
    )
    space = tiny_space(depths=(1,))
    platform = load_platform(path)
    block = list(walk_blocks(space, space.largest()))[1]
    macs, weights = 2048 + 2304 + 2048, 144 + 160 + 136
    activations, outputs = 384 + 512 + 512, 256 + 256 + 128
    latency_ms = 1000 * macs * 2e-6 + 100 * weights * 2e-6 + 10 * activations * 2 * 2e-6 + 3 * 0.25
    assert platform.block_ms(block) == pytest.approx(latency_ms, rel=1e-12)
    dynamic_mj = 1e-9 * (1e6 * macs + 2e6 * weights * 2 / 2 + 3e6 * activations * 2 + 4e6 * outputs)
    assert platform.block_mj(block) == pytest.approx(dynamic_mj + 2 * latency_ms / 2, rel=1e-12)
    assert platform.network_mj == pytest.approx(2 * 0.5 / 2)
