"""Compare the model of TensorFlow Lite Micro's memory with its interpreter, on random subnets with random weights.

python benchmarks/microcontroller_memory.py --files FOLDER --out tests/golden/tflm_memory.json [--interpreter32 PROGRAM]

Exports subnets as `ofa export --format litert --precision int8` does (20 s each; those already in the folder are kept), asks
the interpreter of the package tflite-micro (pointers of 64 bits) for its arena, and `benchmarks/tflm_arena.cc`, built for 32
bits, for that of a microcontroller. Needs the extra tflm. Subnets named `tiny` get images of 10 px, so that planning takes
more memory than feature maps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from latency_tables.blocks.tflm_memory import FLASH_PER_NETWORK, INTERPRETERS, arena_kb, tflite_graph
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.tflite.litert_format import LitertFormat
from ofa.deploy.formats.tflite.tflm_format import arena_parts, smallest_arena
from ofa.nets.plain import Net, build_net
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import walk_blocks
from ofa.space.subnet import Subnet

DRAWN = (
    *(("fmnist", 4, 2), ("fmnist", 6, 3), ("grey-48", 3, 2), ("small-rgb-64", 5, 2), ("small-rgb-64", 8, 3)),
    *(
        ("bignas", 2, 3),
        ("deep-64", 4, 2),
        ("deep-64", 9, 3),
        ("cifar10-depthwise", 4, 2),
        ("cifar10-depthwise", 6, 3),
        ("mbv3-w1.0", 1, 2),
    ),
    *(("fmnist", 2, 4), ("cifar10-depthwise", 1, 4), ("deep-64", 1, 4)),
)
"""Space, number of subnets, seed."""
TINY_SEED, TINY_SIDE = 4, 10
PACKAGES = ("tflite-micro", "litert-torch", "ai-edge-quantizer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True, help="folder of the exported files")
    parser.add_argument("--interpreter32", type=Path, help="benchmarks/tflm_arena.cc, built for 32 bits")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.files.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    nets = [net for name, count, seed in DRAWN for net in measured(name, count, seed, args.files, args.interpreter32)]
    versions = {package: metadata.version(package) for package in PACKAGES}
    document = {"made_by": "benchmarks/microcontroller_memory.py", "versions": versions, "nets": nets}
    lines = ",\n".join(json.dumps(net) for net in nets)
    args.out.write_text(json.dumps(document | {"nets": []}).replace('"nets": []', f'"nets": [\n{lines}\n]') + "\n")


def space_of(name: str) -> SearchSpace:
    """A space that ships, or the one beside this script."""
    path = Path(__file__).parent / "spaces" / f"{name}.yaml"
    return load_space(path if path.exists() else name)


def measured(name: str, count: int, seed: int, files: Path, interpreter32: Path | None) -> list[dict[str, object]]:
    """Export subnets of a space and measure each."""
    space, found = space_of(name), []
    genes = space.sample(count, np.random.default_rng(seed))
    for i, subnet in enumerate(space.decode(genes)):
        tiny = seed == TINY_SEED
        given = replace(subnet, resolution=TINY_SIDE) if tiny else subnet
        file = files / f"{'tiny-' if tiny else ''}{name}-{seed}-{i}.tflite"
        if not file.exists():
            export(space, given, i, file)
        content = file.read_bytes()
        head, tail = arena_parts(content)
        net = {"space": name, "genes": genes[i].tolist(), "resolution": given.resolution, "bytes": len(content)}
        net |= {"head": head, "tail64": tail, "arena64": smallest_arena(content)}
        if interpreter32 is not None:
            printed = subprocess.run([interpreter32, file], capture_output=True, text=True, check=True).stdout.split()
            net |= {"tail32": int(printed[2]), "arena32": int(printed[4])}
        report(file.stem, net, space, given)
        found.append(net)
    return found


def report(name: str, net: dict[str, object], space: SearchSpace, subnet: Subnet) -> None:
    """Print how far the model is off, in percent."""
    blocks = list(walk_blocks(space, subnet))
    flash = sum(tflite_graph(block).flash_bytes for block in blocks) + FLASH_PER_NETWORK
    line = f"{name}: file {100 * (flash / int(str(net['bytes'])) - 1):+.2f}%"
    for pointer, interpreter in INTERPRETERS.items():
        if f"arena{8 * pointer}" in net:
            real = int(str(net[f"arena{8 * pointer}"]))
            excess = 100 * (1024 * arena_kb(blocks, interpreter) / real - 1)
            line += f", arena of {8 * pointer} bits {excess:+.2f}% of {real}"
    print(line, flush=True)


def export(space: SearchSpace, subnet: Subnet, seed: int, file: Path) -> None:
    """Export a subnet with random weights."""
    channels, side = space.in_channels, subnet.resolution
    image = ImageInput(side, (0.4, 0.5, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels])
    pixels = np.random.default_rng(seed).integers(0, 256, (2, side, side, channels), dtype=np.uint8)
    LitertFormat().convert(Deployable(space, subnet, random_net(space, subnet, seed), image, {}), "int8", pixels, file)


def random_net(space: SearchSpace, subnet: Subnet, seed: int) -> Net:
    """A network whose biases all differ, as those of a trained one do: equal ones would share their place in the file."""
    net = build_net(space, subnet, torch.Generator().manual_seed(seed)).eval()
    generator = torch.Generator().manual_seed(seed + 1000)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(module, torch.nn.Linear):
            module.bias.data.normal_(0, 0.1, generator=generator)
    return net


if __name__ == "__main__":
    main()
