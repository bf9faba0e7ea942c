"""How much memory an image would take, from its header alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import psutil
import SimpleITK as sitk
from PIL import Image

from monailabel_app.errors import TooLarge
from monailabel_app.imaging import itk_file, nifti, nrrd_file
from monailabel_app.imaging.files import suffix_of

__all__ = ["check_size", "default_limit", "image_bytes"]

_BESIDE = 5
"""Bytes per voxel beside the voxels as stored: the session's mask, and a copy of a number type of four bytes."""
_LEAST = 8
"""Bytes per voxel at least: reading compressed voxels holds them twice for a moment."""


def default_limit() -> int:
    """Half of this machine's memory."""
    return int(psutil.virtual_memory().total // 2)


def image_bytes(path: Path) -> int:
    """Bytes that an open session needs for an image, roughly, from its header.

    A damaged header counts as nothing: reading the image says what is wrong with it.
    """
    try:
        shape, stored = _announced(path)
    except Exception:  # parsers of hostile bytes raise anything
        return 0
    return int(np.prod(shape, dtype=np.int64)) * max(_LEAST, stored + _BESIDE)


def _announced(path: Path) -> tuple[Sequence[int], int]:
    """Voxels along each axis, and the bytes of each."""
    suffix = suffix_of(path)
    if suffix in nifti.SUFFIXES:
        header = nib.load(path).header
        scaled = header["scl_slope"] not in (0, 1) and np.isfinite(header["scl_slope"])
        return header.get_data_shape(), 8 if scaled else header.get_data_dtype().itemsize
    if suffix in nrrd_file.SUFFIXES:
        return nrrd.read_header(str(path))["sizes"], 4
    if suffix in itk_file.SUFFIXES:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("MetaImageIO")
        reader.ReadImageInformation()
        wide = reader.GetPixelID() in (sitk.sitkFloat64, sitk.sitkInt64, sitk.sitkUInt64)
        return reader.GetSize(), (8 if wide else 4) * reader.GetNumberOfComponents()
    with Image.open(path) as picture:
        return picture.size, 3


def check_size(path: Path, limit: int) -> None:
    """Refuse an image before it is read.

    Raises:
        TooLarge: it needs more than ``limit`` bytes.
    """
    needed = image_bytes(path)
    if needed > limit:
        raise TooLarge(
            f"{path.name} would take {needed / 2**30:.1f} GiB of memory, {limit / 2**30:.1f} GiB are allowed here",
            "crop or resample the image, or serve it from a machine with more memory",
        )
