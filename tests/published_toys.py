"""A published supernet in small: a space with ImageNet's input and classes, its weights in a file as the authors do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ofa import Supernet, load_space, official
from ofa.space.search_space import SearchSpace

SPACE = """
name: tiny-imagenet
block: mbconv
in_channels: 3
classes: 1000
resolutions: [16, 24, 32]
kernel_transforms: true
stem: {widths: [8], stride: 2, activation: h_swish}
stages:
  - {widths: [8], depths: [1], kernels: [3], expands: [1], stride: 1, activation: relu}
  - {widths: [16], depths: [1, 2], kernels: [3, 5], expands: [2, 4], stride: 2, activation: h_swish, se: true}
head: {width: 24, features: 32, activation: h_swish, dropout: 0.1}
"""


def write_checkpoint(folder: Path) -> tuple[Path, Path, Supernet]:
    """The checkpoint, the space's file, and the net that was saved, in eval mode."""
    (folder / "tiny.yaml").write_text(SPACE)
    space = load_space(folder / "tiny.yaml")
    net = Supernet(space, torch.Generator().manual_seed(0)).eval()
    state = {f"module.{key}": value for key, value in official.to_official_state_dict(net.state_dict(), space).items()}
    state = {key.replace(".conv.", ".mobile_inverted_conv.", 1) if ".blocks." in key else key: v for key, v in state.items()}
    torch.save({"state_dict": state, "epoch": 180}, folder / "ofa_tiny")
    return folder / "ofa_tiny", folder / "tiny.yaml", net


def write_photos(folder: Path, classes: dict[str, int], seed: int = 0, part: str = "train") -> Path:
    """Noisy photos of two sizes in `part/CLASS/`; each class has another colour, of at most three."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        place = folder / part / name
        place.mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (40 + i % 2 * 8, 44, 3))
            pixels[..., number] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
    return folder


def random_images(space: SearchSpace, resolution: int, count: int = 4) -> torch.Tensor:
    return torch.randn(count, space.in_channels, resolution, resolution, generator=torch.Generator().manual_seed(1))
