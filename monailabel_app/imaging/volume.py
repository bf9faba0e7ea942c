"""A medical image as the site sees it: an array in the file's own voxel order, and its affine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from monailabel_app.errors import ImageError

__all__ = ["Array", "Volume"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they lie.

    Attributes:
        array: [i, j, k] scalar of any numeric dtype, or [i, j, k, 3] uint8 colour; a 2D image has k == 1.
        affine: 4x4 float64, voxel (i, j, k) -> RAS millimetres (the nibabel convention). Oblique
            and sheared affines are kept as they are.
        is_2d: whether the image is one slice; then the third axis only fills the shape.
        nifti: header of the NIfTI file it came from, so that masks keep its sform and qform to the
            bit; ``None`` for other formats.
        picture: whether it came from a picture file (PNG, JPEG, ...), whose pixel size nobody measured.
    """

    array: Array
    affine: npt.NDArray[np.float64]
    is_2d: bool = False
    nifti: Any = field(default=None, repr=False)
    picture: bool = False

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4) or (self.array.ndim == 4 and self.array.shape[3] != 3):
            raise ImageError(
                f"image has shape {self.array.shape}: a volume has three axes, or three and colour",
                "export one time point or one channel as a 3D image",
            )
        if 0 in self.array.shape:
            raise ImageError(f"image has shape {self.array.shape}: it holds no voxel", "export the image again")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ImageError(
                "the image's affine cannot be inverted: two of its axes coincide or one has no length",
                "repair the geometry in the header (sform/qform, space directions)",
            )
        if np.abs(affine[3] - (0, 0, 0, 1)).max() > 1e-6:
            raise ImageError(f"the last row of the image's affine is {affine[3].tolist()}, not [0, 0, 0, 1]")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        i, j, k = self.array.shape[:3]
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Length of one voxel step along i, j and k, in millimetres (or the file's unit)."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    def arranged(self, order: tuple[int, int, int]) -> Volume:
        """The same image, its voxels in memory so that ``order[0]`` is the slowest axis and ``order[2]`` the fastest.

        One slice across ``order[0]`` is then one piece of memory; otherwise cutting it out of a large
        volume may touch a cache line for every voxel.
        """
        turned = self.array.transpose(*order, *range(3, self.array.ndim))
        if turned.flags.c_contiguous:
            return self
        back = tuple(int(axis) for axis in np.argsort(order))
        moved = np.ascontiguousarray(turned).transpose(*back, *range(3, self.array.ndim))
        return replace(self, array=moved)

    @property
    def is_colour(self) -> bool:
        """Whether every voxel is an RGB triple."""
        return self.array.ndim == 4

    @cached_property
    def identity(self) -> str:
        """Hex digest of voxels and geometry: the identity that caches are keyed by."""
        digest = hashlib.sha256(repr((self.array.shape, self.array.dtype.str, self.is_2d)).encode())
        digest.update(self.affine.tobytes())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()
