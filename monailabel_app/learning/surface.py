"""Average distance between the outlines of two masks, in millimetres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["is_real", "surface_distance"]

Mask = npt.NDArray[np.bool_]


def is_real(spacing: tuple[float, float, float], is_2d: bool) -> bool:
    """Whether a voxel size can be trusted to be millimetres.

    1 x 1 x 1 is what programs write when they do not know; photographs have no millimetres.
    """
    return not is_2d and not np.allclose(spacing, 1.0)


def surface_distance(one: Mask, two: Mask, spacing: tuple[float, float, float]) -> float | None:
    """Average symmetric surface distance.

    Mean over the border voxels of either mask of the distance to the nearest border voxel of the other
    (ASSD; Heimann et al. 2009, IEEE TMI 28(8), section III).

    Args:
        one: [i, j, k].
        two: of the same shape.
        spacing: voxel size in millimetres along i, j, k.

    Returns:
        Millimetres; ``None`` where a mask is empty, so that there is no outline to compare.

    Raises:
        ValueError: the shapes differ.
    """
    if one.shape != two.shape:
        raise ValueError(f"masks of shapes {one.shape} and {two.shape}")
    if not (one.any() and two.any()):
        return None
    box = ndimage.find_objects((one | two).astype(np.uint8))[0]
    first, second = _border(one[box]), _border(two[box])
    to_second = ndimage.distance_transform_edt(~second, sampling=spacing)[first]
    to_first = ndimage.distance_transform_edt(~first, sampling=spacing)[second]
    return float((to_second.sum() + to_first.sum()) / (to_second.size + to_first.size))


def _border(mask: Mask) -> Mask:
    """Voxels of the mask with a face neighbour outside it; beyond the array is outside."""
    inner: Mask = ndimage.binary_erosion(mask)
    return mask & ~inner
