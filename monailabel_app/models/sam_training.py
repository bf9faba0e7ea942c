"""The loss of one SAM training step: automatic masks on every slice, prompted masks on half of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monailabel_app.learning.augment import augment
from monailabel_app.learning.losses import binary_loss
from monailabel_app.models.prompting import SlicePrompt, decode, mask_prompts, simulate, sparse_tokens
from monailabel_app.models.sampling import balanced
from monailabel_app.models.slices import Example

__all__ = ["SamObjective"]

PROMPTED_SHARE = 0.5
"""Share of the slices that are also segmented from simulated clicks and boxes, so that a model
trained for automatic masks does not forget how to be prompted."""


class SamObjective:
    """Draws a batch and returns its loss; all randomness comes from one generator.

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
        drawn = [example.draw(index) for example, index in balanced(self._examples, self._batch_size, self._rng)]
        images = torch.stack([image for image, _ in drawn])
        targets = torch.stack([target for _, target in drawn])
        images, targets = augment(images, targets, self._rng, mirror=self._mirror)
        shown = self._network.preprocess(images.clamp(0, 1) * 255)  # type: ignore[operator]
        embeddings: Tensor = self._network.image_encoder(shown)  # type: ignore[operator]
        rows, prompts, labels = self._requests(targets)
        tokens = sparse_tokens(
            self._network.prompt_encoder,  # type: ignore[arg-type]
            prompts,
            [self._defaults[label] for label in labels],
        )
        logits = decode(self._network, embeddings[rows], tokens, mask_prompts(self._network, prompts))
        truth = F.interpolate(targets[rows], size=logits.shape[-2:], mode="area")
        return binary_loss(logits, truth[torch.arange(len(rows)), torch.tensor(labels) + 1])

    def _requests(self, targets: Tensor) -> tuple[list[int], list[SlicePrompt], list[int]]:
        """(image, prompt, label) of every mask to predict."""
        rows, prompts, labels = [], [], []
        for row, target in enumerate(targets):
            solid = (target[1:] > 0.5).numpy()
            for label, mask in enumerate(solid):
                rows.append(row)
                prompts.append(SlicePrompt())
                labels.append(label)
                if mask.any() and self._rng.random() < PROMPTED_SHARE:
                    rows.append(row)
                    prompts.append(simulate(mask, self._rng))
                    labels.append(label)
        return rows, prompts, labels
