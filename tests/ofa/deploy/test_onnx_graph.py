"""Graphs made from shapes compute what the torch modules of the same shapes compute, with the same weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from ofa.deploy.formats.folded_weights import module_weights
from ofa.deploy.formats.onnx_graph import Weights, build_empty, build_graph, noise
from ofa.errors import UserError
from ofa.nets.plain import build_block, build_net
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import BlockShape, walk_blocks
from tests.space_toys import toy_space


def disturb(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Batch norms and biases with values of their own, so that a wrong fold shows."""
    for child in module.modules():
        for tensor in (*child.parameters(recurse=False), *child.buffers(recurse=False)):
            if tensor.ndim == 1:
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def run(blocks: Sequence[BlockShape], x: np.ndarray, weights: Weights) -> np.ndarray:
    graph = build_graph(blocks, len(x), weights)
    onnx.checker.check_model(graph, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def every_kind(space: SearchSpace) -> list[BlockShape]:
    """The distinct blocks of a few subnets, the smallest images only."""
    nets = [space.largest(), space.smallest(), *space.decode(space.sample(4, np.random.default_rng(0)))]
    return list(dict.fromkeys(b for net in nets for b in walk_blocks(space, replace(net, resolution=space.resolutions[0]))))


@pytest.mark.parametrize("name", ["tiny", "wide", "deep", "proxyless-w1.3"])
def test_a_block_is_the_torch_block(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    space = toy_space(name)
    if name == "proxyless-w1.3":
        space = replace(space, resolutions=(32,), stages=space.stages[:3])
    for shape in every_kind(space):
        module = disturb(build_block(shape, generator), generator)
        op = shape.main[0]
        images = torch.randn(2, op.in_channels, op.in_size, op.in_size, generator=generator)
        with torch.inference_mode():
            expected = module(images).numpy()
        found = run([shape], images.numpy(), module_weights([module]))
        scale = np.abs(expected).max()
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 2e-5 * scale, shape


@pytest.mark.parametrize("name", ["wide", "deep", "mbv3-w1.2", "resnet50"])
def test_a_whole_network_is_the_torch_network(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    space = toy_space(name)
    subnet = space.decode(space.sample(1, np.random.default_rng(3)))[0]
    subnet = replace(subnet, resolution=max(space.total_stride, 33))  # odd: strides and pools must round alike
    net = build_net(space, subnet, generator).eval()
    images = torch.randn(2, space.in_channels, subnet.resolution, subnet.resolution, generator=generator)
    with torch.inference_mode():
        expected = net(images).numpy()
    modules = [net.stem, *(block for stage in net.stages for block in stage), net.head]  # type: ignore[union-attr]
    found = run(list(walk_blocks(space, subnet)), images.numpy(), module_weights(modules))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_one_graph_serves_every_size() -> None:
    space = toy_space("wide")
    blocks = list(walk_blocks(space, space.largest()))
    for size in (12, 16):
        x = np.ones((1, space.in_channels, size, size), dtype=np.float32)
        assert run(blocks, x, noise(np.random.default_rng(0))).shape == (1, space.classes)


def test_the_empty_graph_gives_back_its_input() -> None:
    session = onnxruntime.InferenceSession(build_empty(1).SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.full((1, 1, 1, 1), 3, dtype=np.float32)
    assert session.run(None, {"x": x})[0] == 3


def test_random_weights_keep_the_scale_of_feature_maps() -> None:
    """Neither vanishing (denormal numbers are slow) nor overflowing through a deep network."""
    space = toy_space("mbv3-w1.2")
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 64), dtype=np.float32)
    y = run(list(walk_blocks(space, replace(space.largest(), resolution=64))), x, noise(np.random.default_rng(0)))
    assert 1e-6 < np.abs(y).mean() < 1e6


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"package onnx is not installed; install it with: pip install 'ofa-energy\[onnx"):
        build_empty(1)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_empty_graph_takes_the_batch_it_is_made_for(batch: int) -> None:
    session = onnxruntime.InferenceSession(build_empty(batch).SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.ones((batch, 1, 4, 4), dtype=np.float32)
    assert np.array_equal(session.run(None, {"x": x})[0], x)
