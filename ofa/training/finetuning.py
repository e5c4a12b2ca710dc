"""Fine-tune one subnet of a run, taught by the run's largest net.

Cai et al. (2020) report subnets after so many more epochs as #25 and #75. The subnet is a plain network here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.recalibration import recalibrate_batch_norm
from ofa.nets.losses import subnet_loss
from ofa.runs.recipe import Phase, Recipe
from ofa.space.subnet import Subnet
from ofa.training.optimiser import make_optimiser
from ofa.training.schedule import learning_rate

PHASE = 1_000_000
"""Number of the phase in the random streams: none that a recipe has."""


def finetune(
    module: nn.Module,
    subnet: Subnet,
    evaluator: SubnetEvaluator,
    recipe: Recipe,
    phase: Phase,
    report: Callable[[int, float], None],
) -> None:
    """Train a plain subnet in place, then recalibrate its batch norm; it is left in eval mode.

    The same call gives the same weights on a CPU; on a GPU dropout is not seeded.

    Args:
        module: the extracted subnet.
        subnet: what it is; images come at its resolution.
        evaluator: of the run: its data, and its largest net as the teacher.
        recipe: of the run: its batch size, optimiser, seed and label smoothing.
        phase: epochs, learning rate, warm-up and the weight of the teacher.
        report: called after every epoch with its number and its mean loss.
    """
    data, device = evaluator.data, torch.device(evaluator.device)
    teacher = evaluator.module(replace(evaluator.supernet.space.largest(), resolution=subnet.resolution))
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(module, recipe.optimiser)
    steps = data.steps("train", recipe.batch_size, drop_last=True)
    scale = recipe.batch_size / recipe.lr_images
    with torch.random.fork_rng(devices=[]):  # a plain net's dropout draws from the global generator
        torch.set_rng_state(torch.Generator().manual_seed(recipe.seed).get_state())
        for epoch in range(phase.total_epochs):
            module.train()
            total = torch.zeros((), device=device)
            batches = data.batches(
                "train",
                batch_size=recipe.batch_size,
                resolution=subnet.resolution,
                shuffle=True,
                augment=True,
                epoch=PHASE + epoch,
                seed=recipe.seed,
                drop_last=True,
                device=device,
            )
            for step, (images, labels) in enumerate(batches, epoch * steps):
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(phase, step, steps, scale)
                with torch.no_grad():
                    soft = F.softmax(teacher(images), dim=1) if phase.distill else None
                optimiser.zero_grad(set_to_none=True)
                smoothing = recipe.label_smoothing
                loss = subnet_loss(module(images), labels, label_smoothing=smoothing, teacher=soft, distill=phase.distill)
                torch.autograd.backward(loss)
                if recipe.optimiser.clip_norm is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), recipe.optimiser.clip_norm)
                optimiser.step()
                total += loss.detach()
            report(epoch, float(total) / steps)
    recalibrate_batch_norm(module, evaluator.recalibration_images(subnet.resolution))
    module.eval()


def paired_gain(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The gain in accuracy and its standard error, from which of the same images were right before and after, bool[n]."""
    changes = after.astype(np.float64) - before
    return float(changes.mean()), float(changes.std() / len(changes) ** 0.5)
