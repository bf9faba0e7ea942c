"""Whether a mask fits its image, and the same mask in its image's own voxel order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from monailabel_app.errors import GeometryError, LabelError
from monailabel_app.imaging.volume import Volume

__all__ = ["check_labels", "conform_mask"]

TOLERANCE = 0.02
"""How far, in voxels, any corner of the two grids may lie apart: headers are rounded to float32."""


def conform_mask(mask: Volume, image: Volume) -> npt.NDArray[np.uint8]:
    """The mask's voxels in the image's own [i, j, k] order.

    The two must describe the same physical grid; axes may be stored in another order or
    direction. Of 2D images only the plane is compared: the thickness of a picture means nothing. A mask of
    1 mm pixels also fits a picture whose file says another size: PNG masks and the panel's keep none.

    Raises:
        GeometryError: another number of voxels, spacing, direction or position.
        LabelError: values that are no label (negative or above 255).
    """
    low, high = int(mask.array.min()), int(mask.array.max())
    if low < 0 or high > 255:
        raise LabelError(f"mask holds values from {low} to {high}", "label values lie between 0 and 255")
    to_image = np.linalg.inv(image.affine) @ _comparable(mask, image)
    turn = np.rint(to_image[:3, :3]).astype(int)
    hint = "save the mask on the grid of its image, without resampling, cropping or moving it"
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        raise GeometryError(_difference("has another direction or spacing than", mask, image), hint)
    axes = [int(np.flatnonzero(row)[0]) for row in turn]
    if tuple(mask.shape[a] for a in axes) != image.shape:
        raise GeometryError(f"mask has {mask.shape} voxels, its image {image.shape}", hint)
    exact = np.eye(4)
    exact[:3, :3] = turn
    exact[:3, 3] = [0 if turn[a].sum() > 0 else n - 1 for a, n in enumerate(image.shape)]
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    corners[:, :3] *= np.asarray(mask.shape) - 1
    apart = float(np.abs(corners @ (to_image - exact).T).max())
    if apart > TOLERANCE:
        raise GeometryError(_difference(f"lies {apart:.3g} voxels away from", mask, image), hint)
    turned = mask.array.transpose(axes)
    turned = turned[tuple(slice(None, None, int(turn[a].sum())) for a in range(3))]
    return np.ascontiguousarray(turned).astype(np.uint8)


def _comparable(mask: Volume, image: Volume) -> npt.NDArray[np.float64]:
    if not (mask.is_2d and image.is_2d):
        return mask.affine
    affine = mask.affine.copy()
    affine[:3, 2] = image.affine[:3, 2]
    if image.picture and np.allclose(mask.spacing[:2], 1.0):
        affine[:2] *= np.asarray(image.spacing[:2])[:, None]
    return affine


def _difference(what: str, mask: Volume, image: Volume) -> str:
    def spacing(volume: Volume) -> str:
        return " x ".join(f"{step:.4g}" for step in volume.spacing)

    return f"mask ({mask.shape} voxels of {spacing(mask)}) {what} its image ({image.shape} of {spacing(image)})"


def check_labels(labelmap: npt.NDArray[np.uint8], labels: Mapping[str, int]) -> None:
    """Refuse a mask with values outside the schema.

    Raises:
        LabelError: naming the foreign values and the known labels.
    """
    counts = np.bincount(np.asarray(labelmap, dtype=np.uint8).ravel(), minlength=256)
    foreign = sorted(set(np.flatnonzero(counts).tolist()) - {0} - set(labels.values()))
    if foreign:
        known = ", ".join(f"{name} = {value}" for name, value in labels.items())
        raise LabelError(
            f"mask holds value{'s' if len(foreign) > 1 else ''} {', '.join(map(str, foreign[:8]))}"
            f"{' and more' if len(foreign) > 8 else ''}, which no label has",
            f"the labels of this site are {known}, and 0 for background",
        )
