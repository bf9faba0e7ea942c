"""What needs no learning: Dice, and the best global threshold that the learned masks are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["dice", "scaled", "threshold_baseline"]


def dice(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Volumetric Dice 2|a∩b| / (|a|+|b|) of two masks (non-zero is foreground); two empty masks agree: 1.

    Raises:
        ValueError: the shapes differ.
    """
    first, second = np.asarray(a) != 0, np.asarray(b) != 0
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape} cannot be compared")
    size = int(first.sum()) + int(second.sum())
    return 1.0 if size == 0 else 2.0 * int((first & second).sum()) / size


def scaled(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Intensities relative to the 99.5th percentile of the volume's non-zero voxels, clipped to 0..1.

    So one threshold means the same on every scanner.
    """
    values = np.asarray(image, dtype=np.float64)
    foreground = values[values > 0]
    top = float(np.percentile(foreground, 99.5)) if foreground.size else 1.0
    return np.clip(values / (top or 1.0), 0.0, 1.0)


def threshold_baseline(
    training: Sequence[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]],
    test: Sequence[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]],
    steps: int = 60,
) -> tuple[float, float]:
    """The best single intensity threshold of the training cases, judged on the test cases.

    Args:
        training: (image, label) pairs to choose the threshold on.
        test: (image, label) pairs to report on.
        steps: how many thresholds between 0 and 1 are tried.

    Returns:
        (threshold relative to the volume's bright end, mean Dice on ``test``).

    Raises:
        ValueError: no training or no test case.
    """
    if not training or not test:
        raise ValueError("a threshold needs at least one training and one test case")
    candidates = np.linspace(0.0, 1.0, steps, endpoint=False)
    scores = np.zeros(steps)
    for image, label in training:
        values = scaled(image)
        scores += [dice(values > candidate, label) for candidate in candidates]
    best = float(candidates[int(scores.argmax())])
    return best, float(np.mean([dice(scaled(image) > best, label) for image, label in test]))
