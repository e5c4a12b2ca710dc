"""Weights and images made from a name: what the published package was given when it computed `golden/*.json`.

A tensor's values are splitmix64 numbers (Steele, Lea and Flood, 2014, https://doi.org/10.1145/2714064.2660195) seeded with
the CRC-32 of "seed/name"; no library's generator, because a library may change its stream.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
SPACES = ("mbv3-w1.0", "mbv3-w1.2", "proxyless-w1.3", "resnet50")


def golden(name: str) -> dict[str, Any]:
    """The figures that the published package computed for one of `SPACES`."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def uniform(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """float64 of `shape`, uniform on [-1, 1)."""
    count = math.prod(shape)
    with np.errstate(over="ignore"):  # splitmix64 is arithmetic modulo 2**64
        state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state += np.uint64(zlib.crc32(f"{seed}/{name}".encode()))
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return ((state >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)


def weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The entry `name` of the published package's state dict, float32 (the count of batches: int64)."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    values = uniform(name, shape, seed)
    if name.endswith("running_var"):
        values = 1.0 + 0.3 * values
    elif name.endswith("_matrix"):  # a kernel transform
        values = np.eye(shape[0]) + 0.05 * values
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * values
    elif len(shape) == 1:  # a batch norm's scale
        values = 1.0 + 0.2 * values
    else:
        values = values * np.sqrt(6.0 / math.prod(shape[1:]))
    return torch.from_numpy(values).float()


def state_dict(shapes: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    """A whole state dict under the published names."""
    return {name: weight(name, tuple(shape), seed) for name, shape in shapes.items()}


def images(name: str, batch: int, size: int, seed: int) -> Tensor:
    """float32[batch, 3, size, size]."""
    return torch.from_numpy(uniform(name, (batch, 3, size, size), seed)).float()
