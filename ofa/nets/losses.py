"""The loss of a subnet: cross-entropy with smoothed labels, and distillation from a teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

ALPHAS = (-1.0, 1.0)
LARGEST_WEIGHT = 5.0


def subnet_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float,
    teacher: Tensor | None = None,
    distill: float = 0.0,
    label_weight: float = 1.0,
    divergence: str = "cross_entropy",
    image_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with smoothed labels; with a teacher, `label_weight` times it plus `distill` times the divergence.

    Args:
        logits: float32[batch, classes] of the subnet.
        labels: int64[batch]; or for mixed images probabilities, float32[batch, classes].
        label_smoothing: fraction of the label's probability that is spread over all classes (Szegedy et al., 2016).
        teacher: probabilities of the teacher, float32[batch, classes]; None: no teacher.
        distill: weight of the divergence from the teacher; 0: only the labels count.
        label_weight: weight of the labels where there is a teacher; 0: only the teacher counts.
        divergence: kind of divergence from the teacher, a name in `DIVERGENCES`.
        image_weights: factor of each image's loss, float32[batch]; the weighted sum is divided by the number of images, so
            that the shares of a batch add up to the whole. None: all count 1.
    """
    if teacher is None or distill == 0:
        return cross_entropy(logits, labels, image_weights, label_smoothing)
    soft = distill * DIVERGENCES[divergence](logits, teacher, image_weights)
    if label_weight == 0:
        return soft
    return label_weight * cross_entropy(logits, labels, image_weights, label_smoothing) + soft


def cross_entropy(
    logits: Tensor, targets: Tensor, image_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy with labels or with a teacher's probabilities (Hinton et al., 2015: a KL divergence plus a constant)."""
    if image_weights is None:
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    return (F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing) * image_weights).mean()


def alpha_divergence(
    logits: Tensor,
    teacher: Tensor,
    image_weights: Tensor | None = None,
    alphas: tuple[float, ...] = ALPHAS,
    largest_weight: float = LARGEST_WEIGHT,
) -> Tensor:
    """Adaptive alpha-divergence from the teacher, with clipped importance weights (AlphaNet, Wang et al., 2021).

    D(p, q) = sum of q_i ((p_i / q_i)^alpha - 1) / (alpha (alpha - 1)). Its gradient is that of -1/alpha sum of q_i (p_i /
    q_i)^alpha log q_i with the factors before the logarithm held constant; the importance weight (p_i / q_i)^alpha is
    clipped to `largest_weight`. For every image, the largest divergence over `alphas` counts: a negative alpha penalises
    probability where the teacher has little, a positive one lack of it where the teacher has much. alpha = 1 is the
    Kullback-Leibler divergence KL(p, q).

    Args:
        logits: logits of the student, whose probabilities are q, float32[batch, classes].
        teacher: probabilities of the teacher, p, float32[batch, classes].
        image_weights: factor of each image's divergence, float32[batch]; None: 1.
        alphas: values of alpha, none of them 0.
        largest_weight: largest importance weight.

    Returns:
        The mean over the batch, a scalar.
    """
    log_q = F.log_softmax(logits, dim=1)
    log_ratio = teacher.log() - log_q.detach()
    q = log_q.detach().exp()
    divergences, surrogates = [], []
    for alpha in alphas:
        weights = (alpha * log_ratio).exp().clamp(max=largest_weight)
        if alpha == 1:
            terms = torch.xlogy(teacher, teacher) - teacher * log_q.detach()
        else:
            terms = q * (weights - 1) / (alpha * (alpha - 1))
        divergences.append(terms.sum(1))
        surrogates.append(-(q * weights * log_q).sum(1) / alpha)
    value, chosen = torch.stack(divergences).max(dim=0)
    surrogate = torch.stack(surrogates).gather(0, chosen[None])[0]
    every = value + surrogate - surrogate.detach()  # value of the divergence, gradient of the surrogate
    return (every if image_weights is None else every * image_weights).mean()


DIVERGENCES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "cross_entropy": cross_entropy,
    "alpha_divergence": alpha_divergence,
}
