"""A small picture of an image, so that people recognise a case in a list."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.orient import stack_of
from monailabel_app.imaging.volume import Volume

__all__ = ["thumbnail", "thumbnail_of"]


def thumbnail(volume: Volume, size: int) -> bytes:
    """The middle slice, upright, in the window that models see, in true proportions.

    Args:
        volume: the image.
        size: pixels of the longer side.

    Returns:
        A PNG file, 8 bits, grey or colour.
    """
    stack = stack_of(volume)
    middle = stack.shape[0] // 2
    pixels = stack.apply(volume.array)[middle]
    if not volume.is_colour:
        pixels = np.round(window_of(volume).unit(pixels) * 255)
    picture = Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))
    height, width = stack.shape[1] * stack.spacing[1], stack.shape[2] * stack.spacing[2]
    scale = size / max(height, width)
    buffer = io.BytesIO()
    picture.resize((max(1, round(width * scale)), max(1, round(height * scale)))).save(buffer, format="PNG")
    return buffer.getvalue()


def thumbnail_of(path: Path, size: int) -> bytes:
    """The same of an image file.

    Raises:
        ImageError: it cannot be read.
    """
    return thumbnail(read_volume(path), size)
