"""Prompts for training and measuring the embedded base: first clicks and boxes, and corrections."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monailabel_app.learning.base_shapes import Mask
from monailabel_app.models.prompting import SlicePrompt, simulate

__all__ = ["Click", "corrected", "exact_box", "first_prompt", "largest_error", "middle"]

Click = tuple[float, float, bool]
"""(x, y, inside); the centre of the first pixel is (0.5, 0.5)."""


def first_prompt(mask: Mask, rng: np.random.Generator) -> SlicePrompt:
    """What somebody gives first: one click (2 of 5), a box (1 of 5), or several prompts at once.

    Args:
        mask: the object [rows, columns], not empty.
        rng: source of all randomness.
    """
    kind = rng.random()
    if kind < 0.4:
        return SlicePrompt((_click(mask, True, rng),))
    if kind < 0.6:
        return SlicePrompt(box=_jittered(exact_box(mask), rng))
    return simulate(mask, rng)


def corrected(shown: Mask, mask: Mask, prompt: SlicePrompt, rng: np.random.Generator) -> SlicePrompt:
    """The prompt with one more click, where the mask shown is wrong.

    Half of the clicks are in the middle of the largest error, as an annotator's; the others
    anywhere in the error, so that every place occurs.
    """
    wrong = shown ^ mask
    if not wrong.any():
        return prompt
    if rng.random() < 0.5:
        wrong = largest_error(wrong, mask)
        row, column = middle(wrong)
    else:
        row, column = _any_place(wrong, rng)
    return SlicePrompt((*prompt.points, (column + 0.5, row + 0.5, bool(mask[row, column]))), prompt.box)


def largest_error(wrong: Mask, mask: Mask) -> Mask:
    """The largest connected area that is missed, or that is wrongly included.

    Args:
        wrong: pixels where the mask shown differs, not empty.
        mask: the object.
    """
    best, area = wrong, 0
    for part in (wrong & mask, wrong & ~mask):
        labels, count = ndimage.label(part)
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            if sizes.max() > area:
                best, area = labels == 1 + int(sizes.argmax()), int(sizes.max())
    return best


def middle(area: Mask) -> tuple[int, int]:
    """Row and column of the pixel furthest from the area's border."""
    rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    inner = np.pad(area[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    depth = ndimage.distance_transform_edt(inner)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row + rows[0]), int(column + columns[0])


def exact_box(mask: Mask) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1): the edges of the object, which is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _click(mask: Mask, inside: bool, rng: np.random.Generator) -> Click:
    row, column = middle(mask) if rng.random() < 0.5 else _any_place(mask, rng)
    return column + 0.5, row + 0.5, inside


def _any_place(area: Mask, rng: np.random.Generator) -> tuple[int, int]:
    places = np.flatnonzero(area)
    row, column = divmod(int(places[int(rng.integers(len(places)))]), area.shape[1])
    return row, column


def _jittered(box: tuple[float, float, float, float], rng: np.random.Generator) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    a, b, c, d = rng.normal(0, 0.04, 4)
    return x0 - abs(a) * width, y0 - abs(b) * height, x1 + abs(c) * width, y1 + abs(d) * height
