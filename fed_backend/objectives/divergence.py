"""Kullback-Leibler divergence of two segmentations, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["as_classes", "kl_map"]


def as_classes(logits: Tensor) -> Tensor:
    """Logits of single masks as two classes: softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)).

    Args:
        logits: [b, ...] of one mask per item, as SAM gives them.

    Returns:
        [b, 2, ...], background first.
    """
    return torch.stack([torch.zeros_like(logits), logits], dim=1)


def kl_map(reference: Tensor, other: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(reference / T) || softmax(other / T)) of every pixel.

    Args:
        reference: logits [b, c, ...]; c >= 2.
        other: logits of the same shape.
        temperature: T > 0; higher compares the smaller probabilities more.

    Returns:
        [b, ...], in nats, >= 0 up to rounding; differentiable in both arguments.

    Raises:
        ValueError: shapes differ, fewer than two classes, or T is not positive.
    """
    if reference.shape != other.shape or reference.ndim < 2 or reference.shape[1] < 2:
        raise ValueError(f"logits of shapes {tuple(reference.shape)} and {tuple(other.shape)}: need equal [b, c, ...]")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be positive")
    log_p = F.log_softmax(reference / temperature, dim=1)
    log_q = F.log_softmax(other / temperature, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)
