"""Genes, sampling, counting, fingerprints."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from ofa.errors import UserError
from ofa.space.ops import make_divisible
from ofa.space.search_space import HeadSpace, StageSpace, load_space
from ofa.space.subnet import Block, Stage, Stem, Subnet
from tests.space_toys import SHIPPED, every_subnet, tiny_space


@pytest.mark.parametrize("name", SHIPPED)
def test_random_subnets_survive_encoding_and_json(name: str) -> None:
    space = load_space(name)
    genes = space.sample(200, np.random.default_rng(3))
    assert genes.dtype == np.int8
    assert genes.shape == (200, len(space.genes))
    subnets = space.decode(genes)
    assert np.array_equal(space.encode(subnets), genes)
    assert [Subnet.from_dict(json.loads(json.dumps(subnet.to_dict()))) for subnet in subnets] == subnets
    assert len(set(subnets)) > min(190, space.count() / 8)  # hashable, and really random
    for subnet in subnets:
        space.check(subnet)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_depth_is_decoded_to_as_many_blocks(name: str) -> None:
    space = load_space(name)
    for subnet, row in zip(space.decode(genes := space.sample(50, np.random.default_rng(0))), genes, strict=True):
        for s, (stage, choice) in enumerate(zip(space.stages, subnet.stages, strict=True)):
            assert len(choice.blocks) == stage.depths[space.rows(row).depth(s)]


def test_genes_of_absent_blocks_are_zero() -> None:
    space = tiny_space()
    full = np.tile(space.levels - 1, (2, 1))
    full[0, space.columns.depth(1)] = 0  # one block of three
    full[1, space.columns.depth(2)] = 0  # one of two
    canonical = space.canonical(full)
    names = [gene.name for gene in space.genes]
    changed = [{names[i] for i in np.flatnonzero(row)} for row in canonical != full]
    assert changed == [
        {"stages[1].blocks[1].kernel", "stages[1].blocks[2].kernel"},  # their one expand ratio is 0 already
        {"stages[2].blocks[1].expand"},
    ]
    assert np.array_equal(space.canonical(canonical), canonical)
    assert space.decode(full) == space.decode(canonical)
    assert full.max() == 2, "the argument must stay as it was"


def test_gene_order_is_as_documented() -> None:
    names = [gene.name for gene in tiny_space().genes]
    assert names[:4] == ["resolution", "stem.width", "stem.hidden", "stem.depth"]
    assert names[4:8] == ["stages[0].width", "stages[0].depth", "stages[0].blocks[0].kernel", "stages[0].blocks[0].expand"]
    assert [names[tiny_space().columns.width(s)] for s in range(3)] == [f"stages[{s}].width" for s in range(3)]
    assert len(names) == 4 + 4 + 8 + 6


def test_enumeration_count_and_genes_agree_on_a_small_space() -> None:
    space = tiny_space()
    subnets = every_subnet(space)
    genes = space.encode(subnets)
    assert space.count() == len(subnets) == len(set(subnets)) == len(np.unique(genes, axis=0)) == 16 * 20 * 12
    assert space.decode(genes) == subnets
    sampled = space.sample(100_000, np.random.default_rng(1))
    assert len(np.unique(sampled, axis=0)) == space.count(), "sampling must reach every subnet"


def test_counts_of_the_published_spaces() -> None:
    block_choices = 9**2 + 9**3 + 9**4
    assert load_space("mbv3-w1.2").count() == 25 * block_choices**5 == 543966387314312146275
    assert load_space("mbv3-w1.0").count() == 25 * block_choices**5
    assert load_space("proxyless-w1.3").count() == 25 * block_choices**5 * 9
    three, deep = 3**2 + 3**3 + 3**4, 3**4 + 3**5 + 3**6
    assert load_space("resnet50").count() == 33 * 3 * 3 * 2 * (3 * three) ** 3 * 3 * deep


@pytest.mark.parametrize("name", ["fmnist", "resnet50"])
def test_sampling_is_uniform_over_every_choice(name: str) -> None:
    """Chi-square of every gene over the rows in which its block is present."""
    space = load_space(name)
    n = 20_000
    genes = space.sample(n, np.random.default_rng(11))
    for column, gene in enumerate(space.genes):
        rows = np.ones(n, dtype=bool)
        if gene.stage is not None and gene.block is not None:
            rows = space.rows(genes).present()[:, column]
        counts = np.bincount(genes[rows, column], minlength=len(gene.choices))
        expected = rows.sum() / len(gene.choices)
        statistic = ((counts - expected) ** 2 / expected).sum()
        assert len(counts) == len(gene.choices)
        if len(counts) > 1:
            assert chi2.sf(statistic, len(counts) - 1) > 1e-4, gene.name
    again = space.sample(n, np.random.default_rng(11))
    assert np.array_equal(genes, again)


@pytest.mark.parametrize("name", SHIPPED)
def test_largest_and_smallest(name: str) -> None:
    space = load_space(name)
    assert np.array_equal(space.encode(space.largest())[0], space.levels - 1)
    assert not space.encode(space.smallest()).any()
    largest, smallest = space.largest(), space.smallest()
    assert (largest.resolution, smallest.resolution) == (max(space.resolutions), min(space.resolutions))
    for stage, big, small in zip(space.stages, largest.stages, smallest.stages, strict=True):
        assert big == Stage(max(stage.widths), (Block(max(stage.kernels), max(stage.expands)),) * max(stage.depths))
        assert small == Stage(min(stage.widths), (Block(min(stage.kernels), min(stage.expands)),) * min(stage.depths))


def test_what_encode_refuses() -> None:
    space = tiny_space()
    subnet = space.largest()
    first, second, last = subnet.stages
    wrong = [
        (replace(subnet, resolution=20), r"tiny: resolution is 20; allowed are \[16, 24\]"),
        (replace(subnet, stem=Stem(12, 3, 12)), r"tiny: stem\.width is 12; allowed are \[8, 16\]"),
        (replace(subnet, stem=Stem(16, 1, 12)), r"tiny: stem\.depth is 1; allowed are \[2, 3\]"),
        (replace(subnet, stem=Stem(16, 3)), r"tiny: stem\.hidden is None; allowed are \[8, 12\]"),
        (replace(subnet, stages=(first, second)), r"tiny: the subnet has 2 stages; the space has 3"),
        (
            replace(subnet, stages=(first, replace(second, width=32), last)),
            r"\[1\]\.width is 32; allowed are \[16, 24\]",
        ),
        (
            replace(subnet, stages=(first, replace(second, blocks=second.blocks[:2]), last)),
            r"stages\[1\]\.depth is 2; allowed are \[1, 3\]",
        ),
        (
            replace(subnet, stages=(first, second, replace(last, blocks=(last.blocks[0], Block(7, 2))))),
            r"stages\[2\]\.blocks\[1\]\.kernel is 7; allowed are \[3\]",
        ),
        (
            replace(subnet, stages=(first, second, replace(last, blocks=(Block(3, 5),)))),
            r"stages\[2\]\.blocks\[0\]\.expand is 5; allowed are \[2\.0, 4\.0, 6\.0\]",
        ),
    ]
    for bad, message in wrong:
        with pytest.raises(UserError, match=message):
            space.encode(bad)
    space.check(wrong[0][0])  # a resolution that was not trained is no wrong architecture
    with pytest.raises(UserError, match=r"stem\.width is 12"):
        space.check(wrong[1][0])
    plain = load_space("fmnist").largest()
    with pytest.raises(UserError, match=r"fmnist: stem\.hidden is 8; allowed are \[None\]"):
        load_space("fmnist").encode(replace(plain, stem=replace(plain.stem, hidden=8)))


def test_what_decode_refuses() -> None:
    space = tiny_space()
    row = space.levels - 1
    with pytest.raises(UserError, match=r"tiny: genes have shape \(1, 21\); expected \(n, 22\)"):
        space.decode(row[:-1])
    with pytest.raises(UserError, match=r"tiny: row 1: gene stages\[1\]\.blocks\[0\]\.kernel is 2; allowed are 0 to 1"):
        space.decode(np.array([row, row + (np.arange(22) == 10)]))
    with pytest.raises(UserError, match="row 0: gene resolution is -1; allowed are 0 to 1"):
        space.decode(row - 2 * (np.arange(22) == 0))
    with pytest.raises(UserError, match="tiny: genes are float64; expected integers"):
        space.decode(row * 1.0)


def test_empty_lists_keep_their_shape() -> None:
    space = tiny_space()
    assert space.encode([]).shape == (0, 22)
    assert space.sample(0, np.random.default_rng(0)).shape == (0, 22)
    assert space.decode(space.encode([])) == []


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    {
        "bignas": "72f4492f3f082e30",
        "cifar": "f06d03da6d861cf1",
        "cifar10": "539206944a7d6a2c",
        "fashion-mnist": "9d27ddbd17d0adae",
        "fmnist": "e529007bbd4e6a8e",
        "fmnist-compound": "02ff050746e9a8fc",
        "fmnist-wide": "13cd1f0c21835236",
        "grey-48": "fe86e9469b0a41fb",
        "mbv3-w1.0": "403ec2d6cbc18990",
        "mbv3-w1.2": "725ecacedcbcf545",
        "proxyless-w1.3": "294d32abb92f973a",
        "resnet50": "3219ab096046d19b",
        "small-rgb-64": "b9cac8951c9602fa",
    }.items(),
)
def test_fingerprints_of_the_spaces_that_ship_stay(name: str, fingerprint: str) -> None:
    """Runs, subnets, predictors and platforms written with version 0.1 hold them and must load."""
    assert load_space(name).fingerprint == fingerprint


def test_fingerprint_is_of_what_gives_weights_and_genes_a_meaning() -> None:
    space = tiny_space()
    assert len(space.fingerprint) == 16
    assert tiny_space(name="other", description="words").fingerprint == space.fingerprint
    stage = replace(space.stages[1], activation="h_swish")
    different = [
        tiny_space(classes=5),
        tiny_space(in_channels=1),
        tiny_space(resolutions=(16,)),
        tiny_space(kernel_transforms=False),
        tiny_space(norm_eps=1e-3),
        tiny_space(stem=replace(space.stem, stride=1)),
        tiny_space(stages=(space.stages[0], stage, space.stages[2])),
        tiny_space(stages=space.stages[:2]),
        tiny_space(head=HeadSpace(width=64)),
    ]
    assert len({space.fingerprint, *(other.fingerprint for other in different)}) == 1 + len(different)
    whole = StageSpace(widths=(24,), depths=(1, 2), kernels=(3,), expands=(2, 4, 6), stride=2)
    assert tiny_space(stages=(*space.stages[:2], whole)).fingerprint == space.fingerprint, "3 and 3.0 are one choice"


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("mbv3-w1.0", "403ec2d6cbc18990"),
        ("mbv3-w1.2", "725ecacedcbcf545"),
        ("proxyless-w1.3", "294d32abb92f973a"),
        ("resnet50", "3219ab096046d19b"),
    ],
)
def test_fingerprints_of_the_published_spaces_do_not_drift(name: str, fingerprint: str) -> None:
    """Predictors, tables and runs store them: a change here makes every stored file unusable."""
    assert load_space(name).fingerprint == fingerprint


def test_a_subnet_file_with_mistakes() -> None:
    data = tiny_space().largest().to_dict()
    with pytest.raises(UserError, match="net: unknown key 'size'; known keys are resolution, stages, stem"):
        Subnet.from_dict(data | {"size": 3}, "net")
    del data["stem"]
    with pytest.raises(UserError, match="net: key 'stem' is missing"):
        Subnet.from_dict(data, "net")
    data = tiny_space().largest().to_dict()
    data["stages"][1]["blocks"][2]["kernel"] = "big"
    with pytest.raises(UserError, match=r"net: stages\[1\]: blocks\[2\]: kernel: expected a whole number, got 'big'"):
        Subnet.from_dict(data, "net")


def test_rounding_of_channels() -> None:
    assert [make_divisible(value) for value in (1, 8, 11, 12, 17, 20, 89.6, 1000)] == [8, 8, 16, 16, 16, 24, 88, 1000]
    assert all(make_divisible(v) >= 0.9 * v and make_divisible(v) % 8 == 0 for v in range(1, 3000))
