"""Voxels laid out for slices across one axis: quicker to cut, and the same image."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.volume import Volume

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("order", list(itertools.permutations((0, 1, 2))))
def test_an_arranged_volume_is_the_same_image(order: tuple[int, int, int], colour: bool) -> None:
    shape = (5, 6, 7, 3) if colour else (5, 6, 7)
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8 if colour else np.int16)
    volume = Volume(array, AFFINE)
    arranged = volume.arranged(order)
    np.testing.assert_array_equal(arranged.array, array)
    assert arranged.identity == volume.identity
    assert arranged.spacing == volume.spacing
    assert window_of(arranged) == window_of(volume)
    first = arranged.array.take(0, axis=order[0])
    assert arranged.array.strides[order[0]] == first.nbytes
    assert arranged.arranged(order) is arranged


def test_slices_across_k_of_a_file_need_no_copy(tmp_path: Path) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.arranged((2, 1, 0)) is volume
    np.testing.assert_array_equal(volume.array, array)


def test_a_large_volume_has_one_window_however_it_lies_in_memory() -> None:
    array = np.random.default_rng(0).normal(100, 30, (130, 120, 140)).astype(np.float32)
    plain, turned = Volume(array, AFFINE), Volume(np.asfortranarray(array), AFFINE)
    assert window_of(plain) == window_of(turned)
