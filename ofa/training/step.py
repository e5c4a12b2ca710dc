"""The gradients of one training step: which subnets, what each learns from, by which loss. No optimiser, no files."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
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
from ofa.runs.recipe import Recipe
from ofa.runs.run_directory import load_weights
from ofa.space.search_space import SearchSpace
from ofa.training.schedule import generator_of_step, mix_rng_of_step, subnets_of_step


class GradientStep:
    """What every step of one phase does between the learning rate and the optimiser.

    Args:
        supernet: its parameters get the gradients.
        recipe: the phases and losses.
        index: of the phase.
        opened: the part of the space that the phase trains.
        teacher: the net whose soft labels every subnet learns from; none where there is none, or where the largest subnet of
            the step teaches the others.
        world: the processes that share each batch.
    """

    def __init__(
        self,
        supernet: Supernet,
        recipe: Recipe,
        index: int,
        opened: SearchSpace,
        teacher: nn.Module | None = None,
        world: World = ALONE,
    ) -> None:
        self.supernet, self.recipe, self.index, self.opened, self.teacher = supernet, recipe, index, opened, teacher
        self.phase, self.world = recipe.phases[index], world

    def __call__(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Put the gradients of a step's subnets into `.grad`, in place of what was there; their mean loss, a scalar.

        Args:
            step: since the phase began; it decides the subnets, the dropout and how images are mixed.
            images: float32[batch, channels, side, side]; of several processes, each gives its part of the batch.
            labels: int64[batch].
        """
        self.supernet.zero_grad(set_to_none=True)
        recipe, phase = self.recipe, self.phase
        position = recipe.seed, self.index, step
        subnets = subnets_of_step(self.opened, phase, *position, images.shape[-1])
        generator = for_share(generator_of_step(*position, images.device), self.world.share)
        if recipe.mix.used:
            images, labels = mix(images, labels, self.opened.classes, recipe.mix, mix_rng_of_step(*position))
        soft = self._soft_labels(images)
        share = 1 / len(subnets) if recipe.optimiser.subnet_gradients == "mean" else 1.0
        total = torch.zeros((), device=images.device)
        in_place = phase.teacher == "largest"  # the first subnet is the largest: it teaches the next ones
        for number, subnet in enumerate(subnets):
            drop_connect = recipe.drop_connect if number == 0 or not in_place else 0.0
            with self._precision(images.device):
                logits = self.supernet(images, subnet, generator, drop_connect, recipe.activation_checkpointing)
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
        return self.world.average_gradients(self.supernet, total / len(subnets))

    @torch.no_grad()
    def _soft_labels(self, images: Tensor) -> Tensor | None:
        """The teacher looks once."""
        if self.teacher is None:
            return None
        with self._precision(images.device):
            logits = self.teacher(images)
        return F.softmax(logits.float(), dim=1)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        """What a forward pass runs in; the backward pass then has the same precisions, operation by operation."""
        return torch.autocast(device.type, torch.bfloat16) if self.recipe.precision == "bf16" else nullcontext()


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
