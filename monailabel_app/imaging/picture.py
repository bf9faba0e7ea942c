"""2D pictures (PNG, JPEG, BMP, TIFF) through Pillow: [i, j, 0] is column i, row j."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from monailabel_app.errors import ImageError
from monailabel_app.imaging.volume import Array, Volume

__all__ = ["SUFFIXES", "encode_mask", "read"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_MM_PER_UNIT = {"JPEG": {1: 25.4, 2: 10.0}, "TIFF": {2: 25.4, 3: 10.0}}
"""Format -> its code of the unit in which pixels are counted -> that unit in millimetres."""
_TIFF_TAGS = (282, 283, 296)  # XResolution, YResolution, ResolutionUnit


def read(path: Path) -> Volume:
    """Read one picture; transparency is dropped, grey stored as colour becomes grey."""
    with Image.open(path, formats=_FORMATS) as picture:
        frames = int(getattr(picture, "n_frames", 1))
        if frames > 1:
            raise ImageError(f"{path.name} holds {frames} pictures", "export one picture per file")
        width, height = _pixel_mm(picture)
        if picture.mode == "P":
            picture = picture.convert("RGB")  # type: ignore[assignment]
        array = np.asarray(picture)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 2:
        array = array[:, :, 0]
    if array.ndim == 3:
        array = array[:, :, :3]
        if (array == array[:, :, :1]).all():
            array = array[:, :, 0]
    turned = np.ascontiguousarray(np.swapaxes(array, 0, 1))
    # columns to the left, rows to the back, as ITK and 3D Slicer lay a picture
    return Volume(turned[:, :, None], np.diag((-width, -height, 1.0, 1.0)), is_2d=True, picture=True)


def _pixel_mm(picture: Image.Image) -> tuple[float, float]:
    """Width and height of a pixel as ITK reads them: by the resolution in JPEG and TIFF, else 1."""
    if picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        x, y, unit = (tags.get(tag) for tag in _TIFF_TAGS)
    else:
        unit, (x, y) = picture.info.get("jfif_unit"), picture.info.get("jfif_density", (0, 0))
    mm = _MM_PER_UNIT.get(picture.format or "", {}).get(unit or 0)
    return (mm / float(x), mm / float(y)) if mm and x and y else (1.0, 1.0)


def encode_mask(mask: Array) -> bytes:
    """A mask [i, j, 1] uint8 as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask[:, :, 0].T)).save(buffer, format="PNG")
    return buffer.getvalue()
