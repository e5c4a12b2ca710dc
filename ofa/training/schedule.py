"""Learning rate, resolution and subnets of each training step, as functions of (seed, phase, step) alone.

Nothing here has a state, so a run that resumes at any step continues exactly as it would have without the stop.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from ofa.runs.recipe import Phase
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet

_SUBNETS, _RESOLUTION, _DROPOUT, _MIX, _NOISE = 1, 2, 3, 4, 6  # part of each seed, so that the random streams differ


def learning_rate(phase: Phase, step: int, steps_per_epoch: int, scale: float) -> float:
    """Linear warm-up, then a cosine to zero (Loshchilov and Hutter, 2017).

    `step` counts within the phase; `scale` is images per step over the number of images that `peak_lr` is meant for.
    """
    peak = phase.peak_lr * scale
    warmup = phase.warmup_epochs * steps_per_epoch
    if step < warmup:
        return phase.warmup_lr + (peak - phase.warmup_lr) * step / warmup
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / (phase.epochs * steps_per_epoch)))


def resolution_of_step(opened: SearchSpace, seed: int, phase: int, step: int) -> int:
    """The resolution of a step's batch, drawn uniformly from the open ones."""
    rng = np.random.default_rng((seed, phase, step, _RESOLUTION))
    return opened.resolutions[rng.integers(len(opened.resolutions))]


def subnets_of_step(opened: SearchSpace, config: Phase, seed: int, phase: int, step: int, resolution: int) -> list[Subnet]:
    """The subnets of a step, all at the batch's resolution: the included ones, then random ones."""
    rng = np.random.default_rng((seed, phase, step, _SUBNETS))
    included = [getattr(opened, name)() for name in config.include]
    genes = opened.sample(config.subnets_per_step - len(included), rng)
    return [replace(subnet, resolution=resolution) for subnet in included + opened.decode(genes)]


def generator_of_step(seed: int, phase: int, step: int, device: torch.device) -> torch.Generator:
    """The generator of a step's dropout and drop-connect."""
    words = np.random.SeedSequence((seed, phase, step, _DROPOUT)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(words[0] >> np.uint64(1)))


def noise_seed_of_step(seed: int, phase: int, step: int, subnet: int) -> int:
    """The seed of the noise on the weights of one of a step's subnets, given by its number; the same on every rank."""
    words = np.random.SeedSequence((seed, phase, step, subnet, _NOISE)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(2))


def mix_rng_of_step(seed: int, phase: int, step: int) -> np.random.Generator:
    """The generator of a step's mixup or cutmix."""
    return np.random.default_rng((seed, phase, step, _MIX))
