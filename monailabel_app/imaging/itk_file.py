"""MetaImage (.mha, .mhd) through SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monailabel_app.errors import ImageError
from monailabel_app.imaging.volume import Array, Volume

__all__ = ["SUFFIXES", "read", "write_mask"]

SUFFIXES = (".mha", ".mhd")
MAX_VOXELS = 2**30
_RAS = np.diag((-1.0, -1.0, 1.0))


def read(path: Path) -> Volume:
    """Read a MetaImage; its voxels must be in the file itself or in a plain file beside it."""
    _check_data_file(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO")
    reader.ReadImageInformation()
    if int(np.prod(reader.GetSize(), dtype=np.int64)) > MAX_VOXELS:
        raise ImageError(f"{path.name} announces {reader.GetSize()} voxels, more than can be loaded")
    image = reader.Execute()
    dims, parts = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dims not in (2, 3) or parts not in (1, 3, 4):
        raise ImageError(
            f"{path.name} has {dims} axes and {parts} components: a volume has three axes",
            "export one time point or one channel as a 3D image",
        )
    array = sitk.GetArrayFromImage(image)  # [k, j, i(, component)]
    array = array.transpose(*range(dims - 1, -1, -1), *range(dims, array.ndim))
    if dims == 2:
        array = array[:, :, None]
    if parts > 1:
        array = array[..., :3].astype(np.uint8)
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(dims, dims)
    affine[:dims, :dims] = direction * np.asarray(image.GetSpacing())
    affine[:dims, 3] = image.GetOrigin()
    affine[:3] = _RAS @ affine[:3]
    return Volume(array, affine, is_2d=array.shape[2] == 1)


def _check_data_file(path: Path) -> None:
    """Refuse a header that would make ITK open a file elsewhere."""
    with path.open("rb") as file:
        head = file.read(64 * 1024)
    for line in head.splitlines():
        key, _, value = line.partition(b"=")
        if key.strip() == b"ElementDataFile":
            name = value.strip().decode("latin-1")
            if name != "LOCAL" and (path.suffix.lower() == ".mha" or not name or Path(name).name != name):
                raise ImageError(f"{path.name} keeps its voxels in another file", "save it as one .mha file")
            return
    raise ImageError(f"{path.name} has no ElementDataFile line: it is no MetaImage")


def write_mask(mask: Array, like: Volume, path: Path) -> None:
    """Write a mask [i, j, k] uint8 as .mha on the grid of ``like`` (which must not be sheared)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)))
    affine = _RAS @ like.affine[:3]
    image.SetSpacing(like.spacing)
    image.SetOrigin(affine[:, 3].tolist())
    image.SetDirection((affine[:, :3] / np.asarray(like.spacing)).ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True, imageIO="MetaImageIO")
