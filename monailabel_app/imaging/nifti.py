"""NIfTI through nibabel; the header's geometry is kept bit for bit in the masks written for it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

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
    return Volume(_native(array), _affine(image.header), is_2d=array.shape[2] == 1, nifti=image.header)


def _affine(header: Any) -> npt.NDArray[np.float64]:
    """Voxel -> RAS by the rule of ITK 5.3 and newer: a mask that 3D Slicer draws then lies on the site's image.

    The sform counts where its code is 1 (scanner), where there is no qform, and where both agree; else the qform.
    Without either, the axes point left, back and up from the origin. The voxel size is the header's in any case. A
    sheared sform, which ITK does not read, counts where there is no qform.
    """
    size = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    has_sform, has_qform = header["sform_code"] > 0, header["qform_code"] > 0
    if not has_sform:
        return np.asarray(header.get_qform()) if has_qform else np.diag([-size[0], -size[1], size[2], 1.0])
    sform = np.asarray(header.get_sform())
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    axes = sform[:3, :3] / np.where(lengths > 0, lengths, 1)
    square = np.allclose(axes @ axes.T, np.eye(3), rtol=0, atol=1e-4)
    if has_qform and not (square and header["sform_code"] == 1):
        qform = np.asarray(header.get_qform())
        if not square or not np.allclose(sform, qform, rtol=0, atol=1e-4):
            return qform
    if square and not np.allclose(lengths, size, rtol=1e-6, atol=0):  # rounding apart: the sform is kept to the bit
        sform[:3, :3] = axes * size
    return sform


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
