"""From masks on a few slices to a mask on all: which slice comes next, what to expect, when to stop.

Pure: the network is a function ``predict(slice, expected mask) -> (mask, score)``. Between two
prompted slices the expected mask is interpolated, and kept where the network's does not agree with
it. Outwards, the expected mask is that of the slice before; there the network decides, and the
structure is taken to end where its mask vanishes, jumps, is unsure, or no longer looks like it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from monailabel_app.interactive.shapes import interpolate
from monailabel_app.learning.dice import dice

__all__ = ["Rules", "outward_slices", "propagate"]

Mask = npt.NDArray[np.bool_]
Predict = Callable[[int, Mask], tuple[Mask, float]]
Plausible = Callable[[int, Mask], bool]


@dataclass(frozen=True)
class Rules:
    """When to trust and when to stop.

    Attributes:
        agreement: Dice with the expected mask below which the network is not followed.
        shrunk: share of the prompted mask's area below which a structure has ended.
        grown: area, as a multiple of the slice before, that counts as a leak.
        sureness: share of the prompted slice's predicted IoU below which the network is unsure.
        reach: slices to go outwards at most.
    """

    agreement: float = 0.5
    shrunk: float = 0.02
    grown: float = 2.0
    sureness: float = 0.6
    reach: int = 1000


def propagate(
    prompted: Mapping[int, Mask],
    scores: Mapping[int, float],
    count: int,
    predict: Predict,
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    plausible: Plausible = lambda index, mask: True,
    rules: Rules | None = None,
) -> Iterator[tuple[int, Mask]]:
    """Masks of further slices, in the order in which they are found.

    First the gaps between prompted slices, from the smallest; then outwards, both directions by turns.

    Args:
        prompted: slice -> mask [rows, columns] that the annotator accepted; empty masks bound a
            structure and are not grown from.
        scores: slice -> predicted IoU there; where it is unknown, sureness is not asked.
        count: slices of the volume.
        predict: the network.
        spacing: millimetres between rows and between columns.
        plausible: whether a mask looks like the prompted structure; false ends that direction.
        rules: when to trust and when to stop.
    """
    rules = rules or Rules()
    known = sorted(prompted)
    gaps = [(b - a, a, b) for a, b in pairwise(known) if b - a > 1]
    for _, first, last in sorted(gaps):
        if prompted[first].any() and prompted[last].any():
            yield from _between(prompted, first, last, predict, spacing, rules)
    walks = list(_walks(prompted, scores, known, count, predict, plausible, rules))
    while walks:
        for walk in list(walks):
            if (found := next(walk, None)) is None:
                walks.remove(walk)
            else:
                yield found


def outward_slices(start: int, direction: int, count: int, stop: int | None, reach: int) -> range:
    """Slices from ``start`` (exclusive) up to the volume's end, a bound (exclusive), or the reach."""
    if direction > 0:
        return range(start + 1, min(count if stop is None else stop, start + 1 + reach))
    return range(start - 1, max(-1 if stop is None else stop, start - 1 - reach), -1)


def _between(
    prompted: Mapping[int, Mask],
    first: int,
    last: int,
    predict: Predict,
    spacing: tuple[float, float],
    rules: Rules,
) -> Iterator[tuple[int, Mask]]:
    for index in range(first + 1, last):
        expected = interpolate(prompted[first], prompted[last], (index - first) / (last - first), spacing)
        mask, _ = predict(index, expected)
        yield index, mask if dice(mask, expected) >= rules.agreement else expected


def _walks(
    prompted: Mapping[int, Mask],
    scores: Mapping[int, float],
    known: list[int],
    count: int,
    predict: Predict,
    plausible: Plausible,
    rules: Rules,
) -> Iterator[Iterator[tuple[int, Mask]]]:
    """One walk from every filled slice into each direction that no other filled slice covers."""
    for number, start in enumerate(known):
        if not prompted[start].any():
            continue
        for direction in (1, -1):
            beside = number + direction
            stop = known[beside] if 0 <= beside < len(known) else None
            if stop is not None and prompted[stop].any():
                continue  # a gap, filled already
            slices = outward_slices(start, direction, count, stop, rules.reach)
            yield _outwards(prompted[start], scores.get(start), slices, predict, plausible, rules)


def _outwards(
    start: Mask, score: float | None, slices: range, predict: Predict, plausible: Plausible, rules: Rules
) -> Iterator[tuple[int, Mask]]:
    expected, area = start, int(start.sum())
    for index in slices:
        mask, sure = predict(index, expected)
        size = int(mask.sum())
        if (
            size < max(1, rules.shrunk * area)
            or size > rules.grown * int(expected.sum())
            or dice(mask, expected) < rules.agreement
            or (score is not None and sure < rules.sureness * score)
            or not plausible(index, mask)
        ):
            return
        yield index, mask
        expected = mask
