"""Dice with cross-entropy, for classes that exclude each other and for single masks.

Targets are soft: the share of a pixel that a label covers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["binary_loss", "class_loss", "soft_dice"]

SMOOTH = 1.0


def soft_dice(probability: Tensor, target: Tensor, dims: tuple[int, ...]) -> Tensor:
    """``(2 sum(p t) + 1) / (sum(p) + sum(t) + 1)``, summed over ``dims``; 1 where both are empty."""
    overlap = (probability * target).sum(dim=dims)
    return (2 * overlap + SMOOTH) / (probability.sum(dim=dims) + target.sum(dim=dims) + SMOOTH)


def class_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus 1 - Dice of the foreground classes, Dice over the whole batch.

    Args:
        logits: [b, 1 + labels, ...], background first.
        target: the same shape; shares that sum to 1 over the classes.
    """
    log_probability = F.log_softmax(logits, dim=1)
    entropy = -(target * log_probability).sum(dim=1).mean()
    dims = (0, *range(2, logits.ndim))
    return entropy + 1 - soft_dice(log_probability.exp(), target, dims)[1:].mean()


def binary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus 1 - Dice per mask, mean over masks.

    Args:
        logits: [b, h, w].
        target: [b, h, w] in 0..1.
    """
    dice = soft_dice(torch.sigmoid(logits), target, (1, 2))
    return F.binary_cross_entropy_with_logits(logits, target) + (1 - dice).mean()
