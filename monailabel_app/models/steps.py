"""Gradient descent on an adapter, shared by every model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fed_backend.objectives.proximal import proximal_pull
from monailabel_app.models.adapter import Adapter

__all__ = ["descend", "may_mirror"]

MAX_GRADIENT_NORM = 5.0
PRETRAINED_RATE = 0.3
"""Share of the learning rate for tensors that the base was trained with: what it can do already is
kept, while what is new learns at full rate (docs/explanation/effort.md)."""
FINAL_RATE = 0.1
"""Share of the learning rate that is left at the last step (linear decay)."""


def descend(
    network: nn.Module,
    adapter: Adapter,
    loss: Callable[[], Tensor],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    proximal: float,
) -> Iterator[float]:
    """AdamW on the adapter; yields the loss (without the proximal pull) after each step.

    Args:
        network: set to training mode for the duration.
        adapter: what is trained; everything else stays frozen.
        loss: draws a batch and returns its loss.
        steps: gradient steps.
        learning_rate: of the first step; decays linearly to a tenth. What comes from the base takes
            :data:`PRETRAINED_RATE` of it.
        weight_decay: of AdamW, on matrices only.
        proximal: mu of FedProx; the pull is towards the tensors at the first step.
    """
    parameters = list(adapter.parameters.values())
    optimiser = torch.optim.AdamW(_groups(adapter, learning_rate, weight_decay), lr=learning_rate)
    start = {name: p.detach().clone() for name, p in adapter.parameters.items()} if proximal else {}
    network.train()
    try:
        for step in range(steps):
            share = step / max(1, steps - 1)
            for group in optimiser.param_groups:
                group["lr"] = group["first_rate"] * (1 - (1 - FINAL_RATE) * share)
            optimiser.zero_grad(set_to_none=True)
            value = loss()
            total = value + proximal_pull(adapter.parameters, start, proximal) if proximal else value
            torch.autograd.backward(total)
            torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
            optimiser.step()
            yield float(value.detach())
    finally:
        network.eval()


def _groups(adapter: Adapter, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """The adapter's tensors by learning rate and decay."""
    groups = []
    for pretrained in (False, True):
        chosen = [p for name, p in adapter.parameters.items() if (name in adapter.pretrained) == pretrained]
        rate = learning_rate * (PRETRAINED_RATE if pretrained else 1.0)
        for decay, part in (
            (weight_decay, [p for p in chosen if p.ndim > 1]),
            (0.0, [p for p in chosen if p.ndim <= 1]),
        ):
            if part:
                groups.append({"params": part, "weight_decay": decay, "first_rate": rate})
    return groups


def may_mirror(labels: Mapping[str, int]) -> bool:
    """Whether left and right may be exchanged: not where a label's name says a side."""
    return not any(side in name.lower().replace("-", "_").split("_") for name in labels for side in ("left", "right"))
