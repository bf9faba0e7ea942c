"""NIfTI through nibabel; the header's geometry is kept bit for bit in the masks written for it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monailabel_app.errors import ImageError
from monailabel_app.imaging.volume import Array, Volume

__all__ = ["SUFFIXES", "encode_mask", "read"]

SUFFIXES = (".nii.gz", ".nii")
MAX_VOXELS = 2**30


def read(path: Path) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file; [i, j, k] as stored, scaled by its slope where it has one."""
    image = nib.load(path, mmap=False)
    if not isinstance(image, nib.Nifti1Pair):
        raise ImageError(f"{path.name} is {type(image).__name__}, not NIfTI")
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3):
        raise ImageError(
            f"{path.name} has shape {image.shape}: a volume has three axes",
            "export one time point or one channel as a 3D image",
        )
    if int(np.prod(shape, dtype=np.int64)) > MAX_VOXELS:
        raise ImageError(f"{path.name} announces {shape} voxels, more than can be loaded")
    array = _colour(np.asanyarray(image.dataobj))
    colour = (3,) if array.ndim > len(image.shape) else ()
    array = array.reshape(shape + (1,) * (3 - len(shape)) + colour, order="A")
    return Volume(_native(array), np.asarray(image.affine), is_2d=array.shape[2] == 1, nifti=image.header)


def _colour(array: Array) -> Array:
    if array.dtype.fields is None:
        return array
    colour: Array = np.stack([array[name] for name in ("R", "G", "B")], axis=-1).astype(np.uint8)
    return colour


def _native(array: Array) -> Array:
    if array.dtype.kind == "f":  # scaled integers come as float64, which no scanner measured
        return array.astype(np.float32)
    # in the file's own order of voxels, in which slices across k are one piece of memory
    native: Array = array.astype(array.dtype.newbyteorder("="), order="K", copy=False)
    return native


def encode_mask(mask: Array, like: Volume, *, compress: bool) -> bytes:
    """A mask [i, j, k] uint8 as NIfTI bytes on the grid of ``like``; equal input gives equal bytes.

    The header's free texts and extensions are dropped: they can name the patient.
    """
    data = _image(mask, like).to_bytes()
    return gzip.compress(data, 6, mtime=0) if compress else bytes(data)


def _image(mask: Array, like: Volume) -> Any:
    if like.nifti is None:
        image = nib.Nifti1Image(mask, like.affine)
        image.set_sform(like.affine, 1)
        cosines = like.affine[:3, :3] / np.asarray(like.spacing)
        if np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-5):  # a qform cannot hold shear
            image.set_qform(like.affine, 1)
        image.header.set_xyzt_units("mm")
        return image
    header = like.nifti.copy()
    if header.get_data_shape() == like.shape[:2]:
        mask = mask[:, :, 0]
    header.set_data_dtype(np.uint8)
    header.set_data_shape(mask.shape)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    for field in ("descrip", "aux_file", "intent_name"):
        header[field] = b""
    if "db_name" in header:  # NIfTI-2 dropped it
        header["db_name"] = b""
    header.extensions.clear()
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(mask, None, header=header)
