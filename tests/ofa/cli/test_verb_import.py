"""`ofa import`: published weights become a run like any other, or a subnet; what does not fit is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofa import Supernet, extract, load_subnet, official
from ofa.files.vouched import read_vouched_json
from ofa.official import imagenet
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from tests import fill
from tests.published_toys import random_images, write_checkpoint
from tests.verbs import error, ofa


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Supernet]:
    return write_checkpoint(tmp_path_factory.mktemp("published"))


@pytest.fixture
def imported(published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    checkpoint, space, _ = published
    ofa(capsys, "import", checkpoint, "--space", space, "--run", tmp_path / "run")
    return tmp_path / "run"


def test_a_supernet_is_a_run(published: tuple[Path, Path, Supernet], imported: Path) -> None:
    checkpoint, _, net = published
    run = RunDirectory.open(imported)
    assert run.space == net.space
    ours = run.supernet().state_dict()
    assert all(torch.equal(ours[key], value) for key, value in net.state_dict().items())
    record = run.record()
    assert record is not None
    assert (record.mean, record.std, record.channels) == (imagenet.MEAN, imagenet.STD, 3)
    assert (len(record.classes), record.classes[0], record.classes[999]) == (1000, "n01440764", "n15075141")
    assert imagenet.in_words(record.classes)[281] == "tabby, tabby cat"
    assert run.recipe.data.normalise is not None
    assert run.recipe.data.normalise.mean == imagenet.MEAN
    origin = read_vouched_json(imported / "import.json", "")
    assert origin["file"] == checkpoint.name


def test_importing_again_changes_nothing_and_other_weights_are_refused(
    published: tuple[Path, Path, Supernet], imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, space, net = published
    before = {path.name: path.read_bytes() for path in imported.iterdir() if path.is_file()}
    ofa(capsys, "import", checkpoint, "--space", space, "--run", imported)
    assert {path.name: path.read_bytes() for path in imported.iterdir() if path.is_file()} == before
    state = official.to_official_state_dict(net.state_dict(), net.space)
    torch.save({key: value + 1 for key, value in state.items()}, tmp_path / "other")
    line = error(capsys, "import", tmp_path / "other", "--space", space, "--run", imported)
    assert f"{imported}: holds another run; give another --run, or delete the folder" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    line = error(capsys, "import", checkpoint, "--space", space, "--run", tmp_path / "full")
    assert "full: exists and is no run directory; give another --run" in line
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space", "SPACE"], "give --run DIR for a supernet, or --out DIR for a specialised net; neither is given"),
        (["--run", "run", "--out", "out"], "both are given"),
        (["--run", "run", "--resolution", "32"], "--resolution goes with a specialised net, which --out DIR is for"),
        (["--out", "out", "--predictor", "p.pth"], "--predictor goes with a supernet, which --run DIR is for"),
        (["--run", "run", "--space", "mine"], "unknown space 'mine'"),
        (["--run", "run"], r"none of the published supernets (mbv3-w1.0, mbv3-w1.2, "),
        (["--run", "run", "--space", "mbv3-w1.0"], "mbv3-w1.0: keys do not fit: missing keys: blocks."),
        (["--run", "run", "--space", "SPACE", "--predictor", "NET"], "not one of the published predictors"),
        (["--run", "run", "--space", "SPACE", "--predictor", "no.pth"], "no.pth: no such file"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    published: tuple[Path, Path, Supernet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    checkpoint, space, _ = published
    monkeypatch.chdir(tmp_path)
    words = [{"SPACE": str(space), "NET": str(checkpoint)}.get(word, word) for word in options]
    assert message in error(capsys, "import", checkpoint, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["shape", "dtype", "nan", "fewer channels"])
def test_weights_that_do_not_fit_are_named(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    _, space, net = published
    state = official.to_official_state_dict(net.state_dict(), net.space)
    key = "first_conv.conv.weight"
    other = {
        "shape": (state[key][:4], "stem.first.conv.weight is float32[4, 3, 3, 3]; expected [8, 3, 3, 3]"),
        "dtype": (state[key].int(), "stem.first.conv.weight is int32[8, 3, 3, 3]; expected"),
        "nan": (state[key] * float("nan"), "stem.first.conv.weight has values that are not finite"),
        "fewer channels": (state[key][:, :1], "expected [8, 3, 3, 3]"),
    }
    torch.save(state | {key: other[change][0]}, tmp_path / "net")
    line = error(capsys, "import", tmp_path / "net", "--space", space, "--run", tmp_path / "run")
    assert f"{tmp_path / 'net'}: tiny-imagenet: " in line
    assert other[change][1] in line


def test_half_precision_and_absent_counts_are_taken(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, space, net = published
    state = official.to_official_state_dict(net.state_dict(), net.space)
    torch.save({k: v.half() for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "net")
    ofa(capsys, "import", tmp_path / "net", "--space", space, "--run", tmp_path / "run")
    ours = RunDirectory.open(tmp_path / "run").supernet().state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(ours[key], value.half().float() if value.is_floating_point() else torch.zeros_like(value))


def test_another_published_supernet_is_recognised_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zeros, but of the published names and shapes."""
    shapes = fill.golden("mbv3-w1.0")["state_dict"]
    state = {
        key: torch.zeros(shape, dtype=torch.int64 if "num_batches" in key else torch.float32)
        for key, shape in shapes.items()
    }
    torch.save({"state_dict": state}, tmp_path / "net")
    line = error(capsys, "import", tmp_path / "net", "--space", "mbv3-w1.2", "--run", tmp_path / "run")
    assert "net: holds the supernet of mbv3-w1.0, not of mbv3-w1.2; give --space mbv3-w1.0" in line
    assert ofa(capsys, "import", tmp_path / "net", "--run", tmp_path / "run")["space"] == "mbv3-w1.0"


# -- specialised nets ----------------------------------------------------------------------------------------------------


def net_config(space: SearchSpace, subnet: Subnet) -> dict[str, Any]:
    """As the authors write one."""
    blocks, channels = [], subnet.stem.width
    for stage in subnet.stages:
        for block in stage.blocks:
            layer = {"name": "MBInvertedConvLayer", "in_channels": channels, "out_channels": stage.width}
            layer |= {"kernel_size": block.kernel, "expand_ratio": block.expand, "mid_channels": None}
            blocks.append({"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": layer, "shortcut": None})
            channels = stage.width
    return {"name": "MobileNetV3", "bn": {"momentum": 0.1, "eps": 0.001}, "blocks": blocks}


def write_specialised(folder: Path, net: Supernet, subnet: Subnet, size: int) -> None:
    folder.mkdir()
    theirs = official.to_official_state_dict(extract(net, subnet).state_dict(), net.space, subnet)
    torch.save({"state_dict": theirs}, folder / "init")
    (folder / "net.config").write_text(json.dumps(net_config(net.space, subnet)))
    (folder / "run.config").write_text(json.dumps({"image_size": size}))


def test_a_specialised_net_is_a_subnet_directory(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also at a size that its space does not have; batch norm's epsilon is the config's."""
    _, space, net = published
    subnet = net.space.decode(net.space.sample(1, np.random.default_rng(3)))[0]
    write_specialised(tmp_path / "net", net, subnet, 28)
    out = tmp_path / "subnet"
    answer = ofa(capsys, "import", tmp_path / "net", "--space", space, "--out", out, "--platform", "edge-int8")
    assert answer["subnet"]["resolution"] == 28
    assert answer["card"]["input"]["mean"] == list(imagenet.MEAN)
    assert answer["card"]["input"]["classes"][281] == "tabby, tabby cat"
    images = random_images(net.space, 28)
    expected = extract(net, subnet)
    module = load_subnet(out)
    with torch.inference_mode():
        assert not torch.equal(module(images), expected(images))  # another epsilon
        for part in expected.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eps = 0.001
        assert torch.equal(module(images), expected(images))
    namespace: dict[str, Any] = {"__file__": str(out / "load.py"), "__name__": "__main__"}
    exec(compile((out / "load.py").read_text(), "load.py", "exec"), namespace)
    assert capsys.readouterr().out.count(":") == 1


def test_mistakes_in_a_specialised_net(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, space, net = published
    subnet = net.space.largest()
    folder = tmp_path / "net"
    write_specialised(folder, net, subnet, 32)
    words = ["import", folder, "--space", space, "--out", tmp_path / "out"]

    def with_file(name: str, content: str, message: str) -> None:
        before = (folder / name).read_bytes()
        (folder / name).write_text(content)
        assert message in error(capsys, *words)
        (folder / name).write_bytes(before)

    config = net_config(net.space, subnet)
    with_file("net.config", "{", "net.config:1: not valid JSON")
    with_file("net.config", "[1]", "net.config: holds [1]; expected the net.config of a published net (blocks)")
    with_file("net.config", json.dumps(config | {"blocks": config["blocks"][:1]}), "blocks of [8] channels are not those of")
    with_file(
        "net.config", json.dumps(config | {"name": "ResNets"}), "is of a ResNets; tiny-imagenet has blocks of kind mbconv"
    )
    with_file("net.config", json.dumps(config | {"blocks": [3]}), "blocks[0] has no mobile_inverted_conv")
    with_file("net.config", json.dumps(config | {"bn": {"eps": -1}}), "norm_eps")
    with_file("net.config", json.dumps(config | {"blocks": config["blocks"][:2]}), "unexpected keys: blocks.2.")
    with_file("run.config", '{"image_size": "big"}', "run.config: image_size is big; expected a whole number of pixels")
    with_file("run.config", '{"image_size": 2}', "resolution is 2; expected a whole number of at least")
    with_file("init", "<html>", "init: is a web page")
    assert "none of the published spaces" in error(capsys, "import", folder, "--out", tmp_path / "out")
    assert "5to3_matrix" in error(capsys, "import", checkpoint, "--config", folder / "net.config", *words[2:])
    (folder / "run.config").unlink()
    assert "run.config: no such file, so --resolution must say" in error(capsys, *words)
    assert not (tmp_path / "out").exists()
    ofa(capsys, *words, "--resolution", 24)
    assert load_subnet(tmp_path / "out") is not None
