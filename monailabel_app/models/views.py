"""Augmented views of training slices, encoded below the adapted blocks once and drawn many times.

What lies below the first adapted block depends on the base only. So a slice gets a few augmented views, each
made and encoded when it is first drawn; a training step then computes the adapted blocks and the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from monailabel_app.learning.augment import Matrices, intensity, move, moves
from monailabel_app.models.embeddings import Recent
from monailabel_app.models.encoder import compact, encode_lower
from monailabel_app.models.slices import Example

__all__ = ["EACH", "View", "Views"]

EACH = 4
"""Views of a slice."""
LIMIT = 512 * 2**20
"""Bytes of views that are kept; those drawn longest ago go first, and are made anew."""


@dataclass(frozen=True)
class View:
    """A slice as a training step sees it.

    Attributes:
        example: its case.
        index: which slice of it.
        matrix: [2, 3], how it was moved (:func:`monailabel_app.learning.augment.moves`).
        features: [h, w, dim] at the input of the first adapted block, float16 where they fit.
        solid: [labels, size, size] bool, where each label covers most of a pixel.
        shares: [labels, 4 h, 4 w] float16, the share of every pixel of a mask that each label covers.
    """

    example: Example
    index: int
    matrix: Matrices
    features: Tensor
    solid: Tensor
    shares: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.features.nbytes + self.solid.nbytes + self.shares.nbytes


class Views:
    """A pool of views.

    Args:
        network: a SAM.
        first: lowest adapted block; with 0 there is nothing to save, and every view is a new one.
        mirror: whether left and right may be exchanged.
        rng: source of all randomness.
        limit: bytes that may be kept.
    """

    def __init__(self, network: Any, first: int, *, mirror: bool, rng: np.random.Generator, limit: int = LIMIT) -> None:
        self._network = network
        self._first = first
        self._mirror = mirror
        self._rng = rng
        self._kept = Recent[tuple[int, int, int], View](limit)

    def __len__(self) -> int:
        return len(self._kept)

    def draw(self, slices: Sequence[tuple[Example, int]]) -> list[View]:
        """One view of each slice, given as case and index."""
        if not self._first:
            return self._made(slices)
        numbers = self._rng.integers(EACH, size=len(slices))
        keys = [(id(example), index, int(n)) for (example, index), n in zip(slices, numbers, strict=True)]
        new = {key: one for key, one in zip(keys, slices, strict=True) if key not in self._kept}
        drawn = dict(zip(new, self._made(list(new.values())), strict=True)) if new else {}
        views = [drawn[key] if key in drawn else self._kept.get(key) for key in keys]
        for key, view in drawn.items():
            self._kept.put(key, view)
        return views

    @torch.no_grad()
    def _made(self, slices: Sequence[tuple[Example, int]]) -> list[View]:
        theta = moves(len(slices), 2, self._rng, mirror=self._mirror)
        images, targets = (torch.stack(part) for part in zip(*[e.draw(index) for e, index in slices], strict=True))
        images, targets = move(images, targets, theta)
        images = intensity(images, self._rng)
        features = encode_lower(self._network, self._network.preprocess(images.clamp(0, 1) * 255), self._first)
        rows, columns = (4 * n for n in features.shape[1:3])
        shares = F.interpolate(targets[:, 1:], size=(rows, columns), mode="area").half()
        solid = targets[:, 1:] > 0.5
        return [
            # a row of a batch would keep the whole batch alive
            View(example, index, theta[n], compact(features[n].clone()), solid[n].clone(), shares[n].clone())
            for n, (example, index) in enumerate(slices)
        ]
