"""A head, drawn from formulas: scalp, skull, cortex, ventricles and one irregular lesion.

Everything is defined in RAS millimetres around the middle of the head and evaluated on the affine
grid of a volume, so the same anatomy can be stored in any orientation, spacing or obliqueness.
The tissue values are made to overlap: scalp, the caps around the ventricles and the brightest cortex
reach the lesion's intensity, as in FLAIR MRI, so that no threshold separates the lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Contrast", "Grid", "draw_head", "smooth_field"]

Array = npt.NDArray[np.float64]

HEAD = np.array([70.0, 86.0, 80.0])
"""Semi-axes of the scalp's outer surface (x, y, z), millimetres."""

BRAIN = 0.86
"""Size of the brain relative to the head."""


@dataclass(frozen=True)
class Grid:
    """The voxels of a volume: ``shape`` (i, j, k) and the 4x4 ``affine`` to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: Array

    def points(self) -> Array:
        """RAS millimetres of every voxel centre, shape (3, i, j, k)."""
        axes = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in self.shape), indexing="ij")
        index = np.stack([axis.ravel() for axis in axes])
        points: Array = self.affine[:3, :3] @ index + self.affine[:3, 3:]
        return points.reshape(3, *self.shape)


@dataclass(frozen=True)
class Contrast:
    """Mean intensity of each tissue, between 0 and 1."""

    scalp: float
    skull: float
    csf: float
    white: float
    grey: float
    cap: float
    lesion: float


def smooth_field(grid: Grid, rng: np.random.Generator, wavelength: float, waves: int = 24) -> Array:
    """A smooth random field of about zero mean and unit variance.

    A sum of plane waves of random direction; on an affine grid each wave is an outer product of three
    vectors, so a field costs one small matrix product.

    Args:
        grid: where to evaluate it.
        rng: source of directions, lengths and phases.
        wavelength: typical distance between two maxima, millimetres.
        waves: how many waves are summed.
    """
    direction = rng.normal(size=(waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wave = direction * (2 * np.pi / (wavelength * rng.uniform(0.7, 1.5, size=(waves, 1))))
    phase = rng.uniform(0, 2 * np.pi, size=waves) + wave @ grid.affine[:3, 3]
    step = wave @ grid.affine[:3, :3]
    i, j, k = (np.exp(1j * np.outer(step[:, axis], np.arange(grid.shape[axis]))) for axis in range(3))
    plane = (j[:, :, None] * k[:, None, :]).reshape(waves, -1)
    summed = (i * np.exp(1j * phase)[:, None]).T @ plane
    field: Array = summed.real.reshape(grid.shape) * np.sqrt(2 / waves)
    return field


def _ellipsoid(points: Array, centre: npt.ArrayLike, axes: npt.ArrayLike) -> Array:
    """Normalised radius: 1 on the surface of the ellipsoid, below 1 inside it."""
    shift = np.asarray(centre, dtype=np.float64).reshape(3, 1, 1, 1)
    scale = np.asarray(axes, dtype=np.float64).reshape(3, 1, 1, 1)
    return np.asarray(np.sqrt((((points - shift) / scale) ** 2).sum(axis=0)))


def _inside(radius: Array, width: float) -> Array:
    """Share of a voxel that lies inside radius 1, with an edge of relative ``width`` (partial volume)."""
    return np.asarray(np.clip(0.5 + (1.0 - radius) / width, 0.0, 1.0))


def _blend(image: Array, value: float | Array, share: Array) -> Array:
    return np.asarray(image * (1.0 - share) + value * share)


def _ventricles(points: Array, rng: np.random.Generator) -> Array:
    """Normalised radius of the lateral and third ventricles (the smallest of the three)."""
    width, length, height = rng.uniform([6, 24, 9], [10, 34, 13])
    bend = 0.006 * points[1] ** 2
    bent = points.copy()
    bent[0] -= np.sign(points[0]) * bend
    left, right = (_ellipsoid(bent, (side * (width + 3), -4, 10), (width, length, height)) for side in (-1, 1))
    third = _ellipsoid(points, (0, -2, -6), (3.5, 12, 12))
    return np.minimum(np.minimum(left, right), third)


def _deep_grey(points: Array) -> Array:
    """Normalised radius of the basal ganglia and thalami."""
    parts = [_ellipsoid(points, (side * 25, 8, 0), (8, 17, 12)) for side in (-1, 1)]
    parts += [_ellipsoid(points, (side * 11, -14, 0), (8, 12, 9)) for side in (-1, 1)]
    return np.asarray(np.min(parts, axis=0))


def _lesion(grid: Grid, points: Array, brain: Array, rng: np.random.Generator) -> Array:
    """Normalised radius of one irregular lesion in the white matter of one hemisphere."""
    side = rng.choice([-1.0, 1.0])
    centre = np.array([side * rng.uniform(22, 38), rng.uniform(-42, 40), rng.uniform(-12, 32)])
    axes = rng.uniform([13, 15, 15], [22, 27, 24])
    edge = 0.24 * smooth_field(grid, rng, 34.0) + 0.10 * smooth_field(grid, rng, 14.0)
    radius = _ellipsoid(points, centre, axes) + edge
    # The lesion respects the brain's surface, as a glioma does: cut off where the cortex ends.
    return np.asarray(np.maximum(radius, 1.0 + 8.0 * (brain - 0.97)))


def draw_head(grid: Grid, contrast: Contrast, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.uint8]]:
    """One head with one lesion.

    Args:
        grid: voxels to draw on.
        contrast: tissue intensities of the scanner.
        rng: the patient; equal generators give equal heads.

    Returns:
        The noise-free image, [i, j, k] in about 0..1, and the lesion mask, [i, j, k] of 0 and 1.
    """
    points = grid.points()
    size = HEAD * rng.uniform(0.95, 1.05, size=3)
    head = _ellipsoid(points, (0, 0, 0), size) + 0.012 * smooth_field(grid, rng, 60.0)
    brain = head / BRAIN
    fold = smooth_field(grid, rng, 16.0)
    texture = smooth_field(grid, rng, 9.0)

    image = np.zeros(grid.shape)
    image = _blend(image, contrast.scalp * (1 + 0.10 * texture), _inside(head, 0.03))
    image = _blend(image, contrast.skull, _inside(head / 0.945, 0.03))
    image = _blend(image, contrast.csf, _inside(head / 0.885, 0.03))
    cortex = contrast.grey * (1 + 0.09 * fold + 0.04 * texture)
    image = _blend(image, cortex, _inside(brain + 0.02 * fold, 0.03))
    sulci = (brain > 0.84) & (brain < 1.0)
    image = _blend(image, contrast.csf, _inside(1.9 - np.clip(fold, 0, None) * sulci * 0.62, 0.25))
    white = contrast.white * (1 + 0.03 * texture)
    image = _blend(image, white, _inside(brain / 0.85 + 0.07 * fold, 0.08))
    image = _blend(image, contrast.grey, _inside(_deep_grey(points) + 0.08 * texture, 0.25))

    ventricles = _ventricles(points, rng) + 0.06 * texture
    image = _blend(image, contrast.cap, _inside(ventricles / rng.uniform(1.15, 1.45), 0.3) * 0.85)
    lesion = np.maximum(_lesion(grid, points, brain, rng), 1.0 + 3.0 * (1.0 - ventricles))
    strength = contrast.lesion * rng.uniform(0.88, 1.08)
    image = _blend(image, strength * (1 + 0.10 * fold + 0.05 * texture), _inside(lesion, 0.16))
    image = _blend(image, contrast.csf, _inside(ventricles, 0.25))
    return image, (lesion < 1.0).astype(np.uint8)
