"""Averaging LoRA pairs exactly: average the products, then factor back to rank r.

mean(B) @ mean(A) is not mean(B @ A), so averaging the factors is inexact. Here the weighted mean of
the products is factored by a truncated SVD (Eckart-Young: the best rank-r fit in Frobenius norm).
While K r is small the product is never formed: two thin QR decompositions reduce the SVD to a
(K r x K r) core. With many sites the factors would outgrow the product, which is then summed itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LORA_A", "LORA_B", "ProductSum", "average_products", "factors_of", "pairs"]

LORA_A = ".lora_A"
LORA_B = ".lora_B"

Matrix = npt.NDArray[Any]


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """The (A, B) names among ``names``, sorted; a lone half is not a pair."""
    known = set(names)
    return [
        (a, a.removesuffix(LORA_A) + LORA_B)
        for a in sorted(known)
        if a.endswith(LORA_A) and a.removesuffix(LORA_A) + LORA_B in known
    ]


def average_products(
    factors: Sequence[tuple[Matrix, Matrix]], weights: Sequence[float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Best rank-r factors of ``sum_k w_k B_k A_k``.

    Args:
        factors: one (A_k, B_k) per site; A_k has shape (r, in), B_k has shape (out, r).
        weights: one weight per site; they are used as they are.

    Returns:
        (A, B) of the same shapes. The singular values are split evenly over both factors and
        signs are fixed (largest entry of each left vector positive), so equal input gives equal
        bytes.

    Raises:
        ValueError: no factors, or shapes that do not match.
    """
    if not factors or len(factors) != len(weights):
        raise ValueError(f"{len(factors)} factor pairs and {len(weights)} weights")
    total = ProductSum()
    for (a, b), weight in zip(factors, weights, strict=True):
        total.add(a, b, weight)
    return total.factors()


class ProductSum:
    """``sum_k w_k B_k A_k``, one pair at a time.

    Factors are kept beside each other while that is smaller than the product; then the product is
    formed, and memory grows no further.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[Matrix, Matrix]] = []
        self._dense: Matrix | None = None

    def add(self, a: Matrix, b: Matrix, weight: float) -> None:
        """Add ``weight * B A``; a has shape (r, in), b has shape (out, r).

        Raises:
            ValueError: shapes that do not match those before.
        """
        first = self._pairs[0] if self._pairs else (a, b)
        if (a.shape, b.shape) != (first[0].shape, first[1].shape) or b.shape[1] != a.shape[0]:
            raise ValueError(f"LoRA shapes differ: A {a.shape}, B {b.shape}")
        wide = (a.astype(np.float64), weight * b.astype(np.float64))
        if self._dense is not None:
            self._dense += wide[1] @ wide[0]
            return
        self._pairs.append(wide)
        if len(self._pairs) * (a.size + b.size) > a.shape[1] * b.shape[0]:
            left, right = self._stacked()
            self._dense, self._pairs = left @ right, self._pairs[:1]

    def factors(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Best rank-r factors (A, B) of the sum; see :func:`average_products`.

        Raises:
            ValueError: nothing was added.
        """
        if not self._pairs:
            raise ValueError("0 factor pairs")
        rank = self._pairs[0][0].shape[0]
        if self._dense is not None:
            return factors_of(self._dense, rank)
        left, right = self._stacked()
        q_left, r_left = np.linalg.qr(left)
        q_right, r_right = np.linalg.qr(right.T)
        u, s, vt = np.linalg.svd(r_left @ r_right.T, full_matrices=False)
        return _split(q_left @ u[:, :rank], s[:rank], vt[:rank] @ q_right.T, rank)

    def _stacked(self) -> tuple[Matrix, Matrix]:
        return np.concatenate([b for _, b in self._pairs], axis=1), np.concatenate([a for a, _ in self._pairs], axis=0)


def factors_of(product: Matrix, rank: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Best factors (A, B) of a (out, in) matrix: A of shape (rank, in), B of shape (out, rank)."""
    u, s, vt = np.linalg.svd(product, full_matrices=False)
    return _split(u[:, :rank], s[:rank], vt[:rank], rank)


def _split(u: Matrix, s: Matrix, vt: Matrix, rank: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(A, B) from singular vectors: values on both sides alike, signs fixed, zeros up to ``rank``."""
    sign = np.sign(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])])
    sign[sign == 0] = 1.0
    root = np.sqrt(s)
    new_b = np.zeros((u.shape[0], rank))
    new_a = np.zeros((rank, vt.shape[1]))
    new_b[:, : len(s)] = u * (sign * root)
    new_a[: len(s)] = vt * (sign * root)[:, None]
    return new_a.astype(np.float32), new_b.astype(np.float32)
