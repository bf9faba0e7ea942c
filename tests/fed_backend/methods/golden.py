"""The equations once more, written straight from the method page: loops, dense products, float64.

Nothing here uses the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def softpull(models: Sequence[np.ndarray], own: float) -> list[np.ndarray]:
    pulled = []
    for k in range(len(models)):
        others = sum(models[j].astype(np.float64) for j in range(len(models)) if j != k)
        pulled.append(own * models[k].astype(np.float64) + (1 - own) / (len(models) - 1) * others)
    return pulled


def mean(models: Sequence[np.ndarray], sizes: Sequence[float]) -> np.ndarray:
    total = np.zeros(models[0].shape)
    for model, size in zip(models, sizes, strict=True):
        total = total + size * model.astype(np.float64)
    return total / sum(sizes)


def best_rank(matrix: np.ndarray, rank: int) -> np.ndarray:
    u, s, vt = np.linalg.svd(matrix)
    return sum(s[i] * np.outer(u[:, i], vt[i]) for i in range(min(rank, len(s))))


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(x * y) / (math.sqrt(np.sum(x * x)) * math.sqrt(np.sum(y * y))))


def sgca(differences: Sequence[np.ndarray], sizes: Sequence[float], tau: float, floor: bool) -> np.ndarray:
    count = len(differences)
    rows = np.zeros((count, count))
    for k in range(count):
        for j in range(count):
            rows[k, j] = sizes[j] * math.exp(cosine(differences[k], differences[j]) / tau)
        rows[k] /= rows[k].sum()
        if floor and rows[k, k] < 1 / count:
            rest = rows[k].sum() - rows[k, k]
            for j in range(count):
                rows[k, j] = 1 / count if j == k else rows[k, j] / rest * (1 - 1 / count)
    return rows
