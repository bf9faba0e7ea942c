"""Voxel grids and masks as numpy, without Slicer: do two grids agree, what changed, what was marked.

Arrays are [k, j, i] (as Slicer gives them, i fastest); affines are 4x4 voxel (i, j, k) to RAS millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import EmptyMask, GeometryMismatch, LabelMismatch
from .language import tr as _
from .protocol import Ijk, LabelSchema

Array = npt.NDArray[Any]
Box = tuple[slice, slice, slice]

TOLERANCE = 0.01
"""Largest distance between corresponding corners, in voxels: file formats round coordinates to single precision."""


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: ``shape`` (i, j, k) and ``affine`` (4x4, mm, RAS)."""

    shape: Ijk
    affine: Array

    @property
    def millilitres(self) -> float:
        """Volume of one voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def check_same(self, other: Grid, what: str, *, positions: bool = True) -> None:
        """Raise GeometryMismatch unless ``other`` has the same voxels.

        Args:
            what: what ``other`` is, for the message.
            positions: False to compare shapes only (kinds of image without positions).
        """
        if other.shape != self.shape:
            raise GeometryMismatch(
                _("{what} has {shape} voxels; the image has {image}. Nothing was changed.").format(
                    what=what, shape=_by(other.shape), image=_by(self.shape)
                ),
                _("The image at the site may have been replaced. Open the case again."),
            )
        distance = self._corner_distance(other) if positions else 0.0
        if distance > TOLERANCE:
            raise GeometryMismatch(
                _("{what} lies {distance:.2f} voxels away from the image. Nothing was changed.").format(
                    what=what, distance=distance
                ),
                _("The image at the site may have been replaced. Open the case again."),
            )

    def _corner_distance(self, other: Grid) -> float:
        """Largest distance of corresponding corners, in units of the smallest spacing."""
        ends = [(0, n - 1) for n in self.shape]
        corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]], dtype=float).T
        offset = (self.affine @ corners - other.affine @ corners)[:3]
        spacing = float(np.linalg.norm(self.affine[:3, :3], axis=0).min())
        return float(np.linalg.norm(offset, axis=0).max()) / spacing if spacing > 0 else float("inf")

    def holds(self, ijk: Ijk) -> bool:
        """True when the voxel lies in the image."""
        return all(0 <= position < size for position, size in zip(ijk, self.shape, strict=True))


def _by(shape: Ijk) -> str:
    return "×".join(str(n) for n in shape)


def changed_box(old: Array, new: Array) -> Box | None:
    """Smallest box that holds every voxel in which two masks of one shape differ; None when they are equal."""
    return true_box(old != new)


def true_box(mask: Array) -> Box | None:
    """Smallest box that holds every true voxel of [k, j, i]; None without any."""
    k = _span(mask.reshape(len(mask), -1).any(axis=1))  # whole slices first: quick, and the rest is smaller
    if k is None:
        return None
    flat = mask[k].any(axis=0)
    j, i = _span(flat.any(axis=1)), _span(flat.any(axis=0))
    return (k, j, i) if j is not None and i is not None else None


def _span(found: Array) -> slice | None:
    places = np.flatnonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else None


def dice(one: Array, two: Array) -> float:
    """Dice coefficient of two boolean masks, 0..1; 1 where both are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(two))
    return 2.0 * int(np.count_nonzero(one & two)) / total if total else 1.0


def split_labels(labels: Array, label_names: Mapping[str, int], schema: LabelSchema) -> dict[str, Array]:
    """A labelmap as one boolean mask per structure of the schema.

    Args:
        labels: whole numbers, 0 for background.
        label_names: voxel value of every structure in ``labels``.

    Raises:
        LabelMismatch: names outside the schema, or voxel values without a name.
    """
    foreign = sorted(set(label_names) - set(schema.names))
    if foreign:
        raise LabelMismatch(
            _("The mask holds {foreign}, which the site's schema ({names}) does not.").format(
                foreign=_listed(foreign), names=_listed(schema.names)
            ),
            _("The site's labels may have changed. Connect again."),
        )
    none = -1
    masks = {name: labels == label_names.get(name, none) for name in schema.names}
    named = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    if named != int(np.count_nonzero(labels)):  # sorting all voxels to list the values takes long: for the message only
        unnamed = sorted({int(v) for v in np.unique(labels)} - {0} - set(label_names.values()))
        raise LabelMismatch(
            _("The mask holds the values {unnamed}, which have no name.").format(unnamed=unnamed),
            _("Tell the person who runs the site."),
        )
    return masks


def merge_labels(masks: Mapping[str, Array], schema: LabelSchema, *, allow_empty: bool = False) -> Array:
    """One mask per structure as a labelmap with the schema's values.

    Args:
        masks: boolean arrays of one shape, by structure; structures may be missing.
        allow_empty: True when the person said that there is nothing to mark.

    Raises:
        EmptyMask: no voxel in any structure.
        LabelMismatch: two structures hold the same voxels.
    """
    known = {name: mask for name, mask in masks.items() if schema.find(name) is not None}
    if not allow_empty and not any(mask.any() for mask in known.values()):
        raise EmptyMask(
            _("No voxel is marked as {names}.").format(names=_(" or ").join(schema.names)),
            _("If there is nothing to mark in this case, tick 'Nothing to mark' and submit again."),
        )
    shape = next(iter(masks.values())).shape
    largest = max(schema.values().values())
    merged = np.zeros(shape, np.uint8 if largest < 256 else np.uint16)
    for label in schema.labels:
        mask = known.get(label.name)
        if mask is None:
            continue
        taken = merged[mask].astype(np.int64)
        if taken.any():
            other = next(item.name for item in schema.labels if item.value == int(taken[taken > 0][0]))
            raise LabelMismatch(
                _("'{other}' and '{name}' share {count} voxels.").format(
                    other=other, name=label.name, count=int(np.count_nonzero(taken))
                ),
                _("In the Segment Editor set 'Modify other segments' to 'Overwrite all' and paint over them."),
            )
        merged[mask] = label.value
    return merged


def _listed(names: object) -> str:
    return ", ".join(f"'{name}'" for name in names) if isinstance(names, list | tuple) else str(names)
