"""How sure a mean of paired differences is: an exact lower confidence bound from few cases.

Let d_1..d_n be the differences of n cases, drawn independently and symmetrically around mu. The 2^n - 1
means of their non-empty subsets are *typical values*: mu lies below the K-th smallest of them with
probability K / 2^n, whatever the spread and the shape (J. Hartigan, "Using subsample values as typical
values", JASA 64, 1969). Equivalently, the bound is the largest m for which the exact one-sided sign-flip
test refuses "mu <= m". Pure functions.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["fewest", "lower_bound"]

_EXACT_UP_TO = 12
_SUBSETS = 4095

Differences = npt.NDArray[np.float64]


def fewest(confidence: float) -> int:
    """Number of cases from which the exact bound exists: the smallest n with ``2^-n <= 1 - confidence``.

    Example:
        >>> fewest(0.9)
        4
    """
    return max(1, math.ceil(-math.log2(1 - confidence) - 1e-9))


def lower_bound(differences: Differences, confidence: float, spread: float) -> float:
    """Bound above which the true mean difference lies with the given confidence.

    From :func:`fewest` cases on it is exact (for more than 12 cases over 4095 random subsets, which keeps
    the level). Below, where no test can exist, it is the smaller of the worst difference and the bound
    for normal differences of standard deviation ``spread``.

    Args:
        differences: [n], n >= 1, finite.
        confidence: 0.5 <= confidence < 1.
        spread: assumed standard deviation between cases, > 0; used with fewer cases than a test needs.

    Raises:
        ValueError: no difference, or a value out of range.
    """
    if not (0.5 <= confidence < 1 and spread > 0):
        raise ValueError(f"confidence {confidence} must be in 0.5..1 and spread {spread} above 0")
    if differences.size == 0 or not np.isfinite(differences).all():
        raise ValueError("there must be at least one difference, all finite")
    count = differences.size
    if count < fewest(confidence):
        assumed = float(differences.mean()) - NormalDist().inv_cdf(confidence) * spread / math.sqrt(count)
        return min(float(differences.min()), assumed)
    subsets = _subsets(count)
    means = np.sort(subsets @ differences / subsets.sum(axis=1))
    place = math.floor((1 - confidence) * (len(means) + 1) + 1e-9)
    return float(means[place - 1])


@cache
def _subsets(count: int) -> Differences:
    """[subsets, count] of 0 and 1: all non-empty subsets, or 4095 drawn from a fixed seed."""
    if count <= _EXACT_UP_TO:
        numbers = np.arange(1, 2**count)
        chosen: Differences = (numbers[:, None] >> np.arange(count) & 1).astype(np.float64)
        return chosen
    drawn: Differences = np.random.default_rng(count).integers(0, 2, (_SUBSETS, count)).astype(np.float64)
    drawn[drawn.sum(axis=1) == 0, 0] = 1
    return drawn
