"""Interop with the published package: architecture dicts and state dicts, both ways, every spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa import Supernet, extract, load_space, official
from ofa.errors import UserError
from ofa.nets.plain import build_net, empty_net
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Block, Stem, Subnet
from tests import fill


def keys_only(name: str) -> dict[str, Tensor]:
    """The published supernet's state dict with shapes, without values: quick."""
    return {key: torch.empty(shape, device="meta") for key, shape in fill.golden(name)["state_dict"].items()}


def random_subnets(space: SearchSpace, n: int, seed: int = 0) -> list[Subnet]:
    return space.decode(space.sample(n, np.random.default_rng(seed)))


# -- architectures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fill.SPACES)
def test_architectures_survive_the_round_trip(name: str) -> None:
    space = load_space(name)
    for subnet in [space.smallest(), space.largest(), *random_subnets(space, 200)]:
        arch = json.loads(json.dumps(official.to_arch(space, subnet)))
        size = arch.pop("image_size")
        assert official.to_subnet(space, arch, size) == subnet
        assert size == subnet.resolution
        assert set(arch) == ({"d", "e", "w"} if name == "resnet50" else {"ks", "e", "d"})


@pytest.mark.parametrize("name", fill.SPACES)
def test_published_architectures_survive_the_round_trip(name: str) -> None:
    """But for the entries of absent blocks, which mean nothing."""
    space = load_space(name)
    for row in fill.golden(name)["forward"]:
        subnet = official.to_subnet(space, row["arch"], row["size"])
        back = official.to_arch(space, subnet)
        assert official.to_subnet(space, back, row["size"]) == subnet
        assert {key: len(value) for key, value in row["arch"].items()} == {k: len(back[k]) for k in row["arch"]}
        most = official.to_arch(space, space.largest())["d"]
        assert [min(pair) for pair in zip(row["arch"]["d"], most, strict=True)] == back["d"]


def test_an_architecture_by_hand() -> None:
    space = load_space("mbv3-w1.0")
    kernels = [3, 5, 7, 3] + [5] * 16
    subnet = official.to_subnet(space, {"ks": kernels, "e": [3, 4, 6, 6] + [4] * 16, "d": [2, 3, 4, 2, 2]}, 160)
    assert subnet.stem == Stem(16)
    assert subnet.stages[0].blocks == (Block(3, 1.0),)
    assert subnet.stages[1].blocks == (Block(3, 3.0), Block(5, 4.0))
    assert [len(stage.blocks) for stage in subnet.stages] == [1, 2, 3, 4, 2, 2]
    everywhere = official.to_subnet(space, {"ks": 7, "e": 6, "d": 4}, 224)
    assert everywhere == space.largest()


def test_resnets_first_depth_is_the_stems_and_widths_are_indices() -> None:
    """In the package only the largest depth, 2, brings in the stem's middle convolution: 1 does not."""
    space = load_space("resnet50")
    arch = {"d": [2, 1, 0, 2, 1], "e": [0.25] * 18, "w": [0, 1, 2, 1, 0, 2]}
    subnet = official.to_subnet(space, arch, 224)
    assert subnet.stem == Stem(48, 3, 20)
    assert [stage.width for stage in subnet.stages] == [256, 408, 664, 2048]
    assert [len(stage.blocks) for stage in subnet.stages] == [3, 2, 6, 3]
    for depth in (0, 1):
        assert official.to_subnet(space, arch | {"d": [depth, 1, 0, 2, 1]}, 224).stem.depth == 2


def test_proxyless_depths_beyond_a_stage_mean_all_of_it() -> None:
    space = load_space("proxyless-w1.3")
    subnet = official.to_subnet(space, {"ks": 3, "e": 3, "d": 4}, 224)
    assert [len(stage.blocks) for stage in subnet.stages] == [1, 4, 4, 4, 4, 4, 1]


def test_numbers_of_other_types_become_the_spaces_own() -> None:
    space = load_space("mbv3-w1.0")
    arch = {"ks": [np.int64(5)] * 20, "e": [4] * 20, "d": [np.int64(3)] * 5}
    subnet = official.to_subnet(space, arch, np.int64(192))
    assert repr(subnet) == repr(official.to_subnet(space, {"ks": 5.0, "e": 4.0, "d": 3}, 192))
    json.dumps(subnet.to_dict())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mbv3-w1.0", {"ks": None}, r"arch: key 'ks' is missing; it has 'e', 'd'"),
        ("mbv3-w1.0", {"ks": [3] * 19}, r"arch: 'ks' has 19 entries; expected 20"),
        ("mbv3-w1.0", {"e": [3] * 21}, r"arch: 'e' has 21 entries; expected 20"),
        ("mbv3-w1.0", {"d": [2] * 4}, r"arch: 'd' has 4 entries; expected 5"),
        ("mbv3-w1.0", {"ks": 4}, r"stages\[1\]\.blocks\[0\]\.kernel is 4; allowed are \[3, 5, 7\]"),
        ("mbv3-w1.0", {"ks": 3.7}, r"stages\[1\]\.blocks\[0\]\.kernel is 3\.7; allowed are \[3, 5, 7\]"),
        ("mbv3-w1.0", {"ks": "3"}, r"arch: ks\[0\] is '3'; expected a number"),
        ("mbv3-w1.0", {"e": 5}, r"stages\[1\]\.blocks\[0\]\.expand is 5; allowed are \[3\.0, 4\.0, 6\.0\]"),
        ("mbv3-w1.0", {"d": [2, 2, 1, 2, 2]}, r"arch: d\[2\] is 1; allowed are \[2, 3, 4\]"),
        ("mbv3-w1.0", {"d": -1}, r"arch: d\[0\] is -1; allowed are \[2, 3, 4\]"),
        ("mbv3-w1.0", {"d": 2.5}, r"arch: d\[0\] is 2\.5; expected a whole number"),
        ("mbv3-w1.0", {"d": [2, 2, 2, 2, True]}, r"arch: d\[4\] is True; expected a whole number"),
        ("resnet50", {"w": None}, r"arch: key 'w' is missing; it has 'd', 'e'"),
        ("resnet50", {"w": [0, 0, 0, 3, 0, 0]}, r"arch: w\[3\] is 3; allowed are 0 to 2"),
        ("resnet50", {"w": [-1, 0, 0, 0, 0, 0]}, r"arch: w\[0\] is -1; allowed are 0 to 2"),
        ("resnet50", {"d": [0, 3, 0, 0, 0]}, r"arch: d\[1\] is 3; allowed are 0 to 2"),
        ("resnet50", {"d": [4, 0, 0, 0, 0]}, r"arch: d\[0\] is 4; allowed are 0 to 2"),
        ("resnet50", {"e": 0.3}, r"stages\[0\]\.blocks\[0\]\.expand is 0\.3; allowed are \[0\.2, 0\.25, 0\.35\]"),
    ],
)
def test_mistakes_in_architectures(name: str, change: dict[str, Any], message: str) -> None:
    arch = {"d": 0, "e": 0.2, "w": 0} if name == "resnet50" else {"ks": 3, "e": 3, "d": 2}
    arch = {key: value for key, value in (arch | change).items() if value is not None}
    with pytest.raises(UserError, match=message):
        official.to_subnet(load_space(name), arch, 224)


@pytest.mark.parametrize("resolution", [0, 31, -224, 224.5, "224", None])
def test_resolutions_that_cannot_be(resolution: Any) -> None:
    with pytest.raises(UserError, match=r"arch: resolution is .*; expected a whole number of at least 32"):
        official.to_subnet(load_space("mbv3-w1.0"), {"ks": 3, "e": 3, "d": 2}, resolution)


def test_resolutions_that_were_never_trained_are_taken() -> None:
    assert official.to_subnet(load_space("mbv3-w1.0"), {"ks": 3, "e": 3, "d": 2}, 236).resolution == 236


def test_subnets_of_other_spaces_have_no_architecture_here() -> None:
    with pytest.raises(UserError, match=r"mbv3-w1\.0: stem\.width is 24; allowed are \[16\]"):
        official.to_arch(load_space("mbv3-w1.0"), load_space("mbv3-w1.2").largest())


# -- supernets' weights --------------------------------------------------------------------------------------------------

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as the package's state_dict": lambda key: key,
    "as its checkpoint files": lambda key: re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", key),
    "from DataParallel": lambda key: f"module.{key}",
    "single names": lambda key: re.sub(r"\.(conv|bn|linear)\.\1\.", r".\1.", key),
    "all at once": lambda key: (
        "module." + re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", key).replace(".bn.bn.", ".bn.")
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", fill.SPACES)
def test_every_spelling_of_a_supernet(name: str, spelling: str) -> None:
    space = load_space(name)
    plain = keys_only(name)
    theirs = {SPELLINGS[spelling](key): value for key, value in plain.items()}
    assert len(theirs) == len(plain), "a spelling must not merge two entries"
    converted = official.convert_state_dict(theirs, space)
    expected = official.convert_state_dict(plain, space)
    assert list(converted) == list(expected)
    assert all(converted[key] is expected_value for key, expected_value in expected.items())


@pytest.mark.parametrize("name", fill.SPACES)
def test_converted_shapes_fit_the_supernet_and_go_back(name: str) -> None:
    space = load_space(name)
    theirs = keys_only(name)
    with torch.device("meta"):
        ours = {key: value.shape for key, value in Supernet(space).state_dict().items()}
    converted = official.convert_state_dict(theirs, space)
    assert {key: value.shape for key, value in converted.items()} == ours
    back = official.to_official_state_dict(converted, space)
    assert set(back) == set(theirs)
    assert all(back[key] is theirs[key] for key in theirs)


def test_counts_of_batches_may_be_absent() -> None:
    space = load_space("mbv3-w1.0")
    theirs = fill.golden("mbv3-w1.0")["state_dict"]
    weights = fill.state_dict({k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}, 3)
    converted = official.convert_state_dict(weights, space)
    net = Supernet(space)
    net.load_state_dict(converted)
    assert torch.equal(net.state_dict()["stages.1.0.expand.conv.weight"], converted["stages.1.0.expand.conv.weight"])


def test_missing_and_unexpected_keys_are_named() -> None:
    space = load_space("mbv3-w1.0")
    theirs = keys_only("mbv3-w1.0")
    del theirs["blocks.3.conv.point_linear.bn.bn.weight"]
    theirs["blocks.99.conv.depth_conv.conv.weight"] = torch.zeros(1)
    with pytest.raises(
        UserError,
        match=r"^mbv3-w1\.0: keys do not fit: missing keys: blocks\.3\.conv\.point_linear\.bn\.weight; "
        r"unexpected keys: blocks\.99\.conv\.depth_conv\.conv\.weight$",
    ):
        official.convert_state_dict(theirs, space)


def test_long_lists_of_keys_are_cut() -> None:
    with pytest.raises(UserError, match=r"missing keys: (\S+, ){1}\S+ and \d+ more; unexpected keys: what") as caught:
        official.convert_state_dict({"what": torch.zeros(1)}, load_space("mbv3-w1.0"))
    assert len(str(caught.value)) < 500


def test_a_checkpoint_of_another_space_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^resnet50: keys do not fit: missing keys: input_stem\.0\.conv\.weight, .*unexpected keys: first"
    ):
        official.convert_state_dict(keys_only("mbv3-w1.0"), load_space("resnet50"))


def test_two_spellings_of_one_entry_are_refused() -> None:
    theirs = keys_only("mbv3-w1.0")
    theirs["first_conv.conv.conv.weight"] = torch.zeros(1)
    with pytest.raises(
        UserError, match=r"keys 'first_conv\.conv\.weight' and 'first_conv\.conv\.conv\.weight' are spellings"
    ):
        official.convert_state_dict(theirs, load_space("mbv3-w1.0"))


def test_our_own_mistakes_on_the_way_back_are_named() -> None:
    space = load_space("mbv3-w1.0")
    ours = official.convert_state_dict(keys_only("mbv3-w1.0"), space)
    ours["head.more"] = ours.pop("head.classifier.bias")
    with pytest.raises(UserError, match=r"missing keys: head\.classifier\.bias; unexpected keys: head\.more$"):
        official.to_official_state_dict(ours, space)


# -- static nets' weights ------------------------------------------------------------------------------------------------


def static_keys(name: str, subnet: Subnet) -> set[str]:
    """The published names of a static net, derived from the supernet's: blocks renumbered, names not doubled."""
    space = load_space(name)
    kept: list[int] = []
    start = 0
    for stage, choice in zip(space.stages, subnet.stages, strict=True):
        kept += range(start, start + len(choice.blocks))
        start += stage.depths[-1]
    keys = set()
    for key in fill.golden(name)["state_dict"]:
        if key.endswith("_matrix"):
            continue
        single = re.sub(r"\b(conv|bn|linear)\.\1\b", r"\1", key)
        if match := re.match(r"blocks\.(\d+)\.(.*)", single):
            if int(match[1]) in kept:
                keys.add(f"blocks.{kept.index(int(match[1]))}.{match[2]}")
        elif name == "resnet50" and subnet.stem.depth == 2 and single.startswith("input_stem.1."):
            continue
        elif name == "resnet50" and subnet.stem.depth == 2 and single.startswith("input_stem.2."):
            keys.add(single.replace("input_stem.2.", "input_stem.1."))
        else:
            keys.add(single)
    return keys


@pytest.mark.parametrize("name", fill.SPACES)
def test_static_nets_both_ways(name: str) -> None:
    """Also ResNet's without the stem's optional convolution, whose last one then takes its number."""
    space = load_space(name)
    subnets = [space.smallest(), space.largest(), *random_subnets(space, 4)]
    assert name != "resnet50" or {subnet.stem.depth for subnet in subnets} == {2, 3}
    for subnet, spelling in zip(subnets, cycle(SPELLINGS.values()), strict=False):
        ours = empty_net(space, subnet).state_dict()
        theirs = official.to_official_state_dict(ours, space, subnet)
        assert set(theirs) == static_keys(name, subnet)
        back = official.convert_state_dict({spelling(key): value for key, value in theirs.items()}, space, subnet)
        assert list(back) == list(ours)
        assert all(back[key] is ours[key] for key in ours)


@pytest.mark.parametrize("name", ["mbv3-w1.0", "resnet50"])
def test_a_static_net_computes_what_its_supernet_does(name: str) -> None:
    """On weights of another seed than the golden figures': a supernet, and its subnet through the published static names."""
    space = load_space(name)
    net = Supernet(space)
    net.load_state_dict(official.convert_state_dict(fill.state_dict(fill.golden(name)["state_dict"], 23), space))
    subnet = random_subnets(space, 1, seed=5)[0]
    theirs = official.to_official_state_dict(extract(net.eval(), subnet).state_dict(), space, subnet)
    module = build_net(space, subnet).eval()
    module.load_state_dict(official.convert_state_dict(theirs, space, subnet))
    images = fill.images("any", 2, 64, 23)
    with torch.inference_mode():
        assert torch.equal(module(images), net(images, subnet))


def test_a_static_net_of_another_depth_is_refused() -> None:
    space = load_space("mbv3-w1.0")
    subnet = space.largest()
    theirs = official.to_official_state_dict(empty_net(space, subnet).state_dict(), space, subnet)
    shallow = replace(subnet, stages=(*subnet.stages[:5], replace(subnet.stages[5], blocks=subnet.stages[5].blocks[:3])))
    with pytest.raises(
        UserError, match=r"missing keys: none; unexpected keys: blocks\.20\.conv\.inverted_bottleneck\.conv\.weight, "
    ):
        official.convert_state_dict(theirs, space, shallow)
    with pytest.raises(
        UserError, match=r"missing keys: blocks\.1\.conv\.depth_conv\.conv\.\dto\d_matrix, .*; unexpected keys: none"
    ):
        official.convert_state_dict(theirs, space)
