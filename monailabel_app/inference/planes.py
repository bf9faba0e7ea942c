"""An image as slices along any of its three axes, each as the network sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monailabel_app.errors import SiteError
from monailabel_app.imaging.intensity import Window
from monailabel_app.imaging.orient import Stack, stack_along
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.slices import Fit

__all__ = ["AXES", "Plane", "axis_names", "axis_of"]

AXES = ("i", "j", "k")
_WORLD = ("sagittal", "coronal", "axial")
"""What slices across the axes nearest to Right, Anterior and Superior are called."""


def axis_names(volume: Volume) -> dict[str, int]:
    """``sagittal``, ``coronal`` and ``axial`` -> the volume axis (0 = i, 1 = j, 2 = k) they are taken across.

    An oblique volume's axes are named after the anatomical axis that each is nearest to.
    """
    orientation = nib.orientations.io_orientation(volume.affine)
    return {_WORLD[int(world)]: axis for axis, world in enumerate(orientation[:, 0])}


def axis_of(volume: Volume, name: str | int) -> int:
    """The volume axis that a name (``i`` ``j`` ``k``, or an anatomical plane) or number means.

    Raises:
        SiteError: no such axis, or a 2D image has no slices across it.
    """
    names = {**axis_names(volume), **{letter: axis for axis, letter in enumerate(AXES)}}
    axis = name if isinstance(name, int) else names.get(name.lower(), -1)
    if axis not in (0, 1, 2):
        raise SiteError(
            f"there is no axis {name!r}",
            "send i, j or k (the axis that the slice is across), or axial, coronal, sagittal",
        )
    if volume.is_2d and axis != 2:
        raise SiteError(f"a 2D image has one slice, across k; axis {AXES[axis]!r} has none", "send axis k")
    return axis


@dataclass(frozen=True)
class Plane:
    """All slices across one axis of one volume.

    Attributes:
        axis: the volume axis (0 = i, 1 = j, 2 = k) that slices are across.
        stack: voxels in slice order, each slice upright.
        fit: where a slice lies on the network's square.
    """

    axis: int
    stack: Stack
    fit: Fit

    @classmethod
    def of(cls, volume: Volume, axis: int, size: int) -> Plane:
        """Slices across volume axis ``axis`` for a network with a square of ``size`` pixels."""
        world = int(nib.orientations.io_orientation(volume.affine)[axis, 0])
        stack = stack_along(volume, world)
        return cls(axis, stack, Fit.of(stack.shape[1:], stack.spacing[1:], size, centred=False))

    def __len__(self) -> int:
        return self.stack.shape[0]

    def slice_of(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """(voxel index along the axis, row, column) of a voxel.

        Raises:
            GeometryError: it lies outside the volume.
        """
        _, row, column = self.stack.locate(voxel)
        return voxel[self.axis], row, column

    def places(self, voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[n, 3] voxels inside the volume -> [n, 3] (voxel index along the axis, row, column)."""
        columns = [voxels[:, self.axis]]
        for d in (1, 2):
            values = voxels[:, self.stack.axes[d]]
            columns.append(self.stack.shape[d] - 1 - values if self.stack.flips[d] else values)
        return np.stack(columns, axis=1)

    def upright(self, array: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
        """Slice ``index`` (along the volume axis) of [i, j, k, ...] as [row, column, ...], a view."""
        shown: npt.NDArray[Any] = self.stack.apply(array)[self._position(index)]
        return shown

    def image(self, volume: Volume, window: Window, index: int) -> Tensor:
        """Slice ``index`` as [1, 3, size, size] float32, 0..1; grey is repeated."""
        unit = window.unit(np.ascontiguousarray(self.upright(volume.array, index)))
        batch = torch.from_numpy(unit)
        batch = batch.permute(2, 0, 1)[None] if batch.ndim == 3 else batch[None, None]
        return self.fit.shrink(batch).expand(-1, 3, -1, -1)

    def _position(self, index: int) -> int:
        return len(self) - 1 - index if self.stack.flips[0] else index
