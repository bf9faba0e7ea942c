"""Where an annotator looks and clicks, and how slices are turned for display."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fed_backend.demo.baseline import dice
from fed_backend.demo.slices import inner_voxel, make_overlay, prompts_for, slice_axis, worst_slice


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((96, 96, 16), (2.0, 2.0, 7.0), 2),
        ((16, 96, 96), (7.0, 2.0, 2.0), 0),
        ((256, 256, 23), (1.0, 1.0, 1.0), 2),
        ((96, 10, 96), (2.0, 5.0, 2.0), 1),
    ],
)
def test_slices_are_cut_across_the_thick_axis(shape: tuple[int, ...], spacing: tuple[float, ...], axis: int) -> None:
    assert slice_axis(shape, np.diag([*spacing, 1.0])) == axis


def test_the_worst_slice_has_most_wrong_voxels_among_those_with_truth() -> None:
    truth = np.zeros((10, 10, 4), np.uint8)
    truth[2:6, 2:6, 1] = 1
    truth[2:8, 2:8, 2] = 1
    mask = truth.copy()
    mask[2:8, 2:7, 2] = 0  # 30 voxels are missing here
    mask[:, :, 0] = 1  # more is wrong here, but there is nothing to point at
    assert worst_slice(mask, truth, axis=2) == (2, 30)


def test_prompts_point_at_what_is_missing_and_at_what_is_too_much() -> None:
    truth = np.zeros((20, 30, 5), np.uint8)
    truth[4:10, 5:15, 3] = 1
    mask = np.zeros_like(truth)
    mask[4:10, 5:9, 3] = 1
    mask[14:18, 20:26, 3] = 1
    prompts = prompts_for(mask, truth, axis=2, index=3)
    (inside,), (outside,) = prompts["foreground"], prompts["background"]
    assert truth[tuple(inside)] == 1
    assert mask[tuple(inside)] == 0
    assert truth[tuple(outside)] == 0
    assert mask[tuple(outside)] == 1
    assert prompts["box"] == [2, 3, 3, 11, 16, 3]


def test_prompts_keep_the_axis_order_of_the_file() -> None:
    truth = np.zeros((5, 20, 30), np.uint8)
    truth[3, 4:10, 5:15] = 1
    prompts = prompts_for(np.zeros_like(truth), truth, axis=0, index=3)
    assert prompts["box"] == [3, 2, 3, 3, 11, 16]
    assert truth[tuple(prompts["foreground"][0])] == 1
    assert prompts["background"] == []


def test_a_box_stays_inside_the_volume() -> None:
    truth = np.zeros((8, 8, 3), np.uint8)
    truth[:, :, 1] = 1
    assert prompts_for(truth, truth, axis=2, index=1)["box"] == [0, 0, 1, 7, 7, 1]


def test_the_inner_voxel_lies_inside() -> None:
    ring = np.ones((9, 9), bool)
    ring[3:6, 3:6] = False
    place = inner_voxel(ring)
    assert place is not None
    assert ring[place]
    assert inner_voxel(np.zeros((4, 4), bool)) is None


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "SPL"])
def test_pictures_look_the_same_however_the_volume_is_stored(codes: str) -> None:
    canonical = np.zeros((8, 9, 4), np.float64)
    canonical[6, 7, 2] = 1.0  # on the patient's right, in front
    stored = nib.Nifti1Image(canonical, np.diag([1.0, 1.0, 5.0, 1.0]))
    to = nib.orientations.axcodes2ornt(tuple(codes))
    turned = stored.as_reoriented(nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), to))
    array = np.asarray(turned.dataobj)
    index = int(np.nonzero(array)[slice_axis(array.shape, turned.affine)][0])
    overlay = make_overlay("s", "c", "test", array, array, [("m", array)], turned.affine, index)
    assert overlay.image.shape == (9, 8)
    assert overlay.image[1, 1] == 1.0, "front is up, the patient's right is on the left"
    assert overlay.masks[0][2] == 1.0
    assert overlay.aspect == pytest.approx(1.0)


def test_dice_of_empty_masks_and_of_different_shapes() -> None:
    assert dice(np.zeros(5), np.zeros(5)) == 1.0
    assert dice(np.ones(4), np.zeros(4)) == 0.0
    assert dice([1, 1, 0, 0], [1, 0, 0, 0]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="shapes"):
        dice(np.zeros(4), np.zeros(5))
