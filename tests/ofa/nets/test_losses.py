"""The alpha-divergence against its definition, and how labels and teacher share the loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ofa.nets.losses import alpha_divergence, subnet_loss

UNCLIPPED = 1e30


def problem(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that want a gradient, and a teacher's probabilities; float64."""
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = torch.randn(2, 16, 5, dtype=torch.float64, generator=generator)
    return logits.requires_grad_(), F.softmax(2 * teacher, dim=1)


def by_definition(logits: Tensor, p: Tensor, alpha: float) -> Tensor:
    q = F.softmax(logits, dim=1)
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    return (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.5, 1.0, 2.0])
def test_value_and_gradient_of_one_alpha_are_those_of_its_definition(alpha: float) -> None:
    logits, p = problem()
    value = alpha_divergence(logits, p, None, (alpha,), UNCLIPPED)
    expected = by_definition(logits, p, alpha).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    (gradient,) = torch.autograd.grad(value, logits)
    (wanted,) = torch.autograd.grad(expected, logits)
    assert torch.allclose(gradient, wanted, rtol=1e-8, atol=1e-12)


def test_of_each_image_the_larger_divergence_counts() -> None:
    logits, p = problem(1)
    logits, p = logits * torch.linspace(0, 8, 16)[:, None], p.sqrt() / p.sqrt().sum(1, keepdim=True)  # unsure to very sure
    both = torch.stack([by_definition(logits, p, alpha) for alpha in (-1.0, 1.0)])
    assert 0 < int(both.argmax(0).sum()) < len(p)  # each is the larger of some
    assert alpha_divergence(logits, p, largest_weight=UNCLIPPED).item() == pytest.approx(
        both.amax(0).mean().item(), rel=1e-10
    )


def test_clipping_bounds_the_gradient_of_a_student_that_is_far_too_sure() -> None:
    teacher = torch.tensor([[1e-12, 1 - 1e-12]])
    logits = torch.tensor([[8.0, 0.0]], requires_grad=True)
    for largest, bound in ((5.0, 5.0), (UNCLIPPED, 1e20)):
        (gradient,) = torch.autograd.grad(alpha_divergence(logits, teacher, None, (-1.0,), largest), logits)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() <= bound
        assert gradient[0, 0] > 0  # less of the class that the teacher rules out
    assert gradient.abs().max() > 100


def test_a_teacher_without_doubt_gives_finite_losses() -> None:
    teacher = torch.eye(3)
    logits = torch.tensor([[9.0, 0.0, -9.0]] * 3, requires_grad=True)
    loss = alpha_divergence(logits, teacher)
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_labels_and_teacher_share_the_loss_by_their_weights() -> None:
    logits, p = problem(2)
    labels = torch.arange(len(p)) % 5
    hard, soft = F.cross_entropy(logits, labels, label_smoothing=0.1), F.cross_entropy(logits, p)
    facts = {"label_smoothing": 0.1, "teacher": p}
    assert subnet_loss(logits, labels, **facts, distill=0.5, label_weight=2.0).item() == pytest.approx(
        (2 * hard + soft / 2).item()
    )
    assert subnet_loss(logits, labels, **facts, distill=0.5, label_weight=0.0).item() == pytest.approx((soft / 2).item())
    assert subnet_loss(logits, labels, **facts, distill=0.0, label_weight=0.0).item() == pytest.approx(hard.item())
    other = subnet_loss(logits, labels, **facts, distill=1.0, label_weight=0.0, divergence="alpha_divergence")
    assert other.item() == pytest.approx(alpha_divergence(logits, p).item())
    targets = F.one_hot(labels, 5).double()  # as mixed images have them
    assert subnet_loss(logits, targets, label_smoothing=0.1).item() == pytest.approx(hard.item())
