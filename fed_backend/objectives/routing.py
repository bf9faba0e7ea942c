"""FedSM's routing (arXiv 2203.10144): which model answers for an image, and how sure the selector is.

s = softmax(selector(x)); i = argmax s; the personal model of site i answers if s_i > gamma, else the
global one, which an image from outside every site should get. numpy only.
"""

from __future__ import annotations

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
        site: whose personal model; ``None`` means the global model.
        confidence: s_i of the likeliest site, whether or not it answers; 0..1.
        likeliest: that site.
    """

    site: str | None
    confidence: float
    likeliest: str


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


def route(shares: npt.NDArray[np.float64], sites: Sequence[str], gamma: float) -> Route:
    """Apply the rule; the first of equally likely sites counts.

    Args:
        shares: [sites], from :func:`probabilities`.
        sites: names in the order of the selector's classes.
        gamma: threshold in 0..1; 1 always chooses the global model.

    Raises:
        ValueError: the shares are not one finite number per site.
    """
    if shares.shape != (len(sites),) or not len(sites) or not np.isfinite(shares).all():
        raise ValueError(f"selector gives {shares.shape} shares for {len(sites)} sites")
    best = int(shares.argmax())
    confidence = float(shares[best])
    return Route(sites[best] if confidence > gamma else None, confidence, sites[best])


def calibrate_gamma(confidences: Sequence[float], gains: Sequence[float], default: float = 0.9) -> float:
    """The threshold with the highest mean Dice on validation cases.

    Args:
        confidences: s_i of each case.
        gains: Dice of the personal model of site i, less that of the global model, on that case.
        default: the answer without any case, and wherever it is as good as the best.

    Returns:
        gamma; among equally good thresholds the highest, which trusts the global model more.
    """
    if len(confidences) != len(gains):
        raise ValueError(f"{len(confidences)} confidences and {len(gains)} gains")
    sure, gain = np.asarray(confidences, dtype=np.float64), np.asarray(gains, dtype=np.float64)

    def total(gamma: float) -> float:
        return float(gain[sure > gamma].sum())

    thresholds = [default, *sorted({0.0, 1.0, *sure.tolist()}, reverse=True)]
    best: float = max(thresholds, key=total)  # the first of equals wins
    return best
