"""The loss of a subnet: true labels, smoothed, and the teacher's soft ones."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def subnet_loss(
    logits: Tensor, labels: Tensor, *, label_smoothing: float, teacher: Tensor | None = None, distill: float = 0.0
) -> Tensor:
    """Cross-entropy with smoothed labels, plus `distill` times that with the teacher's (Hinton et al., 2015).

    Args:
        logits: float32[batch, classes] of the subnet.
        labels: int64[batch].
        label_smoothing: share of the label spread over all classes (Szegedy et al., 2016).
        teacher: probabilities of the teacher, float32[batch, classes], or none.
        distill: weight of the second term.
    """
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if teacher is not None and distill > 0:
        loss = loss + distill * F.cross_entropy(logits, teacher)
    return loss
