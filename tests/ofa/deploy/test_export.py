"""Exports compute what the network computes, in their own runtimes; what is beyond the tolerance is not written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from ofa.cli.main import main
from ofa.deploy.check import compare
from ofa.deploy.deployable import Photos, network_logits, photos_of_folder, read_deployable
from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_format import OnnxFormat
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.subnet_directory import load_subnet
from ofa.errors import UserError
from ofa.files.vouched import read_vouched_json
from ofa.nets.plain import build_net
from ofa.space.search_space import SearchSpace, load_space
from tests.verbs import error, ofa


def untrained(space: SearchSpace, resolution_index: int) -> Deployable:
    genes = space.sample(1, np.random.default_rng(3))
    genes[:, 0] = resolution_index
    net = build_net(space, space.decode(genes)[0], torch.Generator().manual_seed(0)).eval()
    channels, side = space.in_channels, space.decode(genes)[0].resolution
    image = ImageInput(side, (0.4, 0.5, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels])
    return Deployable(space, space.decode(genes)[0], net, image, {"classes": "[]"})


@pytest.mark.parametrize("name", ["fmnist", "cifar", "proxyless-w1.3", "resnet50"])
@pytest.mark.parametrize("as_uint8", [True, False])
def test_the_graph_takes_camera_images_and_computes_the_same_in_every_space(
    name: str, as_uint8: bool, tmp_path: Path
) -> None:
    source = untrained(load_space(name), 0)
    image = ImageInput(source.image.side, source.image.mean, source.image.std, as_uint8)
    source = Deployable(source.space, source.subnet, source.net, image, source.facts)
    shape = (3, image.side, image.side, len(image.mean))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = tmp_path / "net.onnx"
    OnnxFormat().convert(source, "fp32", None, file)
    check = compare(OnnxFormat().runner(file, image), pixels, network_logits(source, pixels), None)
    assert check.relative_difference < 1e-5
    assert check.agreement == 1
    one = compare(OnnxFormat().runner(file, image), pixels[:1], network_logits(source, pixels[:1]), None)
    assert one.relative_difference < 1e-5  # the batch is dynamic


def formats_to_try() -> list[object]:
    """ONNX always; the others where they are installed, under their marker."""
    others = [pytest.param(name, marks=pytest.mark.export) for name in FORMATS if name != "onnx"]
    return ["onnx", *others]


@pytest.mark.timeout(1800)  # LiteRT takes half a minute a conversion, and there are six
@pytest.mark.parametrize("name", formats_to_try())
def test_every_format_answers_as_the_network_does(
    subnet_folder: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    format = find_format(name)
    if missing_packages(format):
        pytest.skip(f"needs {missing_packages(format)}")
    out = tmp_path / "out"
    precisions = [word for precision in format.precisions for word in ("--precision", precision)]
    told = ofa(capsys, "export", subnet_folder, "--format", name, *precisions, "--images", 64, "--out", out)
    assert len(told["files"]) == len(format.precisions)
    for file, of_file in told["files"].items():
        if "relative_difference" not in of_file:
            assert name == "coreml"  # nothing here can run it
            continue
        limit = 1e-4 if "fp32" in file else 0.25
        assert of_file["relative_difference"] < limit
        assert of_file["agreement"] > 0.9
    found = []
    for again in (tmp_path / "again", tmp_path / "once-more"):  # some tools number what they make within a process
        words = ("export", subnet_folder, "--format", name, *precisions, "--images", 64, "--out", again)
        subprocess.run([sys.executable, "-m", "ofa.cli.main", *map(str, words)], check=True, capture_output=True)
        found.append({path.name: path.read_bytes() for path in again.iterdir()})
    assert found[0] == found[1]
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    if format.example is not None:
        pixels = np.zeros((20, 20), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        command = [sys.executable, str(out / format.example), str(tmp_path / "photo.png")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
        side = read_deployable(subnet_folder).image.side
        best = network_logits(read_deployable(subnet_folder), np.zeros((1, side, side, 1), np.uint8)).argmax()
        assert printed.splitlines()[0].startswith(f"{json.loads(read_deployable(subnet_folder).facts['classes'])[best]}: ")


@pytest.mark.export
@pytest.mark.skipif(bool(missing_packages(find_format("executorch"))), reason="needs the extra executorch")
def test_a_runner_of_executorch_owns_its_memory(tmp_path: Path) -> None:
    """The program was freed under its method: a segmentation fault once other objects took its place."""
    source = untrained(load_space("fmnist"), 0)
    file = tmp_path / "net.pte"
    format = find_format("executorch")
    format.convert(source, "fp32", None, file)
    run = format.runner(file, source.image)
    assert run is not None
    pixels = np.random.default_rng(0).integers(0, 256, (4, source.image.side, source.image.side, 1), dtype=np.uint8)
    for _ in range(20):
        others = [b"\xff" * file.stat().st_size for _ in range(20)]
        assert compare(run, pixels, network_logits(source, pixels), None).relative_difference < 1e-4
        del others


def test_an_export_is_checked_described_and_the_same_twice(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("export", subnet_folder, "--format", "onnx", "--precision", "fp32", "--precision", "int8", "--images", 64)
    ofa(capsys, *words, "--out", tmp_path / "a")
    ofa(capsys, *words, "--out", tmp_path / "b")
    document = read_vouched_json(tmp_path / "a" / "export.json", "")
    fp32, int8 = document["files"]
    assert (*fp32["sha256"], *int8["sha256"]) == ("subnet-fp32.onnx", "subnet-int8.onnx")
    assert fp32["check"]["agreement"] == 1
    assert fp32["check"]["top1"] == fp32["check"]["top1_network"]
    assert abs(int8["check"]["top1"] - int8["check"]["top1_network"]) < 0.1
    assert document["checked_on"]["images"] == 60  # all that the run holds out
    assert document["calibration"]["images"] == 40  # all that the run keeps
    for name in ("subnet-fp32.onnx", "subnet-int8.onnx", "export.json"):
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
        assert str(tmp_path).encode() not in content
        assert b"/site-packages/" not in content
    weights = [tensor.data_type for tensor in onnx.load(tmp_path / "a" / "subnet-int8.onnx").graph.initializer]
    assert onnx.TensorProto.INT8 in weights


def test_one_extreme_image_does_not_take_the_bits_of_all_others(tmp_path: Path) -> None:
    source = untrained(load_space("fmnist"), 0)
    side = source.image.side
    pixels = np.random.default_rng(0).integers(100, 140, (64, side, side, 1), dtype=np.uint8)
    pixels[20, 0, 0], pixels[20, 0, 1] = 0, 255
    OnnxFormat().convert(source, "int8", pixels, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    scale = next(onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == first.input[1])
    assert 139 <= 255 * float(scale) < 180  # the range of pixels: 0 to 255 with the extreme image, 0 to 139 without


def test_the_program_beside_the_file_classifies_a_photo(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ofa(capsys, "export", subnet_folder, "--format", "onnx", "--images", 64, "--out", out)
    source = read_deployable(subnet_folder)
    pixels = np.random.default_rng(1).integers(0, 256, (source.image.side,) * 2, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    command = [sys.executable, str(out / "run_onnx.py"), str(tmp_path / "photo.png")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    logits = network_logits(source, pixels[None, :, :, None])[0]
    classes = json.loads(source.facts["classes"])
    probability = np.exp(logits).max() / np.exp(logits).sum()
    assert printed.splitlines()[0] == f"{classes[logits.argmax()]}: {probability:.3f}"


def test_without_a_run_fp32_is_checked_on_random_pixels_and_int8_needs_a_folder(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(subnet_folder, alone)
    ofa(capsys, "export", alone, "--format", "onnx")
    document = read_vouched_json(tmp_path / "alone-export" / "export.json", "")
    assert document["checked_on"] == {"images": 64, "source": "random pixels"}
    assert document["files"][0]["check"]["top1"] is None
    int8 = ("export", alone, "--format", "onnx", "--precision", "int8", "--out", tmp_path / "int8")
    assert "--calibration FOLDER" in error(capsys, *int8)
    photos = tmp_path / "photos" / "any"
    photos.mkdir(parents=True)
    assert "holds no images" in error(capsys, *int8, "--calibration", photos)
    rng = np.random.default_rng(0)
    for i in range(70):
        Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(photos / f"{i}.png")
    ofa(capsys, *int8, "--calibration", photos.parent)
    assert read_vouched_json(tmp_path / "int8" / "export.json", "")["calibration"]["images"] == 70


def test_a_bundle_gives_the_images_where_neither_run_nor_data_are(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ofa.runs.run_directory import RunDirectory

    run, alone = subnet_folder.parents[1], tmp_path / "alone"
    shutil.copytree(subnet_folder, alone)
    ofa(capsys, "pack", run, "--out", tmp_path / "tiny.ofa")
    ofa(capsys, "pack", run, "--validation", 20, "--out", tmp_path / "with.ofa")
    words = ("export", alone, "--format", "onnx", "--precision", "int8", "--out", tmp_path / "out")
    ofa(capsys, *words, "--run", run)
    with_data = (tmp_path / "out" / "subnet-int8.onnx").read_bytes()
    monkeypatch.setattr(RunDirectory, "has_data", lambda self: False)
    for bundle, images, labelled in (("tiny.ofa", 40, False), ("with.ofa", 20, True)):
        ofa(capsys, *words, "--run", tmp_path / bundle)
        document = read_vouched_json(tmp_path / "out" / "export.json", "")
        assert document["checked_on"]["images"] == images
        assert (document["files"][0]["check"]["top1"] is not None) == labelled
        assert (tmp_path / "out" / "subnet-int8.onnx").read_bytes() == with_data


def test_a_file_that_computes_something_else_is_not_written(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    ofa(capsys, "export", subnet_folder, "--format", "onnx", "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    right = OnnxFormat.runner

    def constant(self: OnnxFormat, file: Path, image: ImageInput) -> object:
        runner = right(self, file, image)
        return lambda images: np.zeros_like(runner(images))

    monkeypatch.setattr(OnnxFormat, "runner", constant)
    assert "not written: its logits differ" in error(capsys, "export", subnet_folder, "--format", "onnx", "--out", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_mistakes_are_one_line(subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "formats are onnx" in error(capsys, "export", subnet_folder, "--format", "onxx")
    assert "--format is missing" in error(capsys, "export", subnet_folder)
    assert "SUBNET_DIR is missing" in error(capsys, "export", "--format", "onnx")
    assert "no such file" in error(capsys, "export", tmp_path / "nothing", "--format", "onnx").lower()
    damaged = tmp_path / "damaged"
    shutil.copytree(subnet_folder, damaged)
    weights = bytearray((damaged / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (damaged / "weights.safetensors").write_bytes(weights)
    assert "digest" in error(capsys, "export", damaged, "--format", "onnx")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert "holds no export" in error(capsys, "export", subnet_folder, "--format", "onnx", "--out", tmp_path / "mine")
    assert not (tmp_path / "damaged-export").exists()


def test_a_missing_package_is_named_with_its_extra(
    subnet_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxFormat, "packages", ("onnx", "not-a-package"))
    told = error(capsys, "export", subnet_folder, "--format", "onnx")
    assert "not-a-package not installed; install with: pip install 'ofa-energy[onnx]'" in told
    assert ofa(capsys, "export", "--list")["formats"]["onnx"]["missing"] == ["not-a-package"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_it_is(name: str) -> None:
    format = find_format(name)
    assert format.name == name
    assert format.suffix.startswith(".")
    assert format.packages


def test_calibration_images_are_in_mixed_order(tmp_path: Path) -> None:
    for value in range(0, 250, 2):
        Image.new("L", (8, 8), value).save(tmp_path / f"{value:03}.png")
    photos = photos_of_folder(tmp_path, 8, 1, 64)
    means = photos.pixels.reshape(64, -1).mean(1)
    assert abs(means[:32].mean() - means[32:].mean()) < 40
    assert len(set(means.tolist())) == 64


def test_photos_have_the_pixels_that_the_evaluation_sees(subnet_folder: Path) -> None:
    from ofa.deploy.deployable import photos_of_data
    from ofa.runs.run_directory import RunDirectory

    data = RunDirectory.open(subnet_folder.parents[1]).data()
    photos: Photos = photos_of_data(data, "validation", 12, 30)
    images, labels = next(data.batches("validation", batch_size=30, resolution=12, shuffle=False, augment=False))
    assert photos.labels is not None
    assert photos.labels.tolist() == labels.tolist()
    net, source = load_subnet(subnet_folder), read_deployable(subnet_folder)
    with torch.inference_mode():
        assert np.allclose(network_logits(source, photos.pixels), net(images).numpy(), atol=1e-4)


def test_a_format_without_int8_says_so(subnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ofa.deploy.export import export

    monkeypatch.setattr(OnnxFormat, "precisions", ("fp32",))
    source = read_deployable(subnet_folder)
    photos = Photos(np.zeros((64, source.image.side, source.image.side, 1), np.uint8), None, "zeros")
    with pytest.raises(UserError, match="has no int8"):
        export(source, [(OnnxFormat(), "int8")], photos, photos, tmp_path / "out")


def test_a_file_that_nothing_here_can_run_is_told_to_be_unchecked(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxFormat, "runner", lambda self, file, image: None)
    monkeypatch.setattr(OnnxFormat, "runs_here", False)
    out = tmp_path / "out"
    told = ofa(capsys, "export", subnet_folder, "--format", "onnx", "--images", 64, "--out", out)
    assert list(told["files"]["subnet-fp32.onnx"]) == ["bytes"]
    assert read_vouched_json(out / "export.json", "")["files"][0]["check"] is None
    assert main(["export", str(subnet_folder), "--format", "onnx", "--images", "64", "--out", str(out)]) == 0
    assert "subnet-fp32.onnx: " in (text := capsys.readouterr().out)
    assert "NOT checked: nothing here can run it" in text
    rows = ofa(capsys, "benchmark", subnet_folder, "--format", "onnx", "--images", 64)["rows"]
    assert [row["status"] for row in rows[1:]] == ["for other devices: not timed, not checked"] * 2
    assert all("median_ms" not in row for row in rows[1:])
