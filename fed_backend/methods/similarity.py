"""Similarity-guided aggregation (FedSCA, arXiv 2503.15390): who resembles whom, and how much to take.

All functions are pure, in float64, over sites in a fixed order. The paper names the idea; the
formulas are a choice of ours:

- d_k = vec(A_k - A^0), the difference from the shared start: raw tensors are all nearly parallel;
- s_kj = cos(d_k, d_j), smoothed over rounds by an exponential moving average;
- w_kj proportional to n_j exp(s_kj / tau), rows normalised, w_kk >= 1/K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fed_backend.lora import pairs
from fed_backend.payload import Tensors

__all__ = ["Memory", "cosines", "mixing_rows"]

Matrix = npt.NDArray[np.float64]


def cosines(adapters: Sequence[Tensors], start: Mapping[str, npt.NDArray[np.float32]], *, products: bool) -> Matrix:
    """Cosine similarity of the adapters' differences from the start.

    Args:
        adapters: K adapters with equal names and shapes.
        start: A^0 by name; must hold all tensors but LoRA pairs that are compared as products.
        products: compare B A of a LoRA pair instead of its factors, which are only determined up
            to a change of basis. The start of such a product is zero, as LoRA begins.

    Returns:
        [K, K], symmetric, in -1..1, ones on the diagonal. Two adapters that both equal the start
        are alike (1); one that does resembles no other (0).
    """
    gram = np.zeros((len(adapters), len(adapters)))
    paired: set[str] = set()
    if products:
        for a, b in pairs(list(adapters[0])):
            gram += _product_gram([t[a] for t in adapters], [t[b] for t in adapters])
            paired |= {a, b}
    for name in sorted(adapters[0].keys() - paired):
        differences = np.stack([t[name].astype(np.float64).ravel() for t in adapters])
        differences -= start[name].astype(np.float64).ravel()
        gram += differences @ differences.T
    norms = np.sqrt(np.diag(gram))
    still = norms == 0
    scale = np.where(still, 1.0, norms)
    cosine = np.clip(gram / np.outer(scale, scale), -1.0, 1.0)
    cosine[np.outer(still, still)] = 1.0
    upper = np.triu(cosine, 1)
    result: Matrix = upper + upper.T + np.eye(len(adapters))
    return result


def _product_gram(downs: Sequence[npt.NDArray[np.float32]], ups: Sequence[npt.NDArray[np.float32]]) -> Matrix:
    """<B_k A_k, B_j A_j> = sum of (B_k^T B_j) * (A_k A_j^T), without forming a product."""
    count, rank = len(downs), downs[0].shape[0]
    left = np.concatenate([b.astype(np.float64) for b in ups], axis=1)
    right = np.concatenate([a.astype(np.float64) for a in downs], axis=0)
    blocks = ((left.T @ left) * (right @ right.T)).reshape(count, rank, count, rank)
    gram: Matrix = blocks.sum(axis=(1, 3))
    return gram


def mixing_rows(similarity: Matrix, examples: Sequence[int], tau: float, *, floor: bool = True) -> Matrix:
    """How much of each site every site takes.

    Args:
        similarity: [K, K].
        examples: n_j of each site; all equal where nobody counted any.
        tau: temperature > 0; infinity weights by examples alone.
        floor: raise w_kk to 1/K where it is below, and shrink the rest of the row to fit. Without
            it a site with few examples may take next to nothing of its own.

    Returns:
        [K, K]; rows sum to 1.

    Raises:
        ValueError: ``tau`` is not positive.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}: it must be positive")
    count = len(examples)
    sizes = np.asarray(examples if any(examples) else [1] * count, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logits = similarity / tau + np.log(sizes)
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows /= rows.sum(axis=1, keepdims=True)
    own = np.diag(rows)
    if floor:
        short = own < 1 / count
        shrink = np.where(short, (1 - 1 / count) / np.where(short, 1 - own, 1.0), 1.0)
        rows = rows * shrink[:, None]
        np.fill_diagonal(rows, np.where(short, 1 / count, own))
    result: Matrix = rows
    return result


@dataclass(frozen=True)
class Memory:
    """Smoothed similarities of all sites ever seen.

    Attributes:
        sites: their names, sorted.
        matrix: [K, K]; NaN where two sites were never in one round. Values are rounded to
            float32, so that a stored memory equals a living one.
    """

    sites: tuple[str, ...]
    matrix: Matrix

    @classmethod
    def empty(cls) -> Memory:
        """Before the first round."""
        return cls((), np.zeros((0, 0)))

    def updated(self, sites: Sequence[str], fresh: Matrix, keep: float) -> Memory:
        """The memory after a round: ``s <- keep s + (1 - keep) fresh`` for the pairs in it.

        A pair that meets for the first time takes the fresh value. Pairs with an absent site keep
        theirs.
        """
        known = tuple(sorted({*self.sites, *sites}))
        matrix = np.full((len(known), len(known)), np.nan)
        old = [known.index(site) for site in self.sites]
        matrix[np.ix_(old, old)] = self.matrix
        now = np.ix_(*[[known.index(site) for site in sites]] * 2)
        before = np.where(np.isnan(matrix[now]), fresh, matrix[now])
        matrix[now] = (keep * before + (1 - keep) * fresh).astype(np.float32)
        return Memory(known, matrix)

    def among(self, sites: Sequence[str]) -> Matrix:
        """The part of the matrix for ``sites``, in their order."""
        index = [self.sites.index(site) for site in sites]
        part: Matrix = self.matrix[np.ix_(index, index)]
        return part
