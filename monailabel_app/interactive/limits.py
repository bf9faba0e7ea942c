"""How much memory an image would take, from its header alone."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import psutil

from monailabel_app.errors import TooLarge
from monailabel_app.imaging.files import suffix_of

__all__ = ["check_size", "default_limit", "image_bytes"]

_PER_VOXEL = 8
"""Voxels as read (up to 4 bytes for common types), the session's mask, and room for one copy of a part."""


def default_limit() -> int:
    """Half of this machine's memory."""
    return int(psutil.virtual_memory().total // 2)


def image_bytes(path: Path) -> int:
    """Bytes that an open session needs for an image, roughly.

    The header is read where that is cheap; else the file's size stands for it. A damaged header
    counts as nothing: reading the image says what is wrong with it.
    """
    suffix = suffix_of(path)
    try:
        if suffix in (".nii", ".nii.gz"):
            return int(np.prod(nib.load(path).shape, dtype=np.int64)) * _PER_VOXEL
        if suffix in (".nrrd", ".nhdr"):
            return int(np.prod(nrrd.read_header(str(path))["sizes"], dtype=np.int64)) * _PER_VOXEL
        return path.stat().st_size * _PER_VOXEL // 2
    except Exception:  # parsers of hostile bytes raise anything
        return 0


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
