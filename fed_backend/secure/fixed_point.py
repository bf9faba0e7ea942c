"""Updates as whole numbers modulo 2^64, so that masks are uniform and sums are exact.

An update of n examples and tensors x becomes ``rint(2^28 n x)``, with n itself behind it. Numbers up
to :data:`LIMIT` (2^14) and :data:`EXAMPLES` (2^20) examples in all fit: 14 + 20 + 28 bits and a sign. 32
bits would halve what travels, but leave 2^-4 of a step for the same ranges.

What rounding does to the mean is at most ``K / (2 n)`` steps of :data:`STEP` for K sites with n examples
in all, thus half a step where every site has one; float32 itself is coarser for numbers above 1/16.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fed_backend.errors import PayloadError
from fed_backend.payload import Tensors

__all__ = ["EXAMPLES", "LIMIT", "STEP", "Words", "length_of", "mean_of", "words_of"]

Words = npt.NDArray[np.uint64]
"""Numbers modulo 2^64; addition wraps around by itself."""

_BITS = 28
STEP = 2.0**-_BITS
LIMIT = 2.0**14
"""Largest absolute value of a number in an update; the default ``max_update_norm`` of a plan is below it."""
EXAMPLES = 2**20
"""Most examples of all sites of a round together."""


def length_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Words of an update: its numbers, and the number of examples."""
    return sum(int(np.prod(shape)) for shape in shapes.values()) + 1


def words_of(tensors: Tensors, examples: int, sites: int) -> Words:
    """An update, weighted by its examples.

    Args:
        tensors: finite.
        examples: >= 1.
        sites: how many updates are to be summed at most.

    Raises:
        PayloadError: a number or the examples are beyond what the sum can hold.
    """
    if not 1 <= examples <= EXAMPLES // sites:
        raise PayloadError(
            f"a secure sum of {sites} updates takes 1 to {EXAMPLES // sites} examples from each, not {examples}",
            "leave secure out of the plan",
        )
    parts = [np.rint(tensors[name].astype(np.float64).ravel() * (examples / STEP)) for name in sorted(tensors)]
    for name, part in zip(sorted(tensors), parts, strict=True):
        if not np.abs(part).max(initial=0.0) <= LIMIT * examples / STEP:
            raise PayloadError(
                f"tensor {name!r} holds a number above {LIMIT:g}, which a secure sum cannot carry",
                "lower the learning rate, or leave secure out of the plan",
            )
    whole: Words = np.concatenate([*parts, np.array([examples], np.float64)]).astype(np.int64).view(np.uint64)
    return whole


def mean_of(total: Words, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Tensors, int]:
    """The example-weighted mean from a sum of :func:`words_of`, float32, and the examples behind it.

    Raises:
        ValueError: it is no such sum: a site sent something else, or a mask was not taken away.
    """
    signed = total.view(np.int64)
    examples = int(signed[-1]) if len(signed) == length_of(shapes) else 0
    if not 1 <= examples <= EXAMPLES:
        raise ValueError("the sum of the masked updates is no sum of updates: a site sent something else")
    mean = signed[:-1] / (examples / STEP)
    if np.abs(mean).max(initial=0.0) > LIMIT:
        raise ValueError("the sum of the masked updates is beyond all updates: a site sent something else")
    result, at = {}, 0
    for name in sorted(shapes):
        size = int(np.prod(shapes[name]))
        result[name] = mean[at : at + size].reshape(shapes[name]).astype(np.float32)
        at += size
    return result, examples
