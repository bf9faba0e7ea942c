"""Whatever is not a readable 2D or 3D image is refused by name, and without saying where it lies."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monailabel_app.errors import ImageError, SiteError
from monailabel_app.imaging.files import read_mask, read_volume

OK = np.ones((4, 5, 6), dtype=np.int16)


def nifti(array: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    return bytes(nib.Nifti1Image(array, np.eye(4) if affine is None else affine).to_bytes())


def with_nan() -> bytes:
    array = OK.astype(np.float32)
    array[1, 2, 3] = np.nan
    return nifti(array)


def animation(path: Path) -> None:
    frames = [Image.new("L", (3, 3), shade) for shade in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def sheet(singular: float) -> bytes:
    """A NIfTI whose third axis has this length."""
    image = nib.Nifti1Image(OK, np.eye(4))
    image.set_sform(np.diag([1, 1, singular, 1]), 1)
    return bytes(image.to_bytes())


MHA = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {}\n"
NRRD = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"

BAD: dict[str, tuple[str, bytes, str]] = {
    "no image format": ("a.txt", b"hello", "no format"),
    "dicom": ("a.dcm", b"\0" * 200, "no format"),
    "empty nifti": ("a.nii.gz", b"", "cannot be read"),
    "text as nifti": ("a.nii", b"hello world" * 100, "cannot be read"),
    "nifti not gzipped": ("a.nii.gz", nifti(OK), "cannot be read"),
    "truncated nifti": ("a.nii.gz", gzip.compress(nifti(OK))[:-30], "cannot be read"),
    "truncated plain nifti": ("a.nii", nifti(OK)[:-50], "cannot be read"),
    "four axes": ("a.nii", nifti(np.ones((3, 3, 3, 2), dtype=np.int16)), "shape"),
    "complex": ("a.nii", nifti(OK.astype(np.complex64)), "complex64"),
    "not a number": ("a.nii", with_nan(), "1 voxels that are NaN"),
    "singular affine": ("a.nii", sheet(0.0), "affine"),
    "text as nrrd": ("a.nrrd", b"hello", "cannot be read"),
    "truncated nrrd": ("a.nrrd", (NRRD + "\n").encode() + b"abc", "cannot be read"),
    "huge nrrd": ("a.nrrd", (NRRD.replace("2 2 2", "90000 90000 9000") + "\n").encode(), "more than"),
    "nrrd pointing elsewhere": ("a.nrrd", (NRRD + "data file: /etc/hostname\n\n").encode(), "another file"),
    "mha pointing elsewhere": ("a.mha", MHA.format("/etc/hostname").encode(), "another file"),
    "mhd pointing elsewhere": ("a.mhd", MHA.format("../hostname").encode(), "another file"),
    "mhd without its file": ("a.mhd", MHA.format("gone.raw").encode(), "cannot be read"),
    "text as mha": ("a.mha", b"hello", "MetaImage"),
    "text as picture": ("a.png", b"hello", "cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "says"), BAD.values(), ids=BAD.keys())
def test_bad_file_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / "ward-7" / name
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ImageError, match=says) as caught:
        read_volume(path)
    assert name in str(caught.value)
    assert "ward-7" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    for name in ("gone.nii.gz", "folder.nii.gz"):
        with pytest.raises(ImageError, match="not there or not a file"):
            read_volume(tmp_path / name)


def test_several_pictures_in_one_file(tmp_path: Path) -> None:
    animation(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="2 pictures"):
        read_volume(tmp_path / "a.tif")


def save_fractions(path: Path) -> None:
    nib.save(nib.Nifti1Image(OK * np.float32(0.5), np.eye(4)), path)


def save_colours(path: Path) -> None:
    rgb = np.zeros(OK.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), path)


@pytest.mark.parametrize(("save", "says"), [(save_fractions, "fractions"), (save_colours, "colour")])
def test_what_is_no_mask(tmp_path: Path, save: Callable[[Path], None], says: str) -> None:
    save(tmp_path / "m.nii.gz")
    with pytest.raises(SiteError, match=says):
        read_mask(tmp_path / "m.nii.gz")


def test_whole_numbers_stored_as_float_are_a_mask(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(OK.astype(np.float64) * 3, np.eye(4)), tmp_path / "m.nii.gz")
    mask = read_mask(tmp_path / "m.nii.gz")
    assert mask.array.dtype.kind == "i"
    assert (mask.array == 3).all()
