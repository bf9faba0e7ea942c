"""Slices as an annotator sees them: which way they are cut, which is worst, where to click, how to show them."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes

from fed_backend.demo.baseline import dice, scaled
from fed_backend.demo.results import Overlay

__all__ = ["inner_voxel", "make_overlay", "prompts_for", "slice_axis", "take", "worst_slice"]

Volume = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]


def slice_axis(shape: Sequence[int], affine: npt.NDArray[np.float64]) -> int:
    """Array axis across which slices are cut: the largest spacing; of isotropic volumes the shortest axis."""
    spacing = np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(axis=0))
    if spacing.max() > 1.05 * spacing.min():
        return int(spacing.argmax())
    return int(np.argmin(shape[:3]))


def take(volume: npt.NDArray[np.generic], axis: int, index: int) -> npt.NDArray[np.generic]:
    """One slice, [row, column] in storage order of the two other axes."""
    return np.asarray(np.take(volume, index, axis=axis))


def worst_slice(mask: Volume, truth: Volume, axis: int) -> tuple[int, int]:
    """The slice with the most wrong voxels among those that hold some of the truth.

    Slices without truth are left out because there is nothing on them to point at.

    Returns:
        (index along ``axis``, wrong voxels on it); of an empty truth the slice with most wrong voxels.
    """
    others = tuple(a for a in range(3) if a != axis)
    wrong = ((mask != 0) ^ (truth != 0)).sum(axis=others).astype(np.int64)
    present = (truth != 0).any(axis=others)
    index = int(np.where(present, wrong, -1).argmax()) if present.any() else int(wrong.argmax())
    return index, int(wrong[index])


def inner_voxel(mask: Mask) -> tuple[int, int] | None:
    """A pixel deep inside a 2D mask (the last to go when it is eroded), ``None`` if it is empty."""
    if not mask.any():
        return None
    left = mask
    while True:
        padded = np.pad(left, 1)
        eroded = left & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        if not eroded.any():
            break
        left = eroded
    rows, columns = np.nonzero(left)
    middle = len(rows) // 2
    return int(rows[middle]), int(columns[middle])


def prompts_for(mask: Volume, truth: Volume, axis: int, index: int, margin: int = 2) -> dict[str, object]:
    """Prompts that an annotator would give on one slice, in voxel indices of the stored volume.

    A box around the structure, a click inside what is missing (or inside the structure when nothing is),
    and a click away from it inside what is too much.

    Args:
        mask: automatic mask, [i, j, k].
        truth: true mask, [i, j, k], with foreground on the slice.
        axis: axis across which slices are cut.
        index: the slice.
        margin: voxels that the box is wider than the structure.
    """
    shown, wanted = take(mask, axis, index) != 0, take(truth, axis, index) != 0
    rows, columns = (np.nonzero(wanted.any(axis=a))[0] for a in (1, 0))
    low = [max(0, int(values.min()) - margin) for values in (rows, columns)]
    high = [min(n - 1, int(values.max()) + margin) for n, values in zip(wanted.shape, (rows, columns), strict=True)]

    def voxel(point: Sequence[int]) -> list[int]:
        return [*point[:axis], index, *point[axis:]]

    missing, excess = inner_voxel(wanted & ~shown), inner_voxel(shown & ~wanted)
    inside = missing or inner_voxel(wanted)
    return {
        "foreground": [voxel(inside)] if inside else [],
        "background": [voxel(excess)] if excess else [],
        "box": [*voxel(low), *voxel(high)],
    }


def _for_display(volume: Volume, affine: npt.NDArray[np.float64], axis: int, index: int) -> Volume:
    """One slice as radiologists look at it: front (or head) up, the patient's left on the right."""
    orientation = nib.io_orientation(affine)
    turned = nib.apply_orientation(np.asarray(volume), orientation)
    to, sign = int(orientation[axis, 0]), orientation[axis, 1]
    plane = take(turned, to, index if sign > 0 else volume.shape[axis] - 1 - index)
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def make_overlay(
    site: str,
    case: str,
    kind: str,
    image: Volume,
    truth: Volume,
    masks: Sequence[tuple[str, Volume]],
    affine: npt.NDArray[np.float64],
    index: int,
) -> Overlay:
    """Pictures of one slice; volumes are [i, j, k] on one grid, ``index`` counts along :func:`slice_axis`."""
    axis = slice_axis(image.shape, affine)
    shown = _for_display(scaled(image), affine, axis, index).astype(np.float64)
    true = np.asarray(_for_display(truth, affine, axis, index) != 0)
    planes = [(title, np.asarray(_for_display(mask, affine, axis, index) != 0)) for title, mask in masks]
    spacing = voxel_sizes(affine)
    to_canonical = nib.io_orientation(affine)[:, 0].astype(int)
    kept = [spacing[a] for a in np.argsort(to_canonical) if a != axis]
    return Overlay(
        site=site,
        case=case,
        kind=kind,
        image=shown,
        aspect=float(kept[1] / kept[0]),
        truth=true,
        masks=tuple((title, plane, dice(plane, true)) for title, plane in planes),
    )
