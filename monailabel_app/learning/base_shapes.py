"""Procedural slices with known objects: blobs, shells and textures as they occur in scans.

Nothing here is drawn from a patient. The point is variety: contrast of either sign, soft edges,
bias, noise, occlusion, objects inside objects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["MIN_AREA", "Mask", "Picture", "draw"]

Mask = npt.NDArray[np.bool_]
Picture = tuple[npt.NDArray[np.float32], list[Mask]]
"""Image [size, size] in 0..1, and the objects on it, each a mask of the same shape."""

MIN_AREA = 40


def draw(size: int, rng: np.random.Generator) -> Picture:
    """One picture with 1 to 12 visible objects.

    Args:
        size: side in pixels.
        rng: source of all randomness.
    """
    image = rng.uniform(0.05, 0.4) + _texture(size, rng, rng.uniform(0, 0.08))
    owner = np.zeros((size, size), dtype=np.int16)
    next_owner = 1
    inside: Mask | None = None
    if rng.random() < 0.6:
        next_owner = _body(image, owner, size, rng)
        inside = owner > 0
    for _ in range(int(rng.integers(1, 11))):
        radius = size * float(np.exp(rng.uniform(np.log(0.02), np.log(0.2))))
        blob = _lobed(size, _place(inside, size, rng), radius, rng)
        _paint(image, owner, blob, next_owner, rng)
        next_owner += 1
    masks = [owner == number for number in range(1, next_owner)]
    return _scan(image, rng), [mask for mask in masks if mask.sum() >= MIN_AREA]


def _body(image: npt.NDArray[np.float32], owner: npt.NDArray[np.int16], size: int, rng: np.random.Generator) -> int:
    """A large outline with up to three shells inside each other, like skin, skull and brain."""
    centre = size / 2 + rng.uniform(-0.06, 0.06, 2) * size
    radius, state = size * rng.uniform(0.28, 0.48), rng.bit_generator.state
    number = 1
    for shrink in (1.0, rng.uniform(0.85, 0.95), rng.uniform(0.7, 0.82))[: int(rng.integers(1, 4))]:
        shape = np.random.default_rng(0)
        shape.bit_generator.state = state  # the same outline, only smaller
        _paint(image, owner, _blob(size, centre, radius * shrink, shape), number, rng)
        number += 1
    return number


def _place(inside: Mask | None, size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    if inside is not None and inside.any() and rng.random() < 0.85:
        rows, columns = np.nonzero(inside)
        chosen = int(rng.integers(len(rows)))
        return np.asarray((rows[chosen], columns[chosen]), dtype=np.float64)
    return rng.uniform(0, size, 2)


def _lobed(size: int, centre: npt.NDArray[np.float64], radius: float, rng: np.random.Generator) -> Mask:
    """One outline, or several that overlap, as lobes, folds and tumours do."""
    blob = _blob(size, centre, radius, rng)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            beside = centre + rng.normal(0, 0.7 * radius, 2)
            lobe = _blob(size, beside, radius * rng.uniform(0.4, 0.9), rng)
            if (lobe & blob).any():
                blob |= lobe
    return blob


def _blob(size: int, centre: npt.NDArray[np.float64], radius: float, rng: np.random.Generator) -> Mask:
    """A star-shaped outline, stretched and turned: r(angle) with a few random harmonics."""
    turn, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.6, 0.6) / 2)
    strength = rng.uniform(0, 0.35)
    harmonics = rng.normal(0, 1, 5) * strength / np.arange(2, 7)
    phases = rng.uniform(0, 2 * np.pi, 5)
    reach = radius * stretch ** np.sign(stretch - 1) * (1 + float(np.abs(harmonics).sum()))
    low = np.clip(np.floor(centre - reach), 0, size).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, size).astype(int)
    blob = np.zeros((size, size), dtype=bool)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]] - np.asarray(centre, dtype=np.float32)[:, None, None]
    u = (x * np.cos(turn) + y * np.sin(turn)) / stretch
    v = (y * np.cos(turn) - x * np.sin(turn)) * stretch
    angle = np.arctan2(v, u)
    limit = np.full_like(angle, radius)
    for order, (height, phase) in enumerate(zip(harmonics, phases, strict=True), start=2):
        limit += np.float32(radius * height) * np.cos(order * angle + np.float32(phase))
    blob[low[0] : high[0], low[1] : high[1]] = np.hypot(u, v) < limit
    return blob


def _paint(
    image: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int16],
    blob: Mask,
    number: int,
    rng: np.random.Generator,
) -> None:
    """Give a blob its own brightness and texture, at least a little off what lies around it."""
    if not blob.any():
        return
    around = float(image[blob].mean())
    level = around + rng.choice((-1, 1)) * rng.uniform(0.06, 0.5)
    level = float(np.clip(level, 0.0, 1.0)) if abs(np.clip(level, 0, 1) - around) > 0.05 else 1 - around
    grain = _texture(image.shape[0], rng, rng.uniform(0, 0.08)) if rng.random() < 0.5 else np.zeros_like(image)
    edge = rng.uniform(0.3, 1.8)
    rows, columns = np.flatnonzero(blob.any(axis=1)), np.flatnonzero(blob.any(axis=0))
    area = tuple(slice(max(0, int(at[0]) - 8), int(at[-1]) + 9) for at in (rows, columns))
    soft = ndimage.gaussian_filter(blob[area].astype(np.float32), edge, mode="nearest")
    image[area] += soft * (level + grain[area] - image[area])
    owner[blob] = number


def _texture(size: int, rng: np.random.Generator, strength: float) -> npt.NDArray[np.float32]:
    """Noise of a random coarseness with standard deviation ``strength``."""
    knots = int(rng.integers(4, size // 3))
    coarse = rng.standard_normal((knots, knots), dtype=np.float32)
    smooth: npt.NDArray[np.float32] = ndimage.zoom(coarse, size / knots, order=1, grid_mode=True, mode="nearest")
    return smooth[:size, :size] * np.float32(strength / max(float(smooth.std()), 1e-6))


def _scan(image: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Bias field, noise, sometimes inverted, stretched to 0..1 as the site's window does."""
    if rng.random() < 0.3:
        image = 1 - image
    if rng.random() < 0.5:
        image = image * np.exp(_texture_field(image.shape[0], rng))
    image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.06))
    low, high = np.percentile(image, (0.5, 99.5))
    stretched: npt.NDArray[np.float32] = np.clip((image - low) / max(float(high - low), 1e-3), 0, 1)
    return stretched.astype(np.float32)


def _texture_field(size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    knots = rng.normal(0, 0.25, (3, 3)).astype(np.float32)
    field: npt.NDArray[np.float32] = ndimage.zoom(knots, size / 3, order=1, grid_mode=True, mode="nearest")
    return field[:size, :size]
