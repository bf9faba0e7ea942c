"""Prompts in voxels of an image -> prompts on the network's square, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monailabel_app.errors import GeometryError, SiteError
from monailabel_app.learning.augment import Matrices, places_after
from monailabel_app.models.base import GivenPrompts, Prompts
from monailabel_app.models.prompting import Mask, SlicePrompt
from monailabel_app.models.slices import Slices

__all__ = ["Given", "given_on", "moved", "on_slices"]

Given = dict[tuple[int, str], SlicePrompt]
"""(slice, label) -> all that an annotator gave there."""


def on_slices(prompts: Prompts, slices: Slices) -> dict[int, SlicePrompt]:
    """The prompts of one label, slice by slice, on the network's square.

    Raises:
        GeometryError: a voxel outside the volume, or a box across slices.
        SiteError: neither point nor box.
    """
    points: dict[int, list[tuple[float, float, bool]]] = {}
    boxes: dict[int, tuple[float, float, float, float]] = {}
    for inside, voxels in ((True, prompts.foreground), (False, prompts.background)):
        for i, j, k in voxels:
            index, row, column = slices.stack.locate((int(i), int(j), int(k)))
            points.setdefault(index, []).append((*slices.fit.point(row + 0.5, column + 0.5), inside))
    if prompts.box is not None:
        first = slices.stack.locate((int(prompts.box[0]), int(prompts.box[1]), int(prompts.box[2])))
        last = slices.stack.locate((int(prompts.box[3]), int(prompts.box[4]), int(prompts.box[5])))
        if first[0] != last[0]:
            raise GeometryError(
                f"the box {tuple(prompts.box)} runs across {abs(first[0] - last[0]) + 1} slices",
                "draw the box on one slice; slices of this image are taken across its thickest axis",
            )
        rows, columns = sorted((first[1], last[1])), sorted((first[2], last[2]))
        boxes[first[0]] = (*slices.fit.point(rows[0], columns[0]), *slices.fit.point(rows[1] + 1, columns[1] + 1))
    if not points and not boxes:
        raise SiteError(f"the prompts of label {prompts.label!r} are empty", "place a point or a box")
    return {
        index: SlicePrompt(tuple(points.get(index, ())), boxes.get(index)) for index in points.keys() | boxes.keys()
    }


def given_on(prompts: Sequence[GivenPrompts], slices: Slices, labels: Mapping[str, int]) -> Given:
    """What an annotator gave, on the slices that the model takes.

    What was given across another axis, or does not lie on this image, does not count.

    Args:
        prompts: oldest first.
        slices: of the image.
        labels: the model's; prompts of others do not count.
    """
    found: Given = {}
    for one in prompts:
        if one.label not in labels or one.axis not in (None, slices.stack.axes[0]):
            continue
        try:
            placed = on_slices(one, slices)
        except GeometryError:  # given for another image of that name, before it was replaced
            continue
        for index, new in placed.items():
            before = SlicePrompt() if one.replace else found.get((index, one.label), SlicePrompt())
            found[index, one.label] = SlicePrompt((*before.points, *new.points), new.box or before.box)
    return found


def moved(prompt: SlicePrompt, matrix: Matrices, mask: Mask) -> SlicePrompt:
    """A prompt on a slice that was moved, as far as it agrees with the mask there.

    A click outside the square is dropped, and one that the mask contradicts: the annotator clicked inside, and
    submitted a mask without that place. So is a box without any of the mask. A turned box becomes the box around it.

    Args:
        prompt: on the slice as it was.
        matrix: how it was moved.
        mask: [size, size] the object after the move.
    """
    size = len(mask)
    points = []
    if prompt.points:
        places = places_after(matrix, np.array([point[:2] for point in prompt.points]), size)
        for (x, y), (_, _, inside) in zip(places, prompt.points, strict=True):
            if 0 <= x < size and 0 <= y < size and bool(mask[int(y), int(x)]) == inside:
                points.append((float(x), float(y), inside))
    return SlicePrompt(tuple(points), _moved_box(prompt.box, matrix, mask))


def _moved_box(
    box: tuple[float, float, float, float] | None, matrix: Matrices, mask: Mask
) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    x0, y0, x1, y1 = box
    corners = places_after(matrix, np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)]), len(mask))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    rows, columns = (slice(max(0, int(a)), max(0, int(np.ceil(b)))) for a, b in ((top, bottom), (left, right)))
    return (float(left), float(top), float(right), float(bottom)) if mask[rows, columns].any() else None
