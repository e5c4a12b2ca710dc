"""One training step, of a supernet or of a plain subnet: what each subnet learns from, by which loss; then the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.data.augment.mixup import mix
from ofa.distributed.draws import for_share
from ofa.distributed.world import ALONE, World
from ofa.nets.losses import subnet_loss
from ofa.nets.plain import empty_net
from ofa.nets.supernet import Supernet
from ofa.runs.recipe import Phase, Recipe
from ofa.runs.run_directory import load_weights
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from ofa.training.schedule import generator_of_step, mix_rng_of_step, subnets_of_step


@dataclass(frozen=True, kw_only=True)
class GradientStep:
    """The gradients of the steps of one phase."""

    net: nn.Module
    """Its parameters get the gradients: a `Supernet`, or a net that is called like one (`ofa.training.finetuning`)."""
    recipe: Recipe
    """Losses, mixing, drop-connect, precision, activation checkpointing."""
    phase: Phase
    index: int
    """Number of the phase in the streams of random numbers."""
    subnets: Callable[[int, int], Sequence[Subnet]]
    """The subnets of a step, by its number and the resolution of its images."""
    classes: int
    teacher: nn.Module | None = None
    """The net whose soft labels every subnet learns from; None where there is none, or where the largest subnet of the step
    teaches the others."""
    world: World = ALONE
    """The processes that share each batch."""

    @classmethod
    def of_phase(
        cls,
        supernet: Supernet,
        recipe: Recipe,
        index: int,
        opened: SearchSpace,
        teacher: nn.Module | None = None,
        world: World = ALONE,
    ) -> GradientStep:
        """The steps of phase `index` of a recipe, which trains the part `opened` of the supernet's space."""
        return cls(
            net=supernet,
            recipe=recipe,
            phase=recipe.phases[index],
            index=index,
            subnets=partial(subnets_of_step, opened, recipe.phases[index], recipe.seed, index),
            classes=opened.classes,
            teacher=teacher,
            world=world,
        )

    def __call__(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Put the gradients of a step's subnets into `.grad`, in place of what was there; their mean loss, a scalar.

        Args:
            step: since the phase began; it decides the subnets, the dropout and how images are mixed.
            images: float32[batch, channels, side, side]; of several processes, each gives its part of the batch.
            labels: int64[batch].
        """
        self.net.zero_grad(set_to_none=True)
        recipe, phase = self.recipe, self.phase
        position = recipe.seed, self.index, step
        subnets = self.subnets(step, images.shape[-1])
        generator = for_share(generator_of_step(*position, images.device), self.world.share)
        if recipe.mix.used:
            images, labels = mix(images, labels, self.classes, recipe.mix, mix_rng_of_step(*position))
        soft = self._soft_labels(images)
        share = 1 / len(subnets) if recipe.optimiser.subnet_gradients == "mean" else 1.0
        total = torch.zeros((), device=images.device)
        in_place = phase.teacher == "largest"  # the first subnet is the largest: it teaches the next ones
        for number, subnet in enumerate(subnets):
            drop_connect = recipe.drop_connect if number == 0 or not in_place else 0.0
            with self._precision(images.device):
                logits = self.net(images, subnet, generator, drop_connect, recipe.activation_checkpointing)
            logits = logits.float()  # losses are float32
            loss = subnet_loss(
                logits,
                labels,
                label_smoothing=recipe.label_smoothing,
                teacher=soft,
                distill=phase.distill,
                label_weight=phase.label_weight,
                divergence=phase.divergence,
            )
            torch.autograd.backward(loss * share)
            total += loss.detach()
            if in_place and number == 0:
                soft = F.softmax(logits.detach(), dim=1)
        return self.world.average_gradients(self.net, total / len(subnets))

    @torch.no_grad()
    def _soft_labels(self, images: Tensor) -> Tensor | None:
        """The teacher looks once."""
        if self.teacher is None:
            return None
        with self._precision(images.device):
            logits = self.teacher(images)
        return F.softmax(logits.float(), dim=1)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of a forward pass; the backward pass then has the same precisions, operation by operation."""
        return torch.autocast(device.type, torch.bfloat16) if self.recipe.precision == "bf16" else nullcontext()


def descend(net: nn.Module, optimiser: torch.optim.Optimizer, rate: float, clip_norm: float | None) -> None:
    """Clip the gradients of a net, where `clip_norm` says so, and take the optimiser's step at a learning rate."""
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def load_teacher(path: Path, space: SearchSpace, device: torch.device) -> nn.Module:
    """The largest net as the first phase left it, in training mode: it normalises with the batch, at any resolution."""
    teacher = empty_net(space, space.largest())
    teacher.load_state_dict(load_weights(path))
    placed: nn.Module = teacher.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    placed.train()
    for module in placed.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return placed.requires_grad_(False)
