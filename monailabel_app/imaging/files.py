"""Read images and masks of any supported format; write masks on their image's own grid.

Errors name the file, never its folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monailabel_app.errors import GeometryError, ImageError, SiteError
from monailabel_app.imaging import itk_file, nifti, nrrd_file, picture
from monailabel_app.imaging.masks import check_labels, conform_mask
from monailabel_app.imaging.volume import Volume

__all__ = [
    "IMAGE_SUFFIXES",
    "check_labels",
    "conform_mask",
    "read_mask",
    "read_volume",
    "site_images",
    "suffix_of",
    "write_mask",
]

_READERS: dict[str, Callable[[Path], Volume]] = {
    suffix: module.read for module in (nifti, nrrd_file, itk_file, picture) for suffix in module.SUFFIXES
}
IMAGE_SUFFIXES: tuple[str, ...] = tuple(_READERS)
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The supported suffix that a name ends with, or an empty string."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def site_images(studies: Path) -> dict[str, Path]:
    """Case -> image file, as the site names its cases; empty where the folder is gone."""
    files = [path for path in studies.iterdir() if path.is_file() and suffix_of(path)] if studies.is_dir() else []
    return {path.name[: -len(suffix_of(path))]: path for path in sorted(files)}


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a 2D or 3D image.

    Raises:
        ImageError: missing, of another format, truncated, not two- or three-dimensional, without
            an invertible affine, or holding NaN or infinity.
    """
    volume = _read(Path(path))
    if volume.array.dtype.kind == "f":
        bad = int(volume.array.size - np.isfinite(volume.array).sum())
        if bad:
            raise ImageError(
                f"{Path(path).name} holds {bad} voxels that are NaN or infinite", "replace them before import"
            )
    return volume


def read_mask(path: str | os.PathLike[str]) -> Volume:
    """Read a mask: whole numbers, whatever type they are stored as.

    Raises:
        ImageError: as for an image, or the voxels are colours or fractions.
    """
    volume = read_volume(path)
    array = volume.array
    if volume.is_colour:
        raise ImageError(f"{Path(path).name} is a colour image, not a mask", "save label values as grey levels")
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            raise ImageError(f"{Path(path).name} holds fractions, not label values", "save the mask as integers")
        array = whole.astype(np.int64)
    return Volume(array, volume.affine, volume.is_2d, volume.nifti)


def _read(path: Path) -> Volume:
    suffix = suffix_of(path)
    if not suffix:
        raise ImageError(f"{path.name} has no format that is read here", f"use one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise ImageError(f"{path.name} is not there or not a file")
    try:
        volume = _READERS[suffix](path)
    except SiteError as error:
        named = error.detail if path.name in error.detail else f"{path.name}: {error.detail}"
        raise type(error)(named, error.hint) from None
    except Exception as error:  # parsers of four libraries raise anything on hostile bytes
        raise ImageError(
            f"{path.name} cannot be read as {suffix}: {type(error).__name__}", "the file is damaged or mislabelled"
        ) from None
    if volume.array.dtype.kind not in "biuf":
        raise ImageError(f"{path.name} holds voxels of type {volume.array.dtype}", "save it as integers or floats")
    return volume


def write_mask(
    labelmap: npt.NDArray[np.uint8],
    like: Volume,
    path: str | os.PathLike[str],
    label_names: Mapping[str, int] | None = None,
) -> None:
    """Write a mask on the exact grid of its image; the file appears complete or not at all.

    Args:
        labelmap: [i, j, k] in the voxel order of ``like``.
        like: the image.
        path: ends in .nii.gz, .nii, .nrrd, .mha or .png (2D only).
        label_names: label name -> value, kept in .nrrd as the segments that 3D Slicer shows.

    Raises:
        GeometryError: shapes differ, or .png for a volume.
        ImageError: a suffix that masks are not written as.
    """
    path = Path(path)
    if labelmap.shape != like.shape:
        raise GeometryError(f"mask has shape {labelmap.shape}, its image {like.shape}")
    suffix = suffix_of(path)
    mask = np.ascontiguousarray(labelmap, dtype=np.uint8)
    if suffix not in MASK_SUFFIXES:
        raise ImageError(f"{path.name}: masks are not written as that", f"use one of {', '.join(MASK_SUFFIXES)}")
    if suffix == ".png" and not like.is_2d:
        raise GeometryError(f"a mask of shape {like.shape} does not fit into a picture", "use .nii.gz or .nrrd")
    if suffix == ".mha":
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mask-") as folder:
            temporary = Path(folder) / "mask.mha"
            itk_file.write_mask(mask, like, temporary)
            data = temporary.read_bytes()
    elif suffix == ".png":
        data = picture.encode_mask(mask)
    elif suffix == ".nrrd":
        data = nrrd_file.encode_mask(mask, like, label_names or {})
    else:
        data = nifti.encode_mask(mask, like, compress=suffix == ".nii.gz")
    _write_atomically(data, path)


def _write_atomically(data: bytes, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".mask-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
