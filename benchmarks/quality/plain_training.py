"""Training of one plain network by a recipe, on the labels: what nets trained alone have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ofa.distributed.devices import autocast
from ofa.nets.plain import Bottleneck, MBConv
from ofa.runs.recipe import Recipe
from ofa.training.optimiser import make_optimiser
from ofa.training.schedule import learning_rate


def train_net(
    module: nn.Module,
    recipe: Recipe,
    batches: Callable[[int], Iterable[tuple[torch.Tensor, torch.Tensor]]],
    steps: int,
    checkpoint: Path | None = None,
) -> float:
    """Train a network in place by the recipe's first phase: its optimiser, rate, smoothing and start.

    Args:
        module: a fresh network, which is started as the recipe says.
        recipe: its first phase counts.
        batches: images and labels of an epoch.
        steps: of an epoch.
        checkpoint: written after each epoch, and taken up where it exists.

    Returns:
        Seconds of training, over all sessions.
    """
    for block in module.modules():
        if recipe.zero_gamma and (isinstance(block, Bottleneck) or (isinstance(block, MBConv) and block.residual)):
            nn.init.zeros_(block.project.norm.weight)
    module.train()
    optimiser, phase, first, seconds = make_optimiser(module, recipe.optimiser), recipe.phases[0], 0, 0.0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        first, seconds = state["epochs"], state["seconds"]
    for epoch in range(first, phase.total_epochs):
        start = time.perf_counter()
        torch.manual_seed(recipe.seed + epoch)  # of dropout
        for step, (images, labels) in enumerate(batches(epoch), epoch * steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(phase, step, steps, recipe.batch_size / recipe.lr_images)
            module.zero_grad()
            with autocast(recipe.precision, images.device):
                logits = module(images)
            torch.autograd.backward(F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing))
            nn.utils.clip_grad_norm_(module.parameters(), recipe.optimiser.clip_norm or float("inf"))
            optimiser.step()
        seconds += time.perf_counter() - start
        if checkpoint is not None:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            state = {"module": module.state_dict(), "optimiser": optimiser.state_dict()}
            with checkpoint.with_suffix(".new").open("wb") as file:
                torch.save(state | {"epochs": epoch + 1, "seconds": seconds}, file)
            checkpoint.with_suffix(".new").replace(checkpoint)
    return seconds


def channels_last(module: nn.Module) -> nn.Module:
    """The same module, its weights in the layout that is fastest."""
    placed: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed
