"""Slices are upright and taken across the thickest axis; the way back is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from monailabel_app.errors import GeometryError, ImageError
from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.orient import canonical, slice_axis, stack_of
from monailabel_app.imaging.volume import Volume

Affine = npt.NDArray[np.float64]
SHAPE = (4, 5, 6)


def test_there_and_back(grid: Affine) -> None:
    array = np.arange(120).reshape(SHAPE)
    volume = Volume(array, grid)
    for stack in (stack_of(volume), canonical(volume)):
        turned = stack.apply(array)
        assert turned.shape == stack.shape
        np.testing.assert_array_equal(stack.restore(turned), array)
        for voxel in ((0, 0, 0), (3, 4, 5), (1, 3, 2)):
            assert turned[stack.locate(voxel)] == array[voxel]


def test_canonical_axes_point_right_anterior_superior(grid: Affine) -> None:
    volume = Volume(np.zeros(SHAPE), grid)
    stack = canonical(volume)
    corner, steps = np.zeros(3), []
    for axis in range(3):
        end = corner.copy()
        end[stack.axes[axis]] = -1 if stack.flips[axis] else 1
        steps.append((volume.affine[:3, :3] @ end)[axis])
    assert all(step > 0 for step in steps)


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((256, 256, 20), (0.8, 0.8, 6.5), 2),
        ((20, 256, 256), (6.5, 0.8, 0.8), 0),
        ((256, 20, 256), (0.8, 3.0, 0.8), 1),
        ((256, 256, 20), (1, 1, 1), 2),  # a stack that lost its spacing
        ((35, 51, 34), (1, 1, 1), 1),
        ((64, 64, 64), (1, 1, 1), 2),
        ((64, 64, 64), (1, 2, 2), 2),  # two thick axes: the last
        ((1, 64, 64), (1, 1, 1), 0),
        ((64, 64, 64), (1, 1, 1.04), 2),  # isotropic but for rounding
    ],
)
def test_slices_are_taken_across_the_thickest_axis(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], axis: int
) -> None:
    assert slice_axis(Volume(np.zeros(shape, dtype=np.uint8), np.diag([*spacing, 1.0]))) == axis


def test_slice_axis_follows_the_anatomy_not_the_storage() -> None:
    sagittal_first = np.array([[0, 0, 3.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert slice_axis(Volume(np.zeros((64, 64, 20)), sagittal_first)) == 0


def test_a_picture_comes_out_as_it_is_looked_at(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    volume = read_volume(tmp_path / "p.png")
    np.testing.assert_array_equal(stack_of(volume).apply(volume.array)[0], pixels)


def test_axial_slices_show_the_face_above_and_the_right_side_left() -> None:
    array = np.zeros((8, 8, 3))
    array[7, 7, 1] = 1  # right and anterior in RAS
    slices = stack_of(Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]))).apply(array)
    assert slices[1, 0, 0] == 1


@pytest.mark.parametrize("voxel", [(-1, 0, 0), (4, 0, 0), (0, 5, 0), (0, 0, 6), (0, 0)])
def test_voxels_outside_are_refused(voxel: tuple[int, int, int]) -> None:
    with pytest.raises(GeometryError, match="outside the image of 4 x 5 x 6"):
        stack_of(Volume(np.zeros(SHAPE), np.eye(4))).locate(voxel)


def test_affines_without_inverse_are_refused() -> None:
    with pytest.raises(ImageError, match="inverted"):
        Volume(np.zeros(SHAPE), np.diag([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ImageError, match="no voxel"):
        Volume(np.zeros((0, 2, 2)), np.eye(4))
