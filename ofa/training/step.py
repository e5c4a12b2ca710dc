"""One training step of a supernet or of a plain subnet: gradients of the step's subnets, then the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.data.augment.mixup import mix
from ofa.data.batches import Data
from ofa.distributed.devices import autocast
from ofa.distributed.draws import for_share
from ofa.distributed.world import ALONE, World
from ofa.nets.losses import subnet_loss
from ofa.nets.plain import empty_net
from ofa.nets.supernet import Supernet
from ofa.numerics.in_training import ChipInTraining, computing_as
from ofa.runs.recipe import Phase, Recipe
from ofa.runs.run_directory import load_weights, put_weights
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from ofa.training.schedule import generator_of_step, mix_rng_of_step, noise_seed_of_step, subnets_of_step


@dataclass(frozen=True, kw_only=True)
class GradientStep:
    """Computes the gradients of the steps of one phase."""

    net: nn.Module
    """The trained net: a `Supernet`, or a net with its interface (`ofa.training.finetuning`)."""
    recipe: Recipe
    """Recipe, for label smoothing, mixing, drop-connect, precision, numerics, activation checkpointing."""
    phase: Phase
    index: int
    """Number of the phase, part of the seeds of random numbers."""
    subnets: Callable[[int, int], Sequence[Subnet]]
    """Takes the number of a step and the resolution of its images, returns the subnets of the step."""
    classes: int
    teacher: nn.Module | None = None
    """Net whose soft labels all subnets learn from; None: no teacher, or the largest subnet of a step teaches the others."""
    world: World = ALONE
    """The ranks that share each batch."""
    class_weights: Tensor | None = None
    """Factor of the loss of each class's images, float32[classes] (`ofa.data.balance`); None: 1 for all."""

    @classmethod
    def of_phase(
        cls,
        supernet: Supernet,
        recipe: Recipe,
        index: int,
        opened: SearchSpace,
        teacher: nn.Module | None = None,
        world: World = ALONE,
        class_weights: Tensor | None = None,
    ) -> GradientStep:
        """The steps of phase `index` of a recipe, which trains the subspace `opened` of the supernet's space."""
        return cls(
            net=supernet,
            recipe=recipe,
            phase=recipe.phases[index],
            index=index,
            subnets=partial(subnets_of_step, opened, recipe.phases[index], recipe.seed, index),
            classes=opened.classes,
            teacher=teacher,
            world=world,
            class_weights=class_weights,
        )

    def __call__(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Replace `.grad` by the gradients of a step's subnets, averaged over ranks; returns their mean loss, a scalar.

        The step's number within the phase decides subnets, dropout and mixing. The images, float32[batch, channels, side,
        side], and labels, int64[batch], are this rank's share.
        """
        self.net.zero_grad(set_to_none=True)
        recipe, phase = self.recipe, self.phase
        position = recipe.seed, self.index, step
        subnets = self.subnets(step, images.shape[-1])
        generator = for_share(generator_of_step(*position, images.device), self.world.share)
        if recipe.mix.used:
            images, labels = mix(images, labels, self.classes, recipe.mix, mix_rng_of_step(*position))
        soft = self._soft_labels(images)
        image_weights = self._image_weights(labels)
        share = 1 / len(subnets) if recipe.optimiser.subnet_gradients == "mean" else 1.0
        total = torch.zeros((), device=images.device)
        in_place = phase.teacher == "largest"  # the first subnet of the step is the largest, and teaches the others
        for number, subnet in enumerate(subnets):
            drop_connect = recipe.drop_connect if number == 0 or not in_place else 0.0
            with computing_as(self.net, self._chip, noise_seed_of_step(*position, number)):
                with autocast(recipe.precision, images.device):
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
                    image_weights=image_weights,
                )
                total += loss.detach()
                last = number + 1 == len(subnets)
                with self.world.averaging(self.net, loss, total) if last else nullcontext():
                    torch.autograd.backward(loss * share)
            if in_place and number == 0:
                soft = F.softmax(logits.detach(), dim=1)
        return total / len(subnets)

    @property
    def _chip(self) -> ChipInTraining:
        recipe = self.recipe
        return ChipInTraining(recipe.weight_noise, recipe.noise_relative_to, recipe.fake_quantisation)

    def _image_weights(self, labels: Tensor) -> Tensor | None:
        """Factor of each image's loss, float32[batch]; for a mixed image, the mean of its classes' weighted as the mix."""
        if self.class_weights is None:
            return None
        return labels @ self.class_weights if labels.is_floating_point() else self.class_weights[labels]

    @torch.no_grad()
    def _soft_labels(self, images: Tensor) -> Tensor | None:
        """Probabilities of the teacher, float32[batch, classes]; None where there is no teacher net."""
        if self.teacher is None:
            return None
        with autocast(self.recipe.precision, images.device):
            logits = self.teacher(images)
        return F.softmax(logits.float(), dim=1)


def class_weights_of(recipe: Recipe, data: Data, device: torch.device) -> Tensor | None:
    """Factor of the loss of each class's images, float32[classes], from the training labels; None without balancing."""
    weights = recipe.balance.class_weights(data.labels("train"), len(data.classes))
    return None if weights is None else torch.from_numpy(weights).to(device, torch.float32)


def descend(net: nn.Module, optimiser: torch.optim.Optimizer, rate: float, clip_norm: float | None) -> None:
    """Clip the gradients of a net to norm `clip_norm` (None: do not), and take an optimiser step at learning rate `rate`."""
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def load_teacher(path: Path, space: SearchSpace, device: torch.device) -> nn.Module:
    """The largest net at the end of the first phase, in training mode, so that batch norm fits any resolution."""
    teacher = empty_net(space, space.largest())
    put_weights(teacher, load_weights(path), path)
    placed: nn.Module = teacher.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    placed.train()
    for module in placed.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return placed.requires_grad_(False)
