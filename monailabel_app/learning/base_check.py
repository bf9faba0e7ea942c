"""How good the embedded base is on held-out pictures, click by click, and from a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from monailabel_app.learning.base_objective import answer, embed
from monailabel_app.learning.base_prompts import Click, exact_box, largest_error, middle
from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.base_sources import Source, sources
from monailabel_app.models.prompting import SlicePrompt

__all__ = ["Answers", "Base", "FilledBox", "check_base", "click_by_click", "iou", "measure"]

SIZE = 256
COUNTS = (1, 3, 5)
"""Clicks after which the overlap is reported."""


class Answers(Protocol):
    """Whatever turns prompts on a picture into a mask."""

    def look(self, image: npt.NDArray[np.float32]) -> None:
        """Take a picture [rows, columns] in 0..1."""
        ...

    def answer(self, prompt: SlicePrompt, *, first: bool) -> Mask:
        """The mask for all prompts of one object so far; ``first`` where there were none before."""
        ...


class Base:
    """A SAM: the best of three masks for a first single click, then the mask before is given back."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._before: Tensor | None = None

    def look(self, image: npt.NDArray[np.float32]) -> None:
        with torch.inference_mode():
            self._features = embed(self._network, torch.from_numpy(image)[None])
        self._shape = image.shape

    def answer(self, prompt: SlicePrompt, *, first: bool) -> Mask:
        with torch.inference_mode():
            before = None if first else self._before
            logits, quality = answer(self._network, self._features, [prompt], before)
            single = first and len(prompt.points) == 1 and prompt.box is None
            choice = 1 + int(quality[0, 1:].argmax()) if single else 0
            self._before = logits[:, choice]
            wide = nn.functional.interpolate(logits[:, choice, None], size=self._shape, mode="bilinear")
            mask: Mask = wide[0, 0].numpy() > 0
        return mask


class FilledBox:
    """The box itself: what no network is needed for."""

    def look(self, image: npt.NDArray[np.float32]) -> None:
        self._shape = image.shape

    def answer(self, prompt: SlicePrompt, *, first: bool) -> Mask:
        mask = np.zeros(self._shape, dtype=bool)
        if prompt.box is not None:
            x0, y0, x1, y1 = (round(edge) for edge in prompt.box)
            mask[max(0, y0) : y1, max(0, x0) : x1] = True
        return mask


def check_base(
    network: nn.Module, data: Path | None, *, pictures: int = 60, seed: int = 1
) -> dict[str, dict[str, float]]:
    """Mean IoU of a base on held-out pictures of every source, see :func:`measure`.

    Args:
        network: the SAM to measure.
        data: folder with the public sets, or ``None`` for procedural pictures only.
        pictures: per source.
        seed: of the choice of pictures; not the one trained with.

    Returns:
        Source -> ``clicks_1``, ``clicks_3``, ``clicks_5``, ``box``, and ``filled_box``.
    """
    found = {}
    for name, (_, source) in sources(data, held_out=True).items():
        measured = measure({"": Base(network), "filled_box": FilledBox()}, source, pictures=pictures, seed=seed)
        found[name] = {**measured[""], "filled_box": measured["filled_box"]["box"]}
    return found


def measure(
    answering: Mapping[str, Answers], source: Source, *, pictures: int, seed: int, objects: int = 2
) -> dict[str, dict[str, float]]:
    """Mean IoU after some clicks, and after one exact box, at 256 x 256.

    Every click lies in the middle of the largest error (the first: of the object); Sofiiuk et al.
    2021, arXiv 2102.06583, section 4.1.

    Args:
        answering: name -> what is measured; all see the same objects.
        source: gives pictures with objects.
        pictures: how many.
        seed: of the choice of pictures and objects.
        objects: of each picture at most.

    Returns:
        Name -> ``clicks_1``, ``clicks_3``, ``clicks_5``, ``box``.
    """
    rng = np.random.default_rng(seed)
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in answering}
    for _ in range(pictures):
        image, found = source(SIZE, rng)
        chosen = [found[int(pick)] for pick in rng.permutation(len(found))[:objects]]
        for name, one in answering.items():
            one.look(image)
            for mask in chosen:
                for key, value in _scores(one, mask).items():
                    scores[name].setdefault(key, []).append(value)
    return {name: {key: float(np.mean(v)) for key, v in keys.items()} for name, keys in scores.items()}


def click_by_click(one: Answers, mask: Mask, count: int, shown: Mask | None = None) -> Sequence[Mask]:
    """The masks after each of ``count`` simulated clicks; fewer where nothing is wrong any more.

    Args:
        one: has looked at the picture.
        mask: the object.
        count: clicks at most.
        shown: the mask to correct; nothing without.
    """
    points: tuple[Click, ...] = ()
    shown = np.zeros_like(mask) if shown is None else shown
    masks: list[Mask] = []
    while len(masks) < count and (wrong := shown ^ mask).any():
        row, column = middle(largest_error(wrong, mask))
        points = (*points, (column + 0.5, row + 0.5, bool(mask[row, column])))
        shown = one.answer(SlicePrompt(points), first=not masks)
        masks.append(shown)
    return masks


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 1.0


def _scores(one: Answers, mask: Mask) -> dict[str, float]:
    masks = click_by_click(one, mask, max(COUNTS))
    after = {f"clicks_{n}": iou(masks[min(n, len(masks)) - 1], mask) for n in COUNTS}
    return {**after, "box": iou(one.answer(SlicePrompt(box=exact_box(mask)), first=True), mask)}
