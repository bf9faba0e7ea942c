"""The loss of one SAM training step: automatic masks on every slice, prompted masks on half of them.

Prompted as it is used: first prompts, and corrections of the mask that the network gave before. A
single first click is answered by the mask that a session would show, the best of three by predicted
IoU. Without all this, fine-tuning costs clicks: the parts that answer them drift with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fed_backend.objectives.divergence import as_classes
from monailabel_app.learning.base_prompts import corrected, first_prompt
from monailabel_app.learning.losses import binary_loss
from monailabel_app.models.prompting import SlicePrompt, decode_all, mask_prompts, sparse_tokens
from monailabel_app.models.sampling import augmented
from monailabel_app.models.slices import Example

__all__ = ["Requests", "SamBatch", "SamObjective"]

PROMPTED_SHARE = 0.5
"""Share of the slices that are also segmented from simulated clicks and boxes, so that a model
trained for automatic masks does not forget how to be prompted."""
CORRECTED_SHARE = 0.6
"""Share of the steps in which the prompted masks are corrected, too."""
CORRECTIONS = (0.4, 0.25, 0.2, 0.15)
"""Shares of one, two, three and four clicks of correction; the answer to the last is trained."""


@dataclass(frozen=True)
class Requests:
    """Masks to predict.

    Attributes:
        rows: of which image of the batch.
        prompts: from which prompts; an empty one asks for the automatic mask.
        labels: of which label.
        before: [n, 4 h, 4 w] logits of the masks that are corrected; ``None`` for first answers.
    """

    rows: list[int]
    prompts: list[SlicePrompt]
    labels: list[int]
    before: Tensor | None = None


@dataclass(frozen=True)
class SamBatch:
    """Images as the encoder sees them, targets [b, 1 + labels, ...], and which masks to predict from what."""

    images: Tensor
    targets: Tensor
    requests: tuple[Requests, ...]

    @property
    def rows(self) -> list[int]:
        """The image of each mask."""
        return [row for part in self.requests for row in part.rows]

    @property
    def labels(self) -> list[int]:
        """The label of each mask."""
        return [label for part in self.requests for label in part.labels]


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
        examples, images, targets = augmented(self._examples, self._batch_size, self._rng, mirror=self._mirror)
        shown = self._network.preprocess(images.clamp(0, 1) * 255)  # type: ignore[operator]
        first = self._first(targets, [example.unknown[1:] for example in examples])
        if self._rng.random() >= CORRECTED_SHARE or not any(map(_prompted, first.prompts)):
            return SamBatch(shown, targets, (first,))
        return SamBatch(shown, targets, (first, self._corrected(shown, targets, first)))

    def logits(self, batch: SamBatch) -> Tensor:
        embeddings: Tensor = self._network.image_encoder(batch.images)  # type: ignore[operator]
        return torch.cat([self._answer(embeddings[part.rows], part) for part in batch.requests])

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

    def _answer(self, embeddings: Tensor, part: Requests) -> Tensor:
        """The masks [n, 4 h, 4 w] that a session would show."""
        tokens = sparse_tokens(
            self._network.prompt_encoder,  # type: ignore[arg-type]
            part.prompts,
            [self._defaults[label] for label in part.labels],
        )
        dense = mask_prompts(self._network, part.prompts, part.before)
        masks, scores = decode_all(self._network, embeddings, tokens, dense)
        best = 1 + scores[:, 1:].argmax(dim=1)
        ambiguous = torch.tensor([part.before is None and _single(prompt) for prompt in part.prompts])
        return masks[torch.arange(len(masks)), torch.where(ambiguous, best, 0)]

    def _first(self, targets: Tensor, unknown: Sequence[Tensor]) -> Requests:
        """Every automatic mask, and first prompts; none of a label that nobody annotated."""
        found = Requests([], [], [])
        for row, target in enumerate(targets):
            solid = (target[1:] > 0.5).numpy()
            for label in (~unknown[row]).nonzero().flatten().tolist():
                mask = solid[label]
                asked = [SlicePrompt()]
                if mask.any() and self._rng.random() < PROMPTED_SHARE:
                    asked.append(first_prompt(mask, self._rng))
                found.rows.extend([row] * len(asked))
                found.prompts.extend(asked)
                found.labels.extend([label] * len(asked))
        return found

    @torch.no_grad()
    def _corrected(self, images: Tensor, targets: Tensor, first: Requests) -> Requests:
        """The prompted masks, as the network gives them now, with clicks where they are wrong."""
        chosen = [n for n, prompt in enumerate(first.prompts) if _prompted(prompt)]
        rows, labels = [first.rows[n] for n in chosen], [first.labels[n] for n in chosen]
        part = Requests(rows, [first.prompts[n] for n in chosen], labels)
        features = self._network.image_encoder(images[rows])  # type: ignore[operator]
        masks = [(targets[row, 1 + label] > 0.5).numpy() for row, label in zip(rows, labels, strict=True)]
        for _ in range(1 + int(self._rng.choice(len(CORRECTIONS), p=CORRECTIONS))):
            before = self._answer(features, part)
            shown = F.interpolate(before[:, None], size=targets.shape[-2:], mode="bilinear")[:, 0] > 0
            prompts = [
                corrected(seen, mask, prompt, self._rng)
                for seen, mask, prompt in zip(shown.numpy(), masks, part.prompts, strict=True)
            ]
            part = Requests(rows, prompts, labels, before)
        return part


def _prompted(prompt: SlicePrompt) -> bool:
    return bool(prompt.points) or prompt.box is not None


def _single(prompt: SlicePrompt) -> bool:
    return prompt.box is None and len(prompt.points) == 1 and prompt.points[0][2]
