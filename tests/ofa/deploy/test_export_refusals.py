"""What a format refuses is one line, and leaves nothing half-written: in the large formats as in ONNX."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa.cli.main import main
from ofa.deploy.check import compare
from ofa.deploy.deployable import Photos, read_deployable
from ofa.deploy.export import export
from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages
from ofa.deploy.formats.onnx_format import OnnxFormat
from ofa.errors import UserError
from ofa.nets.plain import PlainHead
from tests.verbs import error

FULL = """
import resource, sys
from ofa.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""
"""A process that may not make a larger file: a full disk as it sees it."""
TRACED = ("litert", "executorch", "coreml")
"""Formats whose converters trace the network; the others are made of these, or of its shapes."""


def large(names: tuple[str, ...]) -> list[object]:
    """ONNX always; the others where they are installed, under their marker."""
    needed = {name: missing_packages(find_format(name)) for name in names}
    marks = {name: [pytest.mark.export, pytest.mark.skipif(bool(needed[name]), reason="not installed")] for name in names}
    return [name if name == "onnx" else pytest.param(name, marks=marks[name]) for name in names]


pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("name", large(tuple(FORMATS)))
def test_a_damaged_directory(name: str, subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("weights.safetensors", "subnet.json", "card.json"):
        damaged = tmp_path / "damaged"
        shutil.copytree(subnet_folder, damaged)
        content = bytearray((damaged / file).read_bytes())
        content[len(content) // 2] ^= 1
        (damaged / file).write_bytes(content)
        assert file in error(capsys, "export", damaged, "--format", name, *precision_of(name))
        shutil.rmtree(damaged)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", large(tuple(name for name in FORMATS if "int8" in find_format(name).precisions)))
def test_no_images_to_calibrate_on(
    name: str, subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(subnet_folder, alone)
    told = error(capsys, "export", alone, "--format", name, "--precision", "int8")
    assert "int8 needs images that show the range of activations" in told
    (tmp_path / "empty").mkdir()
    told = error(capsys, "export", alone, "--format", name, "--precision", "int8", "--calibration", tmp_path / "empty")
    assert "holds no images" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "empty"]


@pytest.mark.parametrize("name", large(TRACED))
def test_an_operation_that_the_format_does_not_have(
    name: str, subnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: PlainHead, x: Tensor, generator: object = None) -> Tensor:
        return torch.linalg.svdvals(x.mean(1))[:, :1] + self.classifier.weight.mean(1)

    monkeypatch.setattr(PlainHead, "forward", forward)
    source = read_deployable(subnet_folder)
    pixels = np.random.default_rng(0).integers(0, 256, (64, *(source.image.side,) * 2, 1), dtype=np.uint8)
    photos = Photos(pixels, None, "noise")
    with pytest.raises(UserError, match=rf"format {name}: fp32: .*it cannot express this network") as caught:
        export(source, [(find_format(name), "fp32")], photos, photos, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_tool_is_one_line_and_one_of_this_program_is_not(
    subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tool(self: OnnxFormat, *given: object) -> list[Path]:
        raise RuntimeError("no such kernel\nat 0x7f")

    def slip(self: OnnxFormat, *given: Any) -> list[Path]:
        compare(given[0], *given[:3])
        return []

    words = ["export", subnet_folder, "--format", "onnx", "--out", tmp_path / "out"]
    monkeypatch.setattr(OnnxFormat, "convert", tool)
    assert "format onnx: fp32: RuntimeError: no such kernel; it cannot express" in error(capsys, *words)
    monkeypatch.setattr(OnnxFormat, "convert", slip)
    with pytest.raises(TypeError):
        main([*map(str, words)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.export
@pytest.mark.skipif(bool(missing_packages(find_format("ethos-u"))), reason="not installed")
def test_an_operation_that_the_accelerator_does_not_have(subnet_folder: Path, tmp_path: Path) -> None:
    from ofa.deploy.formats.tflite.ethos_u_format import compile_for

    find_format("litert").convert(read_deployable(subnet_folder), "fp32", None, tmp_path / "net.tflite")
    with pytest.raises(UserError, match=r"format ethos-u: the compiler stopped: .*") as caught:
        compile_for((tmp_path / "net.tflite").read_bytes(), "ethos-u55-128")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", large(tuple(FORMATS)))
def test_a_full_disk(name: str, subnet_folder: Path, tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    words = ["export", subnet_folder, "--format", name, *precision_of(name), "--images", 64, "--out", out]
    command = [sys.executable, "-c", FULL, "4000", *map(str, words)]
    environment = os.environ | {"TMPDIR": str(scratch)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("ofa export: error: ")
    assert done.stderr.count("\n") == 1
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def precision_of(name: str) -> tuple[str, str]:
    """The option for the first precision of a format."""
    return "--precision", find_format(name).precisions[0]
