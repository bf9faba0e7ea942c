"""Which slices a training step sees: every case alike, two of three slices with a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monailabel_app.models.slices import Example

__all__ = ["balanced"]

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
