"""The loss of one SAM training step: automatic masks on every slice, prompted masks on half of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fed_backend.objectives.divergence import as_classes
from monailabel_app.learning.augment import augment
from monailabel_app.learning.losses import binary_loss
from monailabel_app.models.prompting import SlicePrompt, decode, mask_prompts, simulate, sparse_tokens
from monailabel_app.models.sampling import balanced
from monailabel_app.models.slices import Example

__all__ = ["SamBatch", "SamObjective"]

PROMPTED_SHARE = 0.5
"""Share of the slices that are also segmented from simulated clicks and boxes, so that a model
trained for automatic masks does not forget how to be prompted."""


@dataclass(frozen=True)
class SamBatch:
    """Images as the encoder sees them, targets [b, 1 + labels, ...], and which masks to predict from what."""

    images: Tensor
    targets: Tensor
    rows: list[int]
    prompts: list[SlicePrompt]
    labels: list[int]


class SamObjective:
    """See :class:`monailabel_app.models.base.Objective`; all randomness comes from one generator.

    Args:
        network: a SAM with its adapter.
        defaults: default prompt [tokens, dim] of each label, in the order of the examples' values.
        examples: training cases.
        batch_size: slices per step.
        mirror: whether left and right may be exchanged.
        rng: source of all randomness.
    """

    def __init__(
        self,
        network: nn.Module,
        defaults: Sequence[Tensor],
        examples: Sequence[Example],
        *,
        batch_size: int,
        mirror: bool,
        rng: np.random.Generator,
    ) -> None:
        self._network = network
        self._defaults = list(defaults)
        self._examples = examples
        self._batch_size = batch_size
        self._mirror = mirror
        self._rng = rng

    def __call__(self) -> Tensor:
        batch = self.draw()
        return self.loss(self.logits(batch), batch)

    def draw(self) -> SamBatch:
        drawn = [(e, *e.draw(index)) for e, index in balanced(self._examples, self._batch_size, self._rng)]
        images = torch.stack([image for _, image, _ in drawn])
        targets = torch.stack([target for _, _, target in drawn])
        images, targets = augment(images, targets, self._rng, mirror=self._mirror)
        shown = self._network.preprocess(images.clamp(0, 1) * 255)  # type: ignore[operator]
        rows, prompts, labels = self._requests(targets, [e.unknown[1:] for e, _, _ in drawn])
        return SamBatch(shown, targets, rows, prompts, labels)

    def logits(self, batch: SamBatch) -> Tensor:
        embeddings: Tensor = self._network.image_encoder(batch.images)  # type: ignore[operator]
        tokens = sparse_tokens(
            self._network.prompt_encoder,  # type: ignore[arg-type]
            batch.prompts,
            [self._defaults[label] for label in batch.labels],
        )
        return decode(self._network, embeddings[batch.rows], tokens, mask_prompts(self._network, batch.prompts))

    def loss(self, logits: Tensor, batch: SamBatch) -> Tensor:
        return binary_loss(logits, self._shares(logits, batch))

    def classes(self, logits: Tensor) -> Tensor:
        return as_classes(logits)

    def truth(self, logits: Tensor, batch: SamBatch) -> Tensor:
        return (self._shares(logits, batch) > 0.5).long()

    def _shares(self, logits: Tensor, batch: SamBatch) -> Tensor:
        """The share of every pixel of the masks that its label covers."""
        truth = F.interpolate(batch.targets[batch.rows], size=logits.shape[-2:], mode="area")
        return truth[torch.arange(len(batch.rows)), torch.tensor(batch.labels) + 1]

    def _requests(self, targets: Tensor, unknown: Sequence[Tensor]) -> tuple[list[int], list[SlicePrompt], list[int]]:
        """(image, prompt, label) of every mask to predict; none of a label that nobody annotated."""
        rows, prompts, labels = [], [], []
        for row, target in enumerate(targets):
            solid = (target[1:] > 0.5).numpy()
            for label in (~unknown[row]).nonzero().flatten().tolist():
                mask = solid[label]
                rows.append(row)
                prompts.append(SlicePrompt())
                labels.append(label)
                if mask.any() and self._rng.random() < PROMPTED_SHARE:
                    rows.append(row)
                    prompts.append(simulate(mask, self._rng))
                    labels.append(label)
        return rows, prompts, labels
