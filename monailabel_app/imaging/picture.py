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
AFFINE = np.diag((-1.0, -1.0, 1.0, 1.0))
"""What ITK and 3D Slicer give a picture: 1 mm pixels, columns to the left, rows to the back."""


def read(path: Path) -> Volume:
    """Read one picture; transparency is dropped, grey stored as colour becomes grey."""
    with Image.open(path, formats=_FORMATS) as picture:
        frames = int(getattr(picture, "n_frames", 1))
        if frames > 1:
            raise ImageError(f"{path.name} holds {frames} pictures", "export one picture per file")
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
    return Volume(turned[:, :, None], AFFINE.copy(), is_2d=True)


def encode_mask(mask: Array) -> bytes:
    """A mask [i, j, 1] uint8 as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask[:, :, 0].T)).save(buffer, format="PNG")
    return buffer.getvalue()
