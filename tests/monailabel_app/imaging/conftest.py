"""Grids as scanners and viewers store them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

Affine = npt.NDArray[np.float64]


def _rotation(degrees: tuple[float, float, float]) -> Affine:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _affine(matrix: npt.ArrayLike, origin: tuple[float, float, float]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    return affine.astype(np.float32).astype(np.float64)  # what a NIfTI header can hold


GRIDS: dict[str, Affine] = {
    "ras": _affine(np.diag([1, 1, 1]), (0, 0, 0)),
    "lps": _affine(np.diag([-1, -1, 1]), (90.5, 126.25, -72)),
    "anisotropic": _affine(np.diag([0.78125, 0.78125, 6.5]), (-99.6, -120.3, 40.1)),
    "flipped": _affine(np.diag([1.5, -2, -3]), (1, 2, 3)),
    "permuted": _affine([[0, 0, 2.5], [-0.9, 0, 0], [0, 1.1, 0]], (-30, 44, 5)),
    "oblique": _affine(_rotation((12, -20, 33)) @ np.diag([0.9, 1.1, 3.3]), (-101.7, 87.3, -412.9)),
    "oblique-45": _affine(_rotation((0, 0, 45)) @ np.diag([1, 1, 4]), (5, 6, 7)),
    "sheared": _affine([[1, 0.3, 0], [0, 1.2, 0.1], [0, 0, 2.5]], (-3, 4, 9)),
}
ORTHOGONAL = [name for name in GRIDS if name != "sheared"]


@pytest.fixture(params=GRIDS.values(), ids=GRIDS.keys())
def grid(request: pytest.FixtureRequest) -> Affine:
    """A voxel -> RAS affine, exact in float32."""
    affine: Affine = request.param
    return affine


@pytest.fixture(params=[GRIDS[name] for name in ORTHOGONAL], ids=ORTHOGONAL)
def orthogonal_grid(request: pytest.FixtureRequest) -> Affine:
    """The same without shear, which ITK formats cannot hold."""
    affine: Affine = request.param
    return affine
