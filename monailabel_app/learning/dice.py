"""The Dice coefficient, with one written rule for empty masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["dice"]


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Volumetric Dice ``2 |a and b| / (|a| + |b|)`` of two masks of one shape; both empty = 1.

    Example:
        >>> dice(np.array([True, True]), np.array([True, False]))
        0.6666666666666666

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"masks of shapes {a.shape} and {b.shape}")
    a, b = a.astype(bool), b.astype(bool)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
