"""What an annotator sees after prompts."""

from __future__ import annotations

import numpy as np
import pytest

from monailabel_app.inference.shown import merge_prompted
from monailabel_app.models.base import Prompts

LABELS = {"tumour": 1, "oedema": 2}


def before() -> np.ndarray:
    mask = np.ones((4, 5, 6), np.uint8)
    mask[:, 0] = 2
    return mask


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_only_the_prompted_label_on_the_prompted_slices_is_replaced(axis: int) -> None:
    answer = np.zeros((4, 5, 6), np.uint8)
    answer[2, 3, 1] = 1
    voxel = (2, 3, 1)
    merged = merge_prompted(before(), answer, [Prompts("tumour", [voxel])], LABELS, axis)
    plane = np.take(merged, voxel[axis], axis=axis)
    assert (plane == 1).sum() == 1
    assert np.array_equal(plane == 2, np.take(before(), voxel[axis], axis=axis) == 2)
    others = [i for i in range(merged.shape[axis]) if i != voxel[axis]]
    assert np.array_equal(np.take(merged, others, axis=axis), np.take(before(), others, axis=axis))


def test_a_box_or_a_background_point_prompts_its_slice_too() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    for prompts in (Prompts("tumour", background=[(0, 0, 3)]), Prompts("tumour", box=(0, 0, 3, 2, 2, 3))):
        merged = merge_prompted(before(), empty, [prompts], LABELS, 2)
        assert not (merged[:, :, 3] == 1).any()
        assert (merged[:, 1:, 2] == 1).all()


@pytest.mark.parametrize("shape", [None, (4, 5, 7)])
def test_nothing_shown_before_counts_as_empty(shape: tuple[int, ...] | None) -> None:
    answer = np.zeros((4, 5, 6), np.uint8)
    answer[1, 1, 1] = 2
    old = None if shape is None else np.ones(shape, np.uint8)
    merged = merge_prompted(old, answer, [Prompts("oedema", [(1, 1, 1)])], LABELS, 0)
    assert np.array_equal(merged, answer)


def test_the_masks_given_are_left_alone() -> None:
    old, answer = before(), np.zeros((4, 5, 6), np.uint8)
    merge_prompted(old, answer, [Prompts("tumour", [(1, 1, 1)])], LABELS, 0)
    assert np.array_equal(old, before())
