"""Dice with cross-entropy, for classes that exclude each other and for single masks.

Targets are soft: the share of a pixel that a label covers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["annotated_logits", "binary_loss", "class_loss", "soft_dice"]

SMOOTH = 1.0

_NEVER = -1e9
"""A logit whose probability is 0; not infinite, so that no product with it is undefined."""


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


def annotated_logits(logits: Tensor, unknown: Tensor) -> Tensor:
    """Let the classes that nobody annotated be part of the background: their probabilities are added to it.

    So a loss says nothing about where they are, and a voxel that shows one is not taught to be background
    (marginal loss; Shi et al., "Marginal loss and exclusion loss for partially supervised multi-organ
    segmentation", Medical Image Analysis 2021, eq. 3).

    Args:
        logits: [b, 1 + labels, ...], background first.
        unknown: [b, 1 + labels] bool; never the background.

    Returns:
        The same shape; the same tensor where every class is annotated.
    """
    if not unknown.any():
        return logits
    apart = unknown.reshape(*unknown.shape, *[1] * (logits.ndim - 2))
    elsewhere = ~apart
    elsewhere[:, 0] = False
    background = torch.logsumexp(logits.masked_fill(elsewhere, _NEVER), dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(apart[:, 1:], _NEVER)], dim=1)


def binary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus 1 - Dice per mask, mean over masks.

    Args:
        logits: [b, h, w].
        target: [b, h, w] in 0..1.
    """
    dice = soft_dice(torch.sigmoid(logits), target, (1, 2))
    return F.binary_cross_entropy_with_logits(logits, target) + (1 - dice).mean()
