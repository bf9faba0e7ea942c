"""Which slices a training step sees: every case alike, two of three slices with a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from monailabel_app.learning.augment import augment
from monailabel_app.models.slices import Example

__all__ = ["augmented", "balanced", "stacked"]

FOREGROUND_SHARE = 2 / 3


def balanced(examples: Sequence[Example], count: int, rng: np.random.Generator) -> list[tuple[Example, int]]:
    """Draw ``count`` (case, slice) pairs.

    A case is drawn first, so that a long volume does not outweigh a short one; then, in two of
    three draws, one of its labels and a slice that shows it, so that a rare label is seen.
    """
    drawn = []
    for _ in range(count):
        example = examples[int(rng.integers(len(examples)))]
        if example.with_label and rng.random() < FOREGROUND_SHARE:
            value = sorted(example.with_label)[int(rng.integers(len(example.with_label)))]
            index = int(rng.choice(example.with_label[value]))
        else:
            index = int(rng.integers(len(example.slices)))
        drawn.append((example, index))
    return drawn


def augmented(
    examples: Sequence[Example], count: int, rng: np.random.Generator, *, mirror: bool
) -> tuple[list[Example], Tensor, Tensor]:
    """A batch of slices: the case of each, images [b, c, ...] in 0..1, and targets [b, 1 + labels, ...]."""
    drawn = [(example, *example.draw(index)) for example, index in balanced(examples, count, rng)]
    return stacked(drawn, rng, mirror=mirror)


def stacked(
    drawn: Sequence[tuple[Example, Tensor, Tensor]], rng: np.random.Generator, *, mirror: bool
) -> tuple[list[Example], Tensor, Tensor]:
    """(case, image, target) one by one as a batch, augmented."""
    images = torch.stack([image for _, image, _ in drawn])
    targets = torch.stack([target for _, _, target in drawn])
    return [example for example, _, _ in drawn], *augment(images, targets, rng, mirror=mirror)
