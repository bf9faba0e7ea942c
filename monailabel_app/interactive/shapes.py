"""Masks between two masks: shape-based interpolation.

Raya and Udupa 1990 (IEEE TMI 9(1):32-42): the zero level of a weighted mean of signed distances.
The two masks are first moved onto a common centre, so that a structure that runs obliquely through
the slices is interpolated as one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["interpolate", "signed_distance"]

Mask = npt.NDArray[np.bool_]


def signed_distance(mask: Mask, spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Distance to the mask's edge in millimetres, positive inside."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    difference: npt.NDArray[np.float64] = inside - outside
    return difference


def interpolate(first: Mask, last: Mask, share: float, spacing: tuple[float, float] = (1.0, 1.0)) -> Mask:
    """The mask at ``share`` of the way from ``first`` (0) to ``last`` (1).

    Args:
        first: [rows, columns], not empty.
        last: the same shape, not empty.
        share: 0..1.
        spacing: millimetres between rows and between columns.
    """
    centres = [np.asarray(ndimage.center_of_mass(mask)) for mask in (first, last)]
    target = (1 - share) * centres[0] + share * centres[1]
    blended = np.zeros(first.shape)
    for mask, centre, weight in zip((first, last), centres, (1 - share, share), strict=True):
        moved = ndimage.shift(signed_distance(mask, spacing), target - centre, order=1, mode="nearest")
        blended += weight * moved
    result: Mask = blended > 0
    return result
