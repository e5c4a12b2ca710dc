"""Fine-tuning one subnet of a run as a plain network, with the run's largest net as the teacher.

Cai et al. (2020) mark subnets that were fine-tuned for 25 or 75 epochs as #25 and #75.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from ofa.distributed.devices import check_precision
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.recalibration import recalibrate_batch_norm
from ofa.nets.activation_checkpointing import checkpointed
from ofa.nets.plain import Net
from ofa.nets.supernet import branch_scale
from ofa.runs.recipe import Phase, Recipe
from ofa.space.subnet import Subnet
from ofa.training.optimiser import make_optimiser
from ofa.training.schedule import learning_rate
from ofa.training.step import GradientStep, class_weights_of, descend
from ofa.training.weight_average import WeightAverage

FINETUNING_PHASE = 1_000_000
"""Phase number and epoch offset of fine-tuning, so that its random numbers differ from those of every training phase."""


class PlainSubnet(nn.Module):
    """A plain subnet with the interface of `Supernet`, which trains as in a supernet: seeded dropout, drop-connect."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        images: Tensor,
        subnet: Subnet,
        generator: torch.Generator | None = None,
        drop_connect: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        """Logits of the net, float32[batch, classes]; arguments as in `Supernet.forward`, `subnet` is ignored."""
        x = self.net.stem(images)
        blocks = [block for stage in self.net.stages for block in stage.children()]
        for done, block in enumerate(blocks):
            rate = drop_connect * done / max(1, len(blocks) - 1) if self.training and block.residual else 0.0
            scale_B111 = branch_scale(x, rate, generator) if rate else None
            keep_inputs = activation_checkpointing and self.training
            x = checkpointed(block, x, scale_B111) if keep_inputs else block(x, scale_B111)
        logits: Tensor = self.net.head(x, generator)
        return logits


def finetune(
    module: nn.Module,
    subnet: Subnet,
    evaluator: SubnetEvaluator,
    recipe: Recipe,
    phase: Phase,
    report: Callable[[int, float], None],
) -> None:
    """Train a plain subnet in place with the run's training step, recalibrate its batch norm, leave it in eval mode.

    The same call gives the same weights on a CPU. The evaluator has the data and the largest net, which is the teacher; of
    the recipe, everything but its phases is used; `report` gets every epoch's number and mean loss.

    Raises:
        UserError: the device does not support the recipe's precision.
    """
    device, space = torch.device(evaluator.device), evaluator.supernet.space
    check_precision(recipe.precision, device)
    assert isinstance(module, Net)
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net = PlainSubnet(module)
    gradients = GradientStep(
        net=net,
        recipe=recipe,
        phase=phase,
        index=FINETUNING_PHASE,
        subnets=lambda step, resolution: [subnet],
        classes=space.classes,
        teacher=evaluator.module(replace(space.largest(), resolution=subnet.resolution)) if phase.distill else None,
        class_weights=class_weights_of(recipe, evaluator.data, device),
    )
    optimiser = make_optimiser(module, recipe.optimiser)
    average = WeightAverage(module, recipe.average_decay) if recipe.average_decay > 0 else None
    steps = evaluator.data.steps("train", recipe.batch_size, drop_last=True)
    scale = recipe.batch_size / recipe.lr_images
    for epoch in range(phase.total_epochs):
        net.train()
        total = torch.zeros((), device=device)
        batches = _batches(evaluator, recipe, subnet.resolution, epoch)
        for step, (images, labels) in enumerate(batches, epoch * steps):
            total += gradients(step, images, labels)
            descend(module, optimiser, learning_rate(phase, step, steps, scale), recipe.optimiser.clip_norm)
            if average is not None:
                average.update(step)
        report(epoch, float(total) / steps)
    if average is not None:
        module.load_state_dict(average.net.state_dict())
    recalibrate_batch_norm(module, evaluator.recalibration_images(subnet.resolution))
    module.eval()


def _batches(evaluator: SubnetEvaluator, recipe: Recipe, resolution: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    return evaluator.data.batches(
        "train",
        batch_size=recipe.batch_size,
        resolution=resolution,
        shuffle=True,
        augment=True,
        epoch=FINETUNING_PHASE + epoch,
        seed=recipe.seed,
        drop_last=True,
        balance=recipe.balance,
        device=evaluator.device,
    )
