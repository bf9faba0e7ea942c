"""FedSM's routing (arXiv 2203.10144): which model answers for an image, and how sure the selector is.

The paper: s = softmax(selector(x)); i = argmax s; the personal model of site i answers if s_i > gamma, else
the global one, which an image from outside every site should get. A site of ours holds its own personal
model only, so that one answers if the own site's share is above gamma: the same for every gamma >= 1/2,
and below that a site whose images resemble another's can still have the model that its validation cases
speak for. numpy only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Route", "calibrate_gamma", "probabilities", "route"]


@dataclass(frozen=True)
class Route:
    """Who answers.

    Attributes:
        personal: whether the site's own personal model does, instead of the global one.
        confidence: share of the likeliest site, 0..1.
        likeliest: that site's class.
    """

    personal: bool
    confidence: float
    likeliest: int


def probabilities(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Softmax of every slice, then the mean over the slices of a volume.

    Args:
        logits: [slices, sites].

    Returns:
        [sites], sums to 1.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"selector logits have shape {values.shape}: need [slices, sites]")
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    mean: npt.NDArray[np.float64] = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    return mean


def route(shares: npt.NDArray[np.float64], own: int, gamma: float) -> Route:
    """Apply the rule; the first of equally likely sites is named.

    Args:
        shares: [sites], from :func:`probabilities`.
        own: the class of the site that asks.
        gamma: threshold in 0..1; 1 always chooses the global model.

    Raises:
        ValueError: the shares are not finite, or have none of this class.
    """
    if shares.ndim != 1 or not 0 <= own < len(shares) or not np.isfinite(shares).all():
        raise ValueError(f"selector gives shares of shape {shares.shape}: need finite ones, with class {own}")
    best = int(shares.argmax())
    return Route(bool(shares[own] > gamma), float(shares[best]), best)


def calibrate_gamma(shares: Sequence[float], gains: Sequence[float], sites: int, default: float = 0.9) -> float:
    """The threshold with the highest mean Dice on validation cases.

    Whole intervals of thresholds are equally good on so few cases. Of the best one the middle is taken, far from the
    shares of the cases on either side: an image of the same kind of which the selector is a little less sure should
    not fall to the other model. No threshold lies below 1/sites, where the selector would know less than nothing.

    Args:
        shares: the own site's share of each case.
        gains: Dice of the site's personal model, less that of the global model, on that case.
        sites: number of the selector's classes.
        default: the answer without any case; among equally good intervals the one that holds it is taken.

    Returns:
        gamma; 1.0 where the global model should always answer.
    """
    if len(shares) != len(gains):
        raise ValueError(f"{len(shares)} shares and {len(gains)} gains")
    if not shares:
        return default
    sure, gain = np.asarray(shares, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    floor = 1 / sites if sites > 1 else 0.0
    cuts = sorted({floor, *sure[sure > floor].tolist()})
    intervals = [*itertools.pairwise(cuts), (cuts[-1], 1.0)]

    def merit(interval: tuple[float, float]) -> tuple[float, bool, float]:
        low, high = interval
        return float(gain[sure > low].sum()), low <= default < high, low

    low, high = max(intervals, key=merit)
    return 1.0 if low == cuts[-1] else (low + high) / 2
