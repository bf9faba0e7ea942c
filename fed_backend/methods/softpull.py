"""SoftPull (FedSM, arXiv 2203.10144): personal models, each pulled softly towards the others.

w_k <- lambda w_k + (1 - lambda) / (K - 1) sum_{j != k} w_j

The mean over the sites is preserved, and deviations from it shrink by (lambda K - 1) / (K - 1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["softpull_rows"]


def softpull_rows(count: int, own: float) -> npt.NDArray[np.float64]:
    """Weights of SoftPull.

    Args:
        count: K, the sites of this round.
        own: lambda, in 0..1; 1 leaves every model alone, 1/K gives all the plain mean.

    Returns:
        [K, K], rows and columns sum to 1; one site alone keeps its model.

    Raises:
        ValueError: no site, or ``own`` outside 0..1.
    """
    if count < 1 or not 0 <= own <= 1:
        raise ValueError(f"SoftPull of {count} sites with lambda = {own}")
    if count == 1:
        return np.ones((1, 1))
    rows = np.full((count, count), (1 - own) / (count - 1))
    np.fill_diagonal(rows, own)
    return rows
