"""What the worker makes ready of images and masks, so that the GUI thread only has to show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .grid import Array, merge_labels, split_labels
from .protocol import LabelSchema
from .voxels import Voxels, parse_voxels, read_voxels

_LOOKED_AT = 1 << 18
_ENOUGH = 100


@dataclass(frozen=True)
class Image:
    """A volume to show, and the grey values shown black and white."""

    voxels: Voxels
    window: tuple[float, float]


def decode_image(path: Path) -> Image | None:
    """The image in a file; None when Slicer's own readers should look at it."""
    voxels = read_voxels(path)
    return Image(voxels, grey_window(voxels.array)) if voxels is not None else None


def grey_window(array: Array) -> tuple[float, float]:
    """The values shown black and white, from a sample of the voxels: the middle 99 % of what is not air.

    Black lies half way between air and that, so that dark tissue can be told from air.

    Args:
        array: [k, j, i].
    """
    flat = array.reshape(-1)
    some = flat[:: max(1, flat.size // _LOOKED_AT)]
    some = some[np.isfinite(some)]
    if not some.size:
        return 0.0, 1.0
    air = some.min()
    inside = some[some > air]
    low, high = (float(value) for value in np.percentile(inside if inside.size > _ENOUGH else some, (0.5, 99.5)))
    low = (low + float(air)) / 2.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def decode_mask(content: bytes, suffix: str, label_names: Mapping[str, int], schema: LabelSchema) -> Voxels | None:
    """A mask from the site as the schema's label values; None when Slicer's own readers should look at it.

    Raises:
        LabelMismatch: names outside the schema, or voxel values without a name.
    """
    voxels = parse_voxels(content, suffix)
    if voxels is None or voxels.array.dtype.kind not in "iu":
        return None
    masks = split_labels(voxels.array, label_names, schema)
    return Voxels(merge_labels(masks, schema, allow_empty=True), voxels.grid)
