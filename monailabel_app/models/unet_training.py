"""The loss of one U-Net training step: cross-entropy and Dice over balanced slices, or whole cubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monailabel_app.learning.losses import annotated_logits, class_loss
from monailabel_app.models.sampling import augmented, stacked
from monailabel_app.models.slices import Example, Slices, one_hot

__all__ = ["UNetBatch", "UNetObjective", "as_cube", "standard"]


@dataclass(frozen=True)
class UNetBatch:
    """Images [b, 1, ...] as the network sees them, targets [b, classes, ...] that sum to 1, and which classes
    nobody annotated, [b, classes] bool."""

    images: Tensor
    targets: Tensor
    unknown: Tensor


class UNetObjective:
    """See :class:`monailabel_app.models.base.Objective`; all randomness comes from one generator.

    Args:
        network: the U-Net.
        examples: training cases.
        batch_size: slices, or cubes, per step.
        cube: side of the cubes that a 3D network sees; 0 for slices.
        mirror: whether left and right may be exchanged.
        rng: source of all randomness.
    """

    def __init__(
        self,
        network: nn.Module,
        examples: Sequence[Example],
        *,
        batch_size: int,
        cube: int,
        mirror: bool,
        rng: np.random.Generator,
    ) -> None:
        self._network = network
        self._examples = examples
        self._batch_size = batch_size
        self._cubes = [_training_cube(example, cube) for example in examples] if cube else []
        self._mirror = mirror
        self._rng = rng

    def __call__(self) -> Tensor:
        batch = self.draw()
        return self.loss(self.logits(batch), batch)

    def draw(self) -> UNetBatch:
        rng = self._rng
        if self._cubes:
            chosen = rng.integers(len(self._cubes), size=self._batch_size)
            cubes = [(self._examples[k], *self._cubes[k]) for k in chosen]
            examples, images, targets = stacked(cubes, rng, mirror=self._mirror)
        else:
            examples, images, targets = augmented(self._examples, self._batch_size, rng, mirror=self._mirror)
        shown = [standard(example.slices, image) for example, image in zip(examples, images, strict=True)]
        return UNetBatch(torch.stack(shown), targets, torch.stack([example.unknown for example in examples]))

    def logits(self, batch: UNetBatch) -> Tensor:
        """What is not annotated counts as background, so that nothing is learned about it."""
        return annotated_logits(self._network(batch.images), batch.unknown)

    def loss(self, logits: Tensor, batch: UNetBatch) -> Tensor:
        return class_loss(logits, batch.targets)

    def classes(self, logits: Tensor) -> Tensor:
        return logits

    def truth(self, logits: Tensor, batch: UNetBatch) -> Tensor:
        return batch.targets.argmax(dim=1)


def as_cube(slices: Tensor, size: int) -> Tensor:
    """[slice, c, size, size] -> [c, size, size, size], stretched or averaged along the slices."""
    stacked = slices.transpose(0, 1)[None]
    count = stacked.shape[2]
    if count > size:
        return F.adaptive_avg_pool3d(stacked, (size, size, size))[0]
    return F.interpolate(stacked, size=(size, size, size), mode="trilinear", align_corners=False)[0]


def standard(slices: Slices, images: Tensor) -> Tensor:
    """Zero mean and unit variance over the image's own voxels that count."""
    return (images - slices.window.mean) / slices.window.std


def _training_cube(example: Example, size: int) -> tuple[Tensor, Tensor]:
    target = as_cube(example.slices.fit.shrink(one_hot(example.labels, example.values)), size)
    target[0] = 1 - target[1:].sum(dim=0)
    return as_cube(example.images.float(), size), target
