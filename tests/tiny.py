"""A data set, space and recipe small enough to train in a second: what tests of whole runs share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.training.trainer
from ofa.training.checkpoint import save_checkpoint

SPACE = """
name: tiny
block: mbconv
in_channels: 1
classes: 3
resolutions: [8, 12]
stem: {widths: [8], stride: 1, activation: relu}
stages:
  - {widths: [8], depths: [1], kernels: [3], expands: [1], stride: 2, activation: relu}
  - {widths: [16], depths: [1, 2], kernels: [3, 5], expands: [2, 4], stride: 2, activation: h_swish, se: true}
head: {width: 32, activation: h_swish, dropout: 0.2}
"""

RECIPE = """
space: tiny-space.yaml
data:
  source: DATA
  validation: 60
  augment: {horizontal_flip: true, crop_padding: 1}
batch_size: 20
lr_images: 20
optimiser: {clip_norm: 1.0}
evaluation: {images: 60, recalibration_images: 40, final_subnets: 3, batch_size: 30}
checkpoint_seconds: CHECKPOINT
phases:
  - {name: largest, epochs: 2, warmup_epochs: 1, peak_lr: 0.1}
  - {name: kernel, epochs: 1, peak_lr: 0.05, opens: {kernels: [3, 5]}}
  - {name: depth, epochs: 1, peak_lr: 0.05, subnets_per_step: 2, include: [smallest], opens: {depths: [1, 2]}}
  - {name: width, epochs: 1, peak_lr: 0.05, subnets_per_step: 2, opens: {expands: [2, 4]}}
"""


def write_recipe(folder: Path, checkpoint_seconds: float = 1e9) -> Path:
    """A recipe with its space and data in `folder`; 200 training, 60 held-out and 40 test images of 12 pixels.

    The classes are bright top, bright bottom and bright centre, in noise: easy, but not without learning.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    images = rng.integers(0, 120, (300, 12, 12))
    for image, label in zip(images, labels, strict=True):
        top = (1, 7, 4)[label]
        image[top : top + 4, 3:9] += 130
    images = images.astype(np.uint8)
    np.savez(folder / "data.npz", x_train=images[:260], y_train=labels[:260], x_test=images[260:], y_test=labels[260:])
    (folder / "tiny-space.yaml").write_text(SPACE)
    recipe = RECIPE.replace("DATA", str(folder / "data.npz")).replace("CHECKPOINT", str(checkpoint_seconds))
    path = folder / "tiny.yaml"
    path.write_text(recipe)
    return path


@contextmanager
def killed_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training inside is interrupted right after it has written so many checkpoints."""
    count = 0

    def stop_after(*args: Any) -> None:
        nonlocal count
        save_checkpoint(*args)
        count += 1
        if count == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ofa.training.trainer, "save_checkpoint", stop_after)
        with pytest.raises(KeyboardInterrupt):
            yield
