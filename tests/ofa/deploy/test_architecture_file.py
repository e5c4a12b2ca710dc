"""A subnet out of a file: our JSON, the published architecture, its net.config; and `ofa extract`, which writes it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa import load_space, load_subnet, official
from ofa.cli.main import main
from ofa.deploy.architecture_file import read_architecture
from ofa.errors import UserError
from ofa.runs.run_directory import RunDirectory
from ofa.runs.subnet_weights import subnet_weights
from ofa.space.ops import make_divisible
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from tests.verbs import error
from tests.verbs import ofa as run_ofa

PUBLISHED = ("mbv3-w1.0", "mbv3-w1.2", "proxyless-w1.3")


def net_config(space: SearchSpace, subnet: Subnet, key: str, middle: bool) -> dict[str, Any]:
    """As the published package writes a specialised net."""
    blocks, channels = [], subnet.stem.width
    for stage in subnet.stages:
        for block in stage.blocks:
            layer = {"name": "MBConvLayer", "in_channels": channels, "out_channels": stage.width}
            layer |= {"kernel_size": block.kernel, "expand_ratio": block.expand}
            if middle:
                layer |= {"mid_channels": make_divisible(channels * block.expand), "expand_ratio": 6}
            blocks.append({"name": "MobileInvertedResidualBlock", key: layer, "shortcut": None})
            channels = stage.width
    return {"name": "MobileNetV3", "bn": {}, "first_conv": {}, "blocks": blocks, "classifier": {}}


def resnet_config(space: SearchSpace, subnet: Subnet) -> dict[str, Any]:
    """As the published package writes a specialised ResNet."""
    stem, channels = subnet.stem, subnet.stem.width
    inside = {"name": "ConvLayer", "kernel_size": 3, "out_channels": stem.hidden}
    optional = {"name": "ResidualBlock", "conv": {**inside, "in_channels": stem.hidden}, "shortcut": {}}
    layers = [inside, *([optional] if stem.depth == 3 else []), {**inside, "out_channels": stem.width}]
    blocks = []
    for stage in subnet.stages:
        for block in stage.blocks:
            hidden = make_divisible(round(stage.width * block.expand))
            layer = {"name": "ResNetBottleneckBlock", "in_channels": channels, "out_channels": stage.width, "kernel_size": 3}
            blocks.append({**layer, "expand_ratio": block.expand, "mid_channels": hidden, "groups": 1})
            channels = stage.width
    return {"name": "ResNets", "bn": {"momentum": 0.1, "eps": 1e-05}, "input_stem": layers, "blocks": blocks}


def written(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("name", [*PUBLISHED, "resnet50"])
def test_our_json_and_the_published_architecture_give_the_same_subnet(tmp_path: Path, name: str) -> None:
    space = load_space(name)
    for subnet in space.decode(space.sample(6, np.random.default_rng(0))):
        assert read_architecture(written(tmp_path / "a.json", subnet.to_dict()), space) == subnet
        assert read_architecture(written(tmp_path / "b.json", {"subnet": subnet.to_dict(), "format": 1}), space) == subnet
        arch = official.to_arch(space, subnet)
        assert read_architecture(written(tmp_path / "c.json", arch), space) == subnet
        arch["r"] = [arch.pop("image_size")]
        assert read_architecture(written(tmp_path / "c.json", arch), space) == subnet
        del arch["r"]
        assert read_architecture(written(tmp_path / "c.json", arch), space, subnet.resolution) == subnet
        with pytest.raises(UserError, match=r"c.json: does not say for how large images it is; give --resolution"):
            read_architecture(tmp_path / "c.json", space)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("key", ["mobile_inverted_conv", "conv"])
@pytest.mark.parametrize("middle", [False, True])
def test_a_net_config_gives_the_subnet(tmp_path: Path, name: str, key: str, middle: bool) -> None:
    space = load_space(name)
    for subnet in space.decode(space.sample(6, np.random.default_rng(1))):
        file = written(tmp_path / "net.config", net_config(space, subnet, key, middle))
        assert read_architecture(file, space, subnet.resolution) == subnet


def test_the_config_of_a_resnet_gives_the_subnet(tmp_path: Path) -> None:
    space = load_space("resnet50")
    for subnet in space.decode(space.sample(20, np.random.default_rng(1))):
        file = written(tmp_path / "net.config", resnet_config(space, subnet))
        assert read_architecture(file, space, subnet.resolution) == subnet
    config = resnet_config(space, space.largest())
    for change, message in (
        ({"input_stem": None}, r"input_stem is None; expected 2 or 3 convolutions of \[20, 24, 32\] channels"),
        ({"input_stem": [{"out_channels": 21}, {"out_channels": 64}]}, "input_stem is .*expected 2 or 3 convolutions"),
        ({"blocks": config["blocks"][:3]}, "are not those of resnet50, whose stages have"),
        ({"name": "MobileNetV3"}, "is of a MobileNetV3; resnet50 has blocks of kind bottleneck"),
    ):
        with pytest.raises(UserError, match=message):
            read_architecture(written(tmp_path / "net.config", config | change), space, 224)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], r"a.json: holds \[1\]; expected a subnet.json"),
        ({}, "has the keys none; expected"),
        ({"layers": 3}, "has the keys layers; expected"),
        ({"stages": 3}, r"a.json: .*"),
        ({"ks": [3], "e": [3], "d": [2]}, "'ks' has 1 entries; expected 20"),
        ({"d": [2] * 5, "e": 3, "ks": 4}, "a.json: .*4.*"),
        ({"d": [2] * 5, "e": 3, "ks": 3, "image_size": 128}, "is for 128 px; the resolution given is 160"),
        ({"blocks": [{"conv": {}}]}, r"net.config: blocks\[0\] has no mobile_inverted_conv"),
        ({"blocks": [{"conv": {"in_channels": 1, "out_channels": 7, "kernel_size": 3}}]}, r"blocks of \[7\] channels are"),
    ],
)
def test_what_is_no_subnet_of_the_space_is_one_line(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_architecture(written(tmp_path / "a.json", data), load_space("mbv3-w1.0"), 160)
    assert "\n" not in str(caught.value)


def test_extract_writes_what_the_run_gives_for_each_way_to_say_it(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory.open(trained_run)
    subnet = run.space.decode(run.space.sample(1, np.random.default_rng(3)))[0]
    file = written(tmp_path / "mine.json", subnet.to_dict())
    found = run_ofa(capsys, "extract", trained_run, "--subnet", file, "--out", tmp_path / "net")
    assert found["subnet"] == subnet.to_dict()
    expected = subnet_weights(run, subnet)
    weights = load_subnet(tmp_path / "net").state_dict()
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[name].numpy(), expected[name]) for name in weights)
    card = json.loads((tmp_path / "net" / "card.json").read_text())
    assert {figure["name"]: figure["value"] for figure in card["figures"]}["Top-1, validation (measured)"] == pytest.approx(
        100 * found["top1"]
    )
    options = ["--platform", "edge-int8", "--platform", "stm32-l4r5"]
    again = run_ofa(capsys, "extract", trained_run, "--subnet", tmp_path / "net", "--out", tmp_path / "again", *options)
    assert again["top1"] == found["top1"]
    assert any("on stm32-l4r5" in figure["name"] for figure in again["card"]["figures"])
    both = ["--subnet", tmp_path / "net", "--subnet", file]
    rows = run_ofa(capsys, "evaluate", trained_run, *both)["subnets"]
    assert [row["top1"] for row in rows] == [found["top1"]] * 2
    assert main(["finetune", str(tmp_path / "net"), "--run", str(trained_run), "--epochs", "1", "--json"]) == 0


def test_mistakes_are_one_line(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = error(capsys, "extract", trained_run, "--subnet", "nowhere.json", "--out", tmp_path / "n")
    assert "nowhere.json: no such file" in text
    text = error(capsys, "extract", trained_run, "--subnet", "largest", "--resolution", "9", "--out", tmp_path / "n")
    assert "the largest subnet of tiny is for 12 px, not 9" in text
    assert not (tmp_path / "n").exists()
