"""Where the pictures for training the embedded base come from: procedural, and two public sets.

``nuclei-dsb2018`` (CC0) and ``hippocampus-msd`` (CC BY-SA 4.0) are read from a folder beside the
project. ``lgg-5site`` is never read here: the benchmarks are measured on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from monailabel_app.imaging.files import read_mask, read_volume
from monailabel_app.imaging.intensity import luminance, window_of
from monailabel_app.learning import base_shapes
from monailabel_app.learning.base_shapes import Mask, Picture

__all__ = ["Source", "held_out_cases", "sources"]

Source = Callable[[int, np.random.Generator], Picture]
"""(size, generator) -> a picture; draws again where a picture shows no object."""

PATTERNS = {"nuclei-dsb2018": "*/images/*.png", "hippocampus-msd": "images/*.nii.gz"}
"""Where the images of each set lie."""
HELD_OUT = 7
"""Every seventh case, in order of names, is never trained on."""


def sources(data: Path | None, *, held_out: bool) -> dict[str, tuple[float, Source]]:
    """Name -> (weight, source); the real sets only where ``data`` has them.

    Args:
        data: folder with ``nuclei-dsb2018`` and ``hippocampus-msd``, or ``None``.
        held_out: draw from the cases that training never sees.
    """
    found: dict[str, tuple[float, Source]] = {"procedural": (0.5, base_shapes.draw)}
    if data is not None:
        nuclei = _pairs(data / "nuclei-dsb2018", PATTERNS["nuclei-dsb2018"], held_out)
        if nuclei:
            found["nuclei-dsb2018"] = (0.25, _nuclei(nuclei))
        hippocampi = _pairs(data / "hippocampus-msd", PATTERNS["hippocampus-msd"], held_out)
        if hippocampi:
            found["hippocampus-msd"] = (0.25, _hippocampi(hippocampi))
    return found


def held_out_cases(folder: Path) -> list[tuple[Path, Path]]:
    """(image, labels) of the cases of a set that training never sees.

    Args:
        folder: of ``nuclei-dsb2018`` or ``hippocampus-msd``, by its name.
    """
    return _pairs(folder, PATTERNS[folder.name], held_out=True)


def _pairs(folder: Path, pattern: str, held_out: bool) -> list[tuple[Path, Path]]:
    images = sorted(folder.glob(pattern))
    chosen = [image for number, image in enumerate(images) if (number % HELD_OUT == 0) == held_out]
    return [(image, image.parent.parent / "labels" / image.name) for image in chosen]


def _nuclei(pairs: Sequence[tuple[Path, Path]]) -> Source:
    """Crops of microscopy pictures; the objects are single nuclei, and now and then all of them."""
    loaded = []
    for image_path, label_path in pairs:
        volume = read_volume(image_path)
        grey = window_of(volume).unit(luminance(volume.array))[:, :, 0]
        loaded.append((grey, read_mask(label_path).array[:, :, 0].astype(np.int32)))

    def source(size: int, rng: np.random.Generator) -> Picture:
        while True:
            grey, labels = loaded[int(rng.integers(len(loaded)))]
            side = int(min(rng.integers(80, 321), *grey.shape))
            row, column = (int(rng.integers(0, n - side + 1)) for n in grey.shape)
            area = (slice(row, row + side), slice(column, column + side))
            image, crop = _turn(grey[area], labels[area], rng)
            masks = [crop == value for value in np.unique(crop) if value]
            if len(masks) > 1 and rng.random() < 0.2:
                masks = [crop > 0]
            picture = _scaled(image, masks, (size, size), size)
            if picture[1]:
                return picture

    return source


def _hippocampi(pairs: Sequence[tuple[Path, Path]]) -> Source:
    """Slices of small MR volumes in any direction; anterior, posterior, and the whole structure."""
    loaded = []
    for image_path, label_path in pairs:
        volume = read_volume(image_path)
        loaded.append((window_of(volume).unit(volume.array), read_mask(label_path).array.astype(np.int32)))

    def source(size: int, rng: np.random.Generator) -> Picture:
        while True:
            grey, labels = loaded[int(rng.integers(len(loaded)))]
            axis = int(rng.integers(3))
            index = int(rng.integers(grey.shape[axis]))
            image, crop = _turn(np.moveaxis(grey, axis, 0)[index], np.moveaxis(labels, axis, 0)[index], rng)
            scale = size * rng.uniform(0.4, 1.0) / max(image.shape)
            shape = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
            picture = _scaled(image, [crop == 1, crop == 2, crop > 0], shape, size)
            if picture[1]:
                return picture

    return source


def _turn(
    image: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    turns = int(rng.integers(4))
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if rng.random() < 0.15:
        image = 1 - image
    return np.ascontiguousarray(image ** np.float32(np.exp(rng.normal(0, 0.2)))), np.ascontiguousarray(labels)


def _scaled(image: npt.NDArray[np.float32], masks: Sequence[Mask], shape: tuple[int, int], size: int) -> Picture:
    """Scale to ``shape`` and pad below and right to the square; objects that became tiny are dropped."""
    stacked = torch.from_numpy(np.stack([image, *(mask.astype(np.float32) for mask in masks)]))[None]
    scaled = F.interpolate(stacked, size=shape, mode="bilinear", align_corners=False, antialias=True)[0]
    padded = F.pad(scaled, (0, size - shape[1], 0, size - shape[0])).numpy()
    kept = [mask > 0.5 for mask in padded[1:]]
    return padded[0], [mask for mask in kept if mask.sum() >= base_shapes.MIN_AREA]
