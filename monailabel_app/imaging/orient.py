"""From a volume's own voxel order to a stack of upright slices, and exactly back.

Only permutations and flips are used, never resampling, so the way back is exact for every
orientation: oblique and sheared volumes are taken to the nearest anatomical axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from monailabel_app.errors import GeometryError
from monailabel_app.imaging.volume import Array, Volume

__all__ = ["Stack", "canonical", "slice_axis", "stack_along", "stack_of"]

ISOTROPIC = 1.05
"""Spacings whose ratio is below this count as equal."""


@dataclass(frozen=True)
class Stack:
    """A permutation and flips: axis d of the stack is axis ``axes[d]`` of the volume.

    Attributes:
        axes: volume axes in the order of the stack.
        flips: whether each stack axis runs against its volume axis.
        shape: voxels along the stack's axes.
        spacing: step along the stack's axes, in millimetres.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def apply(self, array: Array) -> Array:
        """[i, j, k, ...] -> [a, b, c, ...]; a view where numpy can give one."""
        rest = tuple(range(3, array.ndim))
        turned = array.transpose(*self.axes, *rest)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def restore(self, array: Array) -> Array:
        """[a, b, c, ...] -> [i, j, k, ...]: the inverse of :meth:`apply`."""
        turned = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        back = np.argsort(self.axes)
        return np.ascontiguousarray(turned.transpose(*back, *range(3, array.ndim)))

    def locate(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """Where the volume's voxel (i, j, k) lies in the stack.

        Raises:
            GeometryError: the voxel lies outside the volume.
        """
        inverse = np.argsort(self.axes)
        shape = tuple(self.shape[d] for d in inverse)
        if len(voxel) != 3 or any(not 0 <= v < n for v, n in zip(voxel, shape, strict=True)):
            raise GeometryError(
                f"voxel {tuple(voxel)} lies outside the image of {shape[0]} x {shape[1]} x {shape[2]} voxels",
                "prompts are voxel indices (i, j, k) of the original image, counted from 0",
            )
        a, b, c = (
            self.shape[d] - 1 - voxel[axis] if flip else voxel[axis]
            for d, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True))
        )
        return a, b, c


def canonical(volume: Volume) -> Stack:
    """Axes towards Right, Anterior and Superior, as near as permutation and flips allow."""
    return _ordered(volume, (0, 1, 2), (False, False, False))


def slice_axis(volume: Volume) -> int:
    """The canonical axis (0 = R, 1 = A, 2 = S) across which slices are taken.

    The thickest axis; where the spacing is isotropic, the one whose length differs most from the
    other two (an image stack that lost its spacing), and the superior axis where none does. A 2D
    image is its own slice.
    """
    stack = canonical(volume)
    if volume.is_2d:
        return stack.axes.index(2)
    if stack.shape.count(1) == 1:
        return stack.shape.index(1)
    spacing = np.asarray(stack.spacing)
    if spacing.max() > ISOTROPIC * spacing.min():
        # several thick axes: the last one, so that in-plane axes stay together
        return int(np.flatnonzero(spacing > spacing.max() / ISOTROPIC)[-1])
    odd = np.abs(np.log(np.asarray(stack.shape) / np.median(stack.shape)))
    return int(np.flatnonzero(odd == odd.max())[-1])


def stack_of(volume: Volume) -> Stack:
    """The volume as [slice, row, column], each slice upright in radiological view.

    Rows run from anterior or superior downwards, columns from the patient's right (or anterior)
    side, so a photograph stored as PNG comes out as it is looked at.
    """
    return stack_along(volume, slice_axis(volume))


def stack_along(volume: Volume, axis: int) -> Stack:
    """As :func:`stack_of`, across the canonical axis ``axis`` (0 = R, 1 = A, 2 = S)."""
    columns, rows = (d for d in range(3) if d != axis)
    return _ordered(volume, (axis, rows, columns), (False, True, True))


def _ordered(volume: Volume, order: tuple[int, int, int], reverse: tuple[bool, bool, bool]) -> Stack:
    orientation = nib.orientations.io_orientation(volume.affine)  # [volume axis] -> (world axis, sign)
    world = [int(axis) for axis in orientation[:, 0]]
    axes = [world.index(target) for target in order]
    flips = [bool((orientation[a, 1] < 0) != back) for a, back in zip(axes, reverse, strict=True)]
    shape, spacing = volume.shape, volume.spacing
    return Stack(
        axes=(axes[0], axes[1], axes[2]),
        flips=(flips[0], flips[1], flips[2]),
        shape=(shape[axes[0]], shape[axes[1]], shape[axes[2]]),
        spacing=(spacing[axes[0]], spacing[axes[1]], spacing[axes[2]]),
    )
