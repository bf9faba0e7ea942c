"""Smaller payloads: float16, and int8 differences with a scale per tensor and error feedback.

What int8 carries is the difference from the payload that training started from, which both ends
hold, in steps of ``scale = max|d| / 127``. What rounding loses is kept at the sender and added to
its next difference (error feedback: Seide et al. 2014; Karimireddy et al. 2019, arXiv 1901.09847), so
that the sum over rounds stays within half a step of the exact one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["dequantised", "quantised"]

Arrays = Mapping[str, npt.NDArray[Any]]
_STEPS = 127


def quantised(
    tensors: Arrays, start: Arrays, residual: Arrays
) -> tuple[dict[str, npt.NDArray[np.int8]], dict[str, float], dict[str, npt.NDArray[np.float32]]]:
    """Differences in whole steps.

    Args:
        tensors: what is to be sent, finite.
        start: where training started, by the same names.
        residual: what earlier rounds lost; names that are absent lost nothing.

    Returns:
        Steps in -127..127, the step of each tensor (0 where nothing changed), and what is lost now.
    """
    steps: dict[str, npt.NDArray[np.int8]] = {}
    scales: dict[str, float] = {}
    lost: dict[str, npt.NDArray[np.float32]] = {}
    for name in sorted(tensors):
        wanted = tensors[name].astype(np.float64) - start[name]
        if name in residual:
            wanted += residual[name]
        scale = float(np.abs(wanted).max(initial=0.0)) / _STEPS
        whole = np.rint(wanted / scale) if scale else np.zeros_like(wanted)
        steps[name], scales[name] = whole.astype(np.int8), scale
        lost[name] = (wanted - whole * scale).astype(np.float32)
    return steps, scales, lost


def dequantised(steps: Arrays, scales: Mapping[str, float], start: Arrays) -> dict[str, npt.NDArray[np.float32]]:
    """``start + scale * steps``, as the receiver sees it.

    Raises:
        KeyError: a tensor without scale or start.
        ValueError: shapes that differ.
    """
    result: dict[str, npt.NDArray[np.float32]] = {}
    for name in sorted(steps):
        if steps[name].shape != start[name].shape:
            raise ValueError(f"{name} has shape {steps[name].shape}, its start {start[name].shape}")
        result[name] = (start[name].astype(np.float64) + scales[name] * steps[name]).astype(np.float32)
    return result
