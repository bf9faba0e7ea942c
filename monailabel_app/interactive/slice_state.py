"""The prompts of one label on one slice, and the mask that they and the network make together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from monailabel_app.interactive.prompts import Places, SliceInput
from monailabel_app.models.prompting import SlicePrompt
from monailabel_app.models.slices import Fit

__all__ = ["SliceState", "compose", "sampled", "slice_prompt"]

Labels = npt.NDArray[np.uint8]
STROKE_POINTS = 6
"""Points that stand for a stroke before the network; the stroke itself is kept in the mask exactly."""


@dataclass(frozen=True)
class SliceState:
    """All prompts so far; a value, so that undo can keep the one before.

    Attributes:
        points: (row, column, inside).
        box: (row, column, row, column), inclusive; the newest.
        strokes: places and whether they belong to the structure, oldest first.
        logits: [4 h, 4 w] the mask that the network gave last.
        score: its predicted IoU.
    """

    points: tuple[tuple[int, int, bool], ...] = ()
    box: tuple[int, int, int, int] | None = None
    strokes: tuple[tuple[Places, bool], ...] = ()
    logits: Tensor | None = None
    score: float | None = None

    def joined(self, given: SliceInput) -> SliceState:
        """With new prompts added."""
        return replace(
            self,
            points=(*self.points, *given.points),
            box=given.box or self.box,
            strokes=(*self.strokes, *given.strokes),
        )

    def seen(self, logits: Tensor, score: float) -> SliceState:
        """With the network's newest mask."""
        return replace(self, logits=logits, score=score)


def slice_prompt(state: SliceState, fit: Fit) -> tuple[SlicePrompt, bool]:
    """Prompts on the network's square, and whether they are one single click."""
    places = list(state.points)
    for stroke, inside in state.strokes:
        places += [(row, column, inside) for row, column in sampled(stroke)]
    points = tuple((*fit.point(row + 0.5, column + 0.5), inside) for row, column, inside in places)
    box = None
    if state.box is not None:
        top, left, bottom, right = state.box
        box = (*fit.point(top, left), *fit.point(bottom + 1, right + 1))
    return SlicePrompt(points, box), len(points) == 1 and points[0][2] and box is None


def sampled(stroke: Places, count: int = STROKE_POINTS) -> list[tuple[int, int]]:
    """A few places of a stroke, far from each other: each is the farthest from those before."""
    chosen = [0]
    distance = np.square(stroke - stroke[0]).sum(axis=1)
    while len(chosen) < min(count, len(stroke)):
        farthest = int(distance.argmax())
        if distance[farthest] == 0:
            break
        chosen.append(farthest)
        distance = np.minimum(distance, np.square(stroke - stroke[farthest]).sum(axis=1))
    return [(int(stroke[c, 0]), int(stroke[c, 1])) for c in chosen]


def compose(base: Labels, mask: npt.NDArray[np.bool_], state: SliceState, value: int) -> Labels:
    """The slice after a prompt.

    The network's mask takes the place of the label; other labels keep what it does not cover, and
    get back what an earlier click of this series took from them. Strokes count as drawn.

    Args:
        base: [rows, columns] label values before this series of clicks.
        mask: [rows, columns] what the network gave.
        state: prompts with strokes.
        value: the label's voxel value.
    """
    without = base.copy()
    np.putmask(without, base == value, 0)
    result = without.copy()
    np.copyto(result, np.uint8(value), where=mask)
    for stroke, inside in state.strokes:
        rows, columns = stroke[:, 0], stroke[:, 1]
        result[rows, columns] = value if inside else without[rows, columns]
    return result
