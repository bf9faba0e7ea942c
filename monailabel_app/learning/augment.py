"""Light augmentation of a batch: what scanners and positioning change, not what anatomy means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Matrices", "augment", "intensity", "move", "moves", "places_after"]

Matrices = npt.NDArray[np.float32]


def augment(images: Tensor, targets: Tensor, rng: np.random.Generator, *, mirror: bool) -> tuple[Tensor, Tensor]:
    """Vary a batch of slices or cubes.

    Args:
        images: [b, c, *spatial] in 0..1.
        targets: [b, classes, *spatial], background first, summing to 1.
        rng: source of all randomness.
        mirror: whether left and right may be exchanged (not where labels name a side).

    Returns:
        Images and targets of the same shapes.
    """
    images, targets = move(images, targets, moves(len(images), images.ndim - 2, rng, mirror=mirror))
    return intensity(images, rng), targets


def moves(count: int, dims: int, rng: np.random.Generator, *, mirror: bool) -> Matrices:
    """Rotations by up to 10 degrees in the plane, scales of 10 %, shifts of 5 %, mirrored columns.

    Returns:
        [count, dims, dims + 1]: where in the original, from -1 to 1, a place of the result comes from.
    """
    theta = np.zeros((count, dims, dims + 1), dtype=np.float32)
    for matrix in theta:
        angle, scale = np.deg2rad(rng.uniform(-10, 10)), np.exp(rng.uniform(-0.1, 0.1))
        matrix[:, :dims] = np.eye(dims) * scale
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        matrix[:2, :2] = ((cosine, -sine), (sine, cosine))  # affine_grid counts columns, rows, slices
        matrix[:, dims] = rng.uniform(-0.1, 0.1, dims)  # the square runs from -1 to 1
        if mirror and rng.random() < 0.5:
            matrix[:, 0] *= -1
    return theta


def move(images: Tensor, targets: Tensor, theta: Matrices) -> tuple[Tensor, Tensor]:
    """Images and targets after :func:`moves`."""
    grid = F.affine_grid(torch.from_numpy(theta), [len(images), 1, *images.shape[2:]], align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    foreground = F.grid_sample(targets[:, 1:], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved, torch.cat([1 - foreground.sum(dim=1, keepdim=True), foreground], dim=1)


def places_after(matrix: Matrices, places: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """Where places on a square of ``size`` pixels lie after a move.

    Args:
        matrix: [2, 3], one of :func:`moves`.
        places: [n, 2] (x, y) in pixels; the centre of the first pixel is (0.5, 0.5).
        size: side of the square.
    """
    origin = 2 * places / size - 1
    found: npt.NDArray[np.float64] = (
        (np.linalg.solve(matrix[:, :2].astype(float), (origin - matrix[:, 2]).T).T + 1) * size / 2
    )
    return found


def intensity(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Gamma, gain, a smooth bias field and noise; padding stays dark."""
    count, dims = images.shape[0], images.ndim - 2
    ones = (1,) * (dims + 1)
    gamma = torch.from_numpy(np.exp(rng.normal(0, 0.15, (count, *ones))).astype(np.float32))
    gain = torch.from_numpy(np.exp(rng.normal(0, 0.1, (count, *ones))).astype(np.float32))
    knots = torch.from_numpy(rng.normal(0, 0.15, (count, 1, *(3,) * dims)).astype(np.float32))
    field = F.interpolate(
        knots, size=images.shape[2:], mode="trilinear" if dims == 3 else "bilinear", align_corners=True
    )
    noise = rng.standard_normal((count, 1, *images.shape[2:]), dtype=np.float32)
    level = rng.uniform(0, 0.05, (count, *ones)).astype(np.float32)
    return images.clamp(min=0) ** gamma * gain * field.exp() + torch.from_numpy(noise * level)
