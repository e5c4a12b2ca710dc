"""The .tflite files that are profiled compute what the network computes, with the operations of the exported file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa.deploy.check import compare
from ofa.deploy.deployable import network_logits
from ofa.deploy.formats.catalogue import find_format, missing_packages
from ofa.deploy.formats.folded_weights import net_weights
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.tflite.tflite_graph import build_tflite
from ofa.nets.plain import build_net
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import walk_blocks
from tests.space_toys import deep_space, wide_space

pytestmark = [pytest.mark.export, pytest.mark.timeout(1800)]


def of_space(space: SearchSpace, resolution: int) -> tuple[Deployable, bytes]:
    """A subnet with random weights, and the file of its shapes."""
    subnet = space.restrict(resolutions=[resolution]).decode(space.sample(1, np.random.default_rng(3)) * 0)[0]
    net = build_net(space, subnet, torch.Generator().manual_seed(0)).eval()
    channels = space.in_channels
    image = ImageInput(resolution, (0.4, 0.5, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels])
    source = Deployable(space, subnet, net, image, {"classes": "[]"})
    return source, build_tflite(list(walk_blocks(space, subnet)), 1, net_weights(net), image)


@pytest.mark.parametrize(("name", "resolution"), [("fmnist", 26), ("cifar10", 28), ("mbv3-w1.0", 128), ("resnet50", 132)])
def test_it_computes_the_same(name: str, resolution: int, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    source, content = of_space(load_space(name), resolution)
    (tmp_path / "net.tflite").write_bytes(content)
    shape = (3, resolution, resolution, len(source.image.mean))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    run = find_format("litert").runner(tmp_path / "net.tflite", source.image)
    assert run is not None
    check = compare(run, pixels, network_logits(source, pixels), None)
    assert check.relative_difference < 1e-5


@pytest.mark.skipif(bool(missing_packages(find_format("litert"))), reason="needs the extra litert")
@pytest.mark.parametrize(
    ("space", "resolution"), [(wide_space(in_channels=1), 12), (deep_space(), 24), (deep_space(resolutions=(20,)), 20)]
)
def test_its_operations_are_those_of_the_exported_file(space: SearchSpace, resolution: int, tmp_path: Path) -> None:
    from ofa.deploy.formats.tflite.tflite_file import operations

    source, content = of_space(space, resolution)
    find_format("litert").convert(source, "fp32", None, tmp_path / "net.tflite")
    assert Counter(operations(content)) == Counter(operations((tmp_path / "net.tflite").read_bytes()))
