"""Rewritten .tflite files compute the same, and their memory is what the model of it says. Needs the extra tflm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latency_tables.blocks.tflm_memory import FLASH_PER_NETWORK, INTERPRETERS, arena_kb, tflite_graph
from ofa.deploy.deployable import network_logits
from ofa.deploy.formats.catalogue import find_format, missing_packages
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.nets.plain import SqueezeExcite, build_net
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks

pytestmark = [
    pytest.mark.export,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing_packages(find_format("tflm"))), reason="needs the extra tflm"),
]
DEEP = Path(__file__).resolve().parents[3] / "benchmarks" / "spaces" / "deep-64.yaml"


def converted(space_name: str | Path, seed: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[Deployable, bytes]:
    """A subnet with random weights as LiteRT's tools leave it."""
    from ofa.deploy.formats.tflite import litert_format

    space = load_space(space_name)
    subnet = space.decode(space.sample(1, np.random.default_rng(seed)))[0]
    net = build_net(space, subnet, torch.Generator().manual_seed(seed)).eval()
    for module in net.modules():  # equal biases would share their place in the file
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.Linear):
            module.bias.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed))
    channels, side = space.in_channels, subnet.resolution
    image = ImageInput(side, (0.4, 0.5, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels])
    source = Deployable(space, subnet, net, image, {"classes": "[]"})
    pixels = np.random.default_rng(seed).integers(0, 256, (4, side, side, channels), dtype=np.uint8)
    monkeypatch.setattr(litert_format, "rewrite", lambda content, planned: content)
    file = folder / "net.tflite"
    litert_format.LitertFormat().convert(source, "int8", pixels, file)
    return source, file.read_bytes()


@pytest.mark.parametrize("space", ["fmnist", "cifar10", DEEP], ids=["fmnist", "cifar10", "deep-64"])
def test_rewritten_files(space: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ofa.deploy.formats.tflite.tflite_file import operations, rewrite
    from ofa.deploy.formats.tflite.tflm_format import arena_parts, smallest_arena

    source, content = converted(space, 5, monkeypatch, tmp_path)
    planned, bare = rewrite(content, planned=True), rewrite(content, planned=False)
    assert rewrite(planned, planned=True) == planned
    assert rewrite(planned, planned=False) == bare
    assert len(bare) < len(planned) < len(content)
    inputs = np.random.default_rng(0).integers(-128, 128, (5, *input_shape(content)[1:]), dtype=np.int8)
    assert np.array_equal(run(content, inputs), run(planned, inputs))
    assert np.array_equal(run(content, inputs), run(bare, inputs))
    blocks = list(walk_blocks(source.space, source.subnet))
    graphs = [tflite_graph(block) for block in blocks]
    assert operations(planned) == [op.name for graph in graphs for op in graph.ops]
    head, _ = arena_parts(planned)
    assert head == max(graph.peak_bytes for graph in graphs)
    assert head <= arena_parts(bare)[0]
    assert smallest_arena(planned) / 1024 == pytest.approx(arena_kb(blocks, INTERPRETERS[8]), rel=0.01)
    assert len(planned) == pytest.approx(sum(graph.flash_bytes for graph in graphs) + FLASH_PER_NETWORK, rel=0.01)


def test_a_gate_whose_weights_decayed_keeps_its_bias_in_int8(tmp_path: Path) -> None:
    """Training shrinks the weights of some gates to nothing; their biases then overflowed, and top-1 fell by 11 points."""
    space = load_space("fmnist")
    subnet = space.largest()
    net = build_net(space, subnet, torch.Generator().manual_seed(0)).eval()
    for gate in (module for module in net.modules() if isinstance(module, SqueezeExcite)):
        for layer, bias in ((gate.reduce, 0.0), (gate.expand, 1.0)):
            torch.nn.init.normal_(layer.weight, 0, 1e-6, torch.Generator().manual_seed(0))
            torch.nn.init.constant_(layer.bias, bias)
    image = ImageInput(subnet.resolution, (0.4,), (0.2,))
    source = Deployable(space, subnet, net, image, {"classes": "[]"})
    pixels = np.random.default_rng(0).integers(0, 256, (16, subnet.resolution, subnet.resolution, 1), dtype=np.uint8)
    find_format("litert").convert(source, "int8", pixels, tmp_path / "net.tflite")
    run = find_format("litert").runner(tmp_path / "net.tflite", image)
    assert run is not None
    expected = network_logits(source, pixels)
    assert np.abs(run(pixels) - expected).mean() < 0.1 * expected.std()


def input_shape(content: bytes) -> tuple[int, ...]:
    from ai_edge_litert.interpreter import Interpreter

    return tuple(Interpreter(model_content=content).get_input_details()[0]["shape"].tolist())


def run(content: bytes, inputs: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for image in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(found)


def test_weights_behind_the_flatbuffer_come_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from ofa.deploy.formats.tflite.tflite_file import rewrite

    _, content = converted("fmnist", 6, monkeypatch, tmp_path)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    outside = b""
    for buffer in model.buffers:  # as the converter does with large files
        if buffer.data is not None and buffer.data.size > 64:
            buffer.raw, buffer.data = buffer.data.tobytes(), None
            buffer.offset, buffer.size = 2, len(buffer.raw)
    import flatbuffers

    def packed() -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    start = len(packed())
    for buffer in model.buffers:
        if buffer.offset:
            buffer.offset = start + len(outside)
            outside += buffer.raw
    large = packed() + outside
    assert len(large) == start + len(outside)
    inputs = np.random.default_rng(0).integers(-128, 128, (3, *input_shape(content)[1:]), dtype=np.int8)
    assert np.array_equal(run(rewrite(large, planned=True), inputs), run(content, inputs))
