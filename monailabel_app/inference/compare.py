"""Two versions on one case: where their masks differ, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monailabel_app.imaging.volume import Volume
from monailabel_app.labels import of_values
from monailabel_app.learning.evaluate import measure_mask
from monailabel_app.models.base import Case, Labelmap

__all__ = ["ONLY_ONE", "ONLY_TWO", "OTHERWISE", "compare", "difference"]

ONLY_ONE, ONLY_TWO, OTHERWISE = 1, 2, 3
"""Values of a difference mask: foreground only in the first, only in the second, other labels in both."""


def difference(one: Labelmap, two: Labelmap) -> Labelmap:
    """[i, j, k] with 0 where both agree, else one of the three values above."""
    found = np.zeros(one.shape, np.uint8)
    found[(one > 0) & (two == 0)] = ONLY_ONE
    found[(one == 0) & (two > 0)] = ONLY_TWO
    found[(one > 0) & (two > 0) & (one != two)] = OTHERWISE
    return found


def compare(
    one: Labelmap, two: Labelmap, truth: Case | None, volume: Volume, labels: Mapping[str, int]
) -> dict[str, Any]:
    """Figures of two masks of one image.

    Args:
        one: [i, j, k] of the image's grid.
        two: likewise.
        truth: the newest correction of the case, if it has one.
        volume: the image.
        labels: label name -> voxel value.

    Returns:
        ``agreement`` (label -> Dice between the two), ``voxels`` (label -> of each),
        ``changed_voxels``, and with a correction ``dice`` (annotated label -> of each).
    """
    between = measure_mask(one, two, volume, labels)
    found: dict[str, Any] = {
        "agreement": between.dice,
        "voxels": {
            name: {"one": int((one == value).sum()), "two": int((two == value).sum())} for name, value in labels.items()
        },
        "changed_voxels": int((one != two).sum()),
    }
    if truth is not None:
        annotated = of_values(labels, truth.annotated)
        first, second = (measure_mask(mask, truth.labels, volume, annotated).dice for mask in (one, two))
        found["dice"] = {name: {"one": first[name], "two": second[name]} for name in annotated}
    return found
