"""The loss of one SAM training step: automatic masks on every slice, prompted masks on half of them.

Prompted as it is used: first prompts (the annotator's own where they were recorded), and corrections of the
mask that the network gave before. A single first click is answered by the mask that a session would show, the
best of three by predicted IoU. Without all this, fine-tuning costs clicks: the parts that answer them drift
with the rest.

A batch holds features of the base below the adapted blocks, which are the same for every model of one base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fed_backend.objectives.divergence import as_classes
from monailabel_app.learning.base_prompts import corrected, first_prompt
from monailabel_app.learning.losses import binary_loss
from monailabel_app.models.decoding import decode_all
from monailabel_app.models.encoder import encode_upper
from monailabel_app.models.placing import moved
from monailabel_app.models.prompting import Mask, SlicePrompt, mask_prompts, sparse_tokens
from monailabel_app.models.sampling import balanced
from monailabel_app.models.slices import Example
from monailabel_app.models.views import View, Views

__all__ = ["Requests", "SamBatch", "SamObjective"]

PROMPTED_SHARE = 0.5
"""Share of the slices that are also segmented from simulated clicks and boxes, so that a model
trained for automatic masks does not forget how to be prompted."""
GIVEN_SHARE = 0.5
"""Share of the prompted masks that take the annotator's own clicks and boxes, where there are any."""
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
    """Slices, and which masks to predict from what.

    Attributes:
        features: [b, h, w, dim] at the input of the first adapted block.
        solid: [b, labels, size, size] bool, where each label covers most of a pixel.
        shares: [b, labels, 4 h, 4 w], the share of every pixel of a mask that each label covers.
        requests: the masks.
    """

    features: Tensor
    solid: Tensor
    shares: Tensor
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
        first: lowest block of its encoder that the adapter touches.
        defaults: default prompt [tokens, dim] of each label, in the order of the examples' values.
        examples: training cases.
        given: (id of an example, slice, label) -> what an annotator gave there.
        batch_size: slices per step.
        mirror: whether left and right may be exchanged.
        rng: source of all randomness.
    """

    def __init__(
        self,
        network: nn.Module,
        first: int,
        defaults: Sequence[Tensor],
        examples: Sequence[Example],
        given: Mapping[tuple[int, int, int], SlicePrompt],
        *,
        batch_size: int,
        mirror: bool,
        rng: np.random.Generator,
    ) -> None:
        self._network = network
        self._first_adapted = first
        self._defaults = list(defaults)
        self._examples = examples
        self._given = given
        self._batch_size = batch_size
        self._rng = rng
        self._views = Views(network, first, mirror=mirror, rng=rng)

    def __call__(self) -> Tensor:
        batch, correct = self._begun()
        embeddings = self._embed(batch.features)
        if correct:
            rows = list(range(len(batch.features)))
            batch = self._with_corrections(batch, dict(zip(rows, embeddings.detach(), strict=True)))
        return self.loss(self._masks(embeddings, batch), batch)

    def draw(self) -> SamBatch:
        batch, correct = self._begun()
        if not correct:
            return batch
        (first,) = batch.requests
        rows = sorted({row for row, prompt in zip(first.rows, first.prompts, strict=True) if _prompted(prompt)})
        with torch.no_grad():
            embeddings = self._embed(batch.features[rows])
        return self._with_corrections(batch, dict(zip(rows, embeddings, strict=True)))

    def logits(self, batch: SamBatch) -> Tensor:
        return self._masks(self._embed(batch.features), batch)

    def loss(self, logits: Tensor, batch: SamBatch) -> Tensor:
        return binary_loss(logits, self._shares(batch))

    def classes(self, logits: Tensor) -> Tensor:
        return as_classes(logits)

    def truth(self, logits: Tensor, batch: SamBatch) -> Tensor:
        return (self._shares(batch) > 0.5).long()

    def _begun(self) -> tuple[SamBatch, bool]:
        """A batch of automatic masks and first prompts, and whether they shall be corrected."""
        views = self._views.draw(balanced(self._examples, self._batch_size, self._rng))
        first = self._first(views)
        batch = SamBatch(
            torch.stack([view.features.float() for view in views]),
            torch.stack([view.solid for view in views]),
            torch.stack([view.shares.float() for view in views]),
            (first,),
        )
        return batch, self._rng.random() < CORRECTED_SHARE and any(map(_prompted, first.prompts))

    def _embed(self, features: Tensor) -> Tensor:
        """The encoder's output [b, dim, h, w] of this model."""
        return encode_upper(self._network, features, self._first_adapted)

    def _masks(self, embeddings: Tensor, batch: SamBatch) -> Tensor:
        return torch.cat([self._answer(embeddings[part.rows], part) for part in batch.requests])

    def _shares(self, batch: SamBatch) -> Tensor:
        """The share of every pixel of the masks that its label covers."""
        return batch.shares[batch.rows, batch.labels]

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

    def _first(self, views: Sequence[View]) -> Requests:
        """Every automatic mask, and first prompts; none of a label that nobody annotated."""
        found = Requests([], [], [])
        for row, view in enumerate(views):
            for label in (~view.example.unknown[1:]).nonzero().flatten().tolist():
                mask = view.solid[label].numpy()
                asked = [SlicePrompt()]
                if mask.any() and self._rng.random() < PROMPTED_SHARE:
                    asked.append(self._own(view, label, mask) or first_prompt(mask, self._rng))
                found.rows.extend([row] * len(asked))
                found.prompts.extend(asked)
                found.labels.extend([label] * len(asked))
        return found

    def _own(self, view: View, label: int, mask: Mask) -> SlicePrompt | None:
        """What the annotator gave there first, or first and then; ``None`` for a simulated prompt instead."""
        given = self._given.get((id(view.example), view.index, label))
        if given is None or self._rng.random() >= GIVEN_SHARE:
            return None
        own = moved(given, view.matrix, mask)
        if own.points:
            own = SlicePrompt(own.points[: int(self._rng.integers(1, len(own.points) + 1))], own.box)
        return own if _prompted(own) else None

    @torch.no_grad()
    def _with_corrections(self, batch: SamBatch, embeddings: Mapping[int, Tensor]) -> SamBatch:
        """The batch with its prompted masks, as the network gives them now, and clicks where they are wrong.

        Args:
            batch: automatic masks and first prompts.
            embeddings: row -> encoder output [dim, h, w], of the rows that are prompted.
        """
        (first,) = batch.requests
        chosen = [n for n, prompt in enumerate(first.prompts) if _prompted(prompt)]
        rows, labels = [first.rows[n] for n in chosen], [first.labels[n] for n in chosen]
        part = Requests(rows, [first.prompts[n] for n in chosen], labels)
        features = torch.stack([embeddings[row] for row in rows])
        masks = batch.solid[rows, labels].numpy()
        for _ in range(1 + int(self._rng.choice(len(CORRECTIONS), p=CORRECTIONS))):
            before = self._answer(features, part)
            shown = F.interpolate(before[:, None], size=masks.shape[1:], mode="bilinear")[:, 0] > 0
            prompts = [
                corrected(seen, mask, prompt, self._rng)
                for seen, mask, prompt in zip(shown.numpy(), masks, part.prompts, strict=True)
            ]
            part = Requests(rows, prompts, labels, before)
        return replace(batch, requests=(first, part))


def _prompted(prompt: SlicePrompt) -> bool:
    return bool(prompt.points) or prompt.box is not None


def _single(prompt: SlicePrompt) -> bool:
    return prompt.box is None and len(prompt.points) == 1 and prompt.points[0][2]
