"""From some slices to all: order, stopping, interpolation. The network is a plain function here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from monailabel_app.interactive.propagate import Rules, outward_slices, propagate
from monailabel_app.interactive.shapes import interpolate, signed_distance
from monailabel_app.learning.dice import dice

Mask = npt.NDArray[np.bool_]
SIZE = 40


def disc(radius: float, row: float = 20, column: float = 20) -> Mask:
    rows, columns = np.ogrid[:SIZE, :SIZE]
    mask: Mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return mask if radius > 0 else np.zeros((SIZE, SIZE), dtype=bool)


def ball(index: int, centre: int = 15, radius: int = 9) -> Mask:
    return disc(np.sqrt(max(0, radius**2 - (index - centre) ** 2)) if abs(index - centre) <= radius else 0)


def test_a_structure_is_followed_to_both_its_ends_and_not_beyond() -> None:
    asked: list[int] = []

    def see(index: int, expected: Mask) -> tuple[Mask, float]:
        asked.append(index)
        return ball(index), 0.9

    found = dict(propagate({15: ball(15)}, {15: 0.9}, 60, see))
    assert sorted(found) == [i for i in range(7, 24) if i != 15]  # 6 and 24 are single voxels: too small
    assert all(np.array_equal(mask, ball(index)) for index, mask in found.items())
    assert asked[:4] == [16, 14, 17, 13]  # both directions by turns
    assert min(asked) == 6
    assert max(asked) == 24


def test_between_prompted_slices_the_network_is_followed_only_where_it_agrees() -> None:
    def mad_at_12(index: int, expected: Mask) -> tuple[Mask, float]:
        return (disc(3, 5, 5), 0.9) if index == 12 else (ball(index), 0.9)

    found = dict(propagate({10: ball(10), 14: ball(14)}, {}, 60, mad_at_12))
    assert dice(found[12], ball(12)) > 0.9  # interpolated
    assert np.array_equal(found[11], ball(11))


def test_an_empty_prompted_slice_bounds_the_structure() -> None:
    nothing = np.zeros((SIZE, SIZE), dtype=bool)
    found = dict(propagate({15: ball(15), 18: nothing, 13: nothing}, {}, 60, lambda index, expected: (ball(15), 0.9)))
    assert sorted(found) == [14, 16, 17]


@pytest.mark.parametrize(
    ("answer", "score"),
    [(disc(0), 0.9), (disc(9, 5, 5), 0.9), (disc(19), 0.9), (disc(9), 0.3)],
    ids=["vanished", "jumped", "leaked", "unsure"],
)
def test_it_stops_where_the_network_loses_the_structure(answer: Mask, score: float) -> None:
    def see(index: int, expected: Mask) -> tuple[Mask, float]:
        return (answer, score) if index == 18 else (disc(9), 0.9)

    found = dict(propagate({15: disc(9)}, {15: 0.9}, 60, see, rules=Rules(reach=8)))
    assert max(found) == 17
    assert min(found) == 7


def test_it_stops_where_the_slice_no_longer_looks_like_it() -> None:
    found = dict(
        propagate({5: disc(9)}, {}, 60, lambda index, expected: (expected, 1.0), plausible=lambda i, m: 3 < i < 9)
    )
    assert sorted(found) == [4, 6, 7, 8]


def test_without_a_mask_nothing_is_found() -> None:
    assert list(propagate({4: disc(0)}, {}, 9, lambda index, expected: (expected, 1.0))) == []


def test_outward_slices_end_at_the_volume_a_bound_or_the_reach() -> None:
    assert list(outward_slices(7, 1, 10, None, 100)) == [8, 9]
    assert list(outward_slices(2, -1, 10, None, 100)) == [1, 0]
    assert list(outward_slices(2, 1, 10, 5, 100)) == [3, 4]
    assert list(outward_slices(7, -1, 10, 4, 100)) == [6, 5]
    assert list(outward_slices(2, 1, 10, None, 2)) == [3, 4]


def test_interpolation_gives_the_ends_and_a_mean_between() -> None:
    small, large = disc(4), disc(12)
    assert np.array_equal(interpolate(small, large, 0.0), small)
    assert np.array_equal(interpolate(small, large, 1.0), large)
    assert dice(interpolate(small, large, 0.5), disc(8)) > 0.97


def test_interpolation_follows_a_structure_that_runs_obliquely() -> None:
    assert dice(interpolate(disc(5, 10, 10), disc(5, 30, 30), 0.5), disc(5, 20, 20)) > 0.95


def test_distances_are_in_millimetres() -> None:
    assert signed_distance(disc(9), (2.0, 2.0)).max() == pytest.approx(2 * signed_distance(disc(9), (1.0, 1.0)).max())
