"""Averaging LoRA pairs exactly: average the products, then factor back to rank r.

mean(B) @ mean(A) is not mean(B @ A), so averaging the factors is inexact. Here the weighted mean of
the products is factored by a truncated SVD (Eckart-Young: the best rank-r fit in Frobenius norm).
The product is never formed: it has rank <= K r, so two thin QR decompositions reduce the SVD to a
(K r x K r) core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LORA_A", "LORA_B", "average_products", "pairs"]

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
    rank = factors[0][0].shape[0]
    for a, b in factors:
        if a.shape != factors[0][0].shape or b.shape != factors[0][1].shape or b.shape[1] != rank:
            raise ValueError(f"LoRA shapes differ: A {a.shape}, B {b.shape}")
    left = np.concatenate([w * b.astype(np.float64) for (_, b), w in zip(factors, weights, strict=True)], axis=1)
    right = np.concatenate([a.astype(np.float64) for a, _ in factors], axis=0)
    q_left, r_left = np.linalg.qr(left)
    q_right, r_right = np.linalg.qr(right.T)
    u, s, vt = np.linalg.svd(r_left @ r_right.T, full_matrices=False)
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    full_u, full_v = q_left @ u, vt @ q_right.T
    sign = np.sign(full_u[np.abs(full_u).argmax(axis=0), np.arange(full_u.shape[1])])
    sign[sign == 0] = 1.0
    root = np.sqrt(s)
    new_b = np.zeros((left.shape[0], rank))
    new_a = np.zeros((rank, right.shape[1]))
    new_b[:, : len(s)] = full_u * (sign * root)
    new_a[: len(s)] = full_v * (sign * root)[:, None]
    return new_a.astype(np.float32), new_b.astype(np.float32)
