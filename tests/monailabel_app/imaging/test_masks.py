"""A mask fits its image in any axis order, and nowhere else."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monailabel_app.errors import GeometryError, LabelError
from monailabel_app.imaging.masks import check_labels, conform_mask
from monailabel_app.imaging.volume import Volume

SHAPE = (4, 5, 6)
MASK = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
Affine = npt.NDArray[np.float64]


def reordered(array: np.ndarray, affine: Affine, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same physical voxels, stored in another axis order and direction."""
    turned = array.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = array.shape[old] - 1 if flip else 0
    return Volume(np.ascontiguousarray(turned), affine @ to_old)


def test_any_axis_order_and_direction_fits(grid: Affine) -> None:
    image = Volume(np.zeros(SHAPE, dtype=np.int16), grid)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            stored = reordered(MASK, grid, order, flips)
            np.testing.assert_array_equal(conform_mask(stored, image), MASK)


@given(order=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3), shift=st.floats(-900, 900))
@settings(max_examples=60, deadline=None)
def test_float32_headers_far_from_the_origin_still_fit(
    order: list[int], flips: tuple[bool, bool, bool], shift: float
) -> None:
    affine = np.array([[0.41, 0.1, 0, shift], [-0.1, 0.41, 0, -shift], [0, 0, 0.7, 3 * shift], [0, 0, 0, 1]])
    stored = reordered(MASK, affine, tuple(order), flips)
    rounded = Volume(stored.array, stored.affine.astype(np.float32).astype(np.float64))
    np.testing.assert_array_equal(conform_mask(rounded, Volume(np.zeros(SHAPE), affine)), MASK)


def moved(affine: Affine, **changes: float) -> Affine:
    changed = affine.copy()
    for key, value in changes.items():
        changed[int(key[1]), int(key[2])] += value
    return changed


BASE = np.diag([1.0, 1.0, 2.0, 1.0])
WRONG: dict[str, tuple[np.ndarray, Affine, str]] = {
    "one voxel off": (MASK, moved(BASE, a03=1), "1 voxels away"),
    "a tenth of a voxel off": (MASK, moved(BASE, a23=0.2), "0.1 voxels away"),
    "another spacing": (MASK, np.diag([1.0, 1.0, 2.1, 1.0]), "away"),
    "twice the spacing": (MASK, np.diag([2.0, 2.0, 4.0, 1.0]), "direction or spacing"),
    "rotated": (MASK, np.array([[0.7, -0.7, 0, 0], [0.7, 0.7, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]), "direction"),
    "mirrored without moving": (MASK, np.diag([-1.0, 1.0, 2.0, 1.0]), "3 voxels away"),
    "cropped": (MASK[:, :, :-1], BASE, "voxels"),
    "transposed without saying so": (MASK.transpose(1, 0, 2), BASE, "voxels"),
}


@pytest.mark.parametrize(("array", "affine", "says"), WRONG.values(), ids=WRONG.keys())
def test_another_grid_is_refused(array: np.ndarray, affine: Affine, says: str) -> None:
    with pytest.raises(GeometryError, match=says) as caught:
        conform_mask(Volume(array, affine), Volume(np.zeros(SHAPE), BASE))
    assert "without resampling" in caught.value.hint


def test_thickness_of_a_picture_does_not_matter() -> None:
    image = Volume(np.zeros((4, 5, 1)), np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True)
    mask = Volume(MASK[:, :, :1], np.diag([-1.0, -1.0, 7.0, 1.0]), is_2d=True)
    np.testing.assert_array_equal(conform_mask(mask, image), MASK[:, :, :1])


@pytest.mark.parametrize("value", [-1, 256, 40_000])
def test_values_no_label_can_have(value: int) -> None:
    array = MASK.astype(np.int32)
    array[0, 0, 0] = value
    with pytest.raises(LabelError, match=str(value)):
        conform_mask(Volume(array, BASE), Volume(np.zeros(SHAPE), BASE))


def test_labels_outside_the_schema_are_named() -> None:
    check_labels(MASK, {"core": 1, "oedema": 2})
    with pytest.raises(LabelError, match="value 2, which") as caught:
        check_labels(MASK, {"core": 1})
    assert "core = 1" in caught.value.hint
    with pytest.raises(LabelError, match="values 1, 2"):
        check_labels(MASK, {"other": 9})
