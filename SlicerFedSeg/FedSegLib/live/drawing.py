"""Strokes and outlines as voxels, and voxels as they travel; numpy only.

Arrays are [k, j, i] as everywhere in the library; what travels is in C order of [i, j, k].
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PromptOutside
from ..grid import Array
from ..grid import Box as Slices
from ..language import tr as _
from ..protocol import Ijk

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Drawn:
    """Some voxels within a box.

    Attributes:
        box: where they lie.
        bits: base64 of ``numpy.packbits`` over the C order of [i, j, k].
    """

    box: Box
    bits: str

    def as_json(self) -> dict[str, object]:
        """As the protocol has it."""
        return {"box": list(self.box), "bits": self.bits}


def slices_of(box: Box) -> Slices:
    """The box as slices of an array [k, j, i]."""
    i0, j0, k0, i1, j1, k1 = box
    return slice(k0, k1 + 1), slice(j0, j1 + 1), slice(i0, i1 + 1)


def box_of(slices: Slices) -> Box:
    """The inverse of :func:`slices_of`."""
    k, j, i = slices
    return i.start, j.start, k.start, i.stop - 1, j.stop - 1, k.stop - 1


def drawn(mask: Array, within: Slices) -> Drawn:
    """The part of a boolean array [k, j, i] that lies in a box, ready to travel."""
    packed = np.packbits(np.ascontiguousarray(mask[within].transpose(2, 1, 0)))
    return Drawn(box_of(within), base64.b64encode(packed.tobytes()).decode("ascii"))


def fill_outline(corners: Sequence[Sequence[float]], axis: int, shape: Ijk) -> Array:
    """Voxels whose centre lies inside a closed outline on one slice (even-odd rule).

    Args:
        corners: at least three continuous voxel positions (i, j, k); the slice is their mean along ``axis``.
        axis: 0 = i, 1 = j, 2 = k: the slice is across it.
        shape: of the image, (i, j, k).

    Returns:
        Boolean array [k, j, i].

    Raises:
        PromptOutside: fewer than three corners, or no voxel of the image inside.
    """
    points = np.asarray(corners, dtype=float).reshape(-1, 3)
    index = int(np.floor(points[:, axis].mean() + 0.5)) if len(points) else -1
    if len(points) < 3 or not 0 <= index < shape[axis]:
        raise PromptOutside(
            _("The outline encloses nothing of the image."), _("Click at least three points around it.")
        )
    across, along = (other for other in range(3) if other != axis)
    inside = _inside(points[:, [across, along]], (shape[across], shape[along]))
    volume = np.zeros(shape, bool)
    volume[tuple(index if place == axis else slice(None) for place in range(3))] = inside
    if not inside.any():
        raise PromptOutside(_("The outline encloses no voxel."), _("Draw it larger, over the image."))
    return volume.transpose(2, 1, 0)


def _inside(outline: Array, size: tuple[int, int]) -> Array:
    """Even-odd filling of an outline [n, 2] over the centres of a grid."""
    rows, columns = np.indices(size, dtype=float)
    odd = np.zeros(size, bool)
    for (r0, c0), (r1, c1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if c0 == c1:
            continue
        crosses = (columns >= min(c0, c1)) & (columns < max(c0, c1))
        odd ^= crosses & (rows < r0 + (columns - c0) * (r1 - r0) / (c1 - c0))
    return odd
