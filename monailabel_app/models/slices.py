"""Slices as a network sees them: scaled onto a square with their aspect kept, and masks scaled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from monailabel_app.imaging.intensity import Window, luminance, window_of
from monailabel_app.imaging.orient import Stack, stack_of
from monailabel_app.imaging.volume import Array, Volume
from monailabel_app.models.base import Case, Cases, Labelmap

__all__ = ["Example", "Fit", "Slices", "examples_of", "one_hot"]

CHUNK = 2**24
"""Numbers that one full-resolution chunk may hold (64 MiB of float32)."""


@dataclass(frozen=True)
class Fit:
    """How a rows x columns slice lies on a square of ``size`` pixels.

    Attributes:
        source: rows and columns of the slice.
        scaled: rows and columns that it takes up on the square, in proportion to millimetres.
        corner: row and column of its first pixel there; the rest is padding.
        size: side of the square.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]
    size: int

    @classmethod
    def of(cls, source: tuple[int, int], spacing: tuple[float, float], size: int, *, centred: bool) -> Fit:
        """Fit a slice with pixels of ``spacing`` (rows, columns; millimetres) onto a square."""
        extent = [n * step for n, step in zip(source, spacing, strict=True)]
        rows, columns = (min(size, max(1, round(size * e / max(extent)))) for e in extent)
        corner = ((size - rows) // 2, (size - columns) // 2) if centred else (0, 0)
        return cls(source, (rows, columns), corner, size)

    def shrink(self, images: Tensor) -> Tensor:
        """[n, c, rows, columns] -> [n, c, size, size], area-weighted, padded with 0."""
        scaled = _resize(images, self.scaled)
        top, left = self.corner
        right, bottom = self.size - left - self.scaled[1], self.size - top - self.scaled[0]
        return F.pad(scaled, (left, right, top, bottom))

    def expand(self, maps: Tensor) -> Tensor:
        """[n, c, h, w] maps of the square, of any resolution -> [n, c, rows, columns]."""
        maps = _resize(maps, (self.size, self.size))
        top, left = self.corner
        return _resize(maps[..., top : top + self.scaled[0], left : left + self.scaled[1]], self.source)

    def point(self, row: float, column: float) -> tuple[float, float]:
        """(x, y) on the square of a position on the slice; pixel centres lie at halves."""
        y = self.corner[0] + row * self.scaled[0] / self.source[0]
        x = self.corner[1] + column * self.scaled[1] / self.source[1]
        return x, y


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    smaller = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=smaller)


class Slices:
    """A volume as upright slices with 0..1 intensities.

    Args:
        volume: the image.
        size: side of the network's square.
        colour: three channels (grey is repeated) instead of one (colour becomes luminance).
        centred: padding on all sides instead of below and right.
    """

    def __init__(self, volume: Volume, size: int, *, colour: bool = False, centred: bool = True) -> None:
        self.stack: Stack = stack_of(volume)
        self.window: Window = window_of(volume)
        self._array = self.stack.apply(volume.array if colour else luminance(volume.array))
        self._colour = colour
        _, rows, columns = self.stack.shape
        self.fit = Fit.of((rows, columns), self.stack.spacing[1:], size, centred=centred)

    def __len__(self) -> int:
        return self.stack.shape[0]

    def images(self, chosen: slice | list[int]) -> Tensor:
        """Slices as [n, channels, size, size] float32, 0..1."""
        unit = self.window.unit(np.ascontiguousarray(self._array[chosen]))
        batch = torch.from_numpy(unit)
        batch = batch.permute(0, 3, 1, 2) if batch.ndim == 4 else batch[:, None]
        shrunk = self.fit.shrink(batch)
        return shrunk.expand(-1, 3, -1, -1) if self._colour and shrunk.shape[1] == 1 else shrunk

    def chunks(self, channels: int, at_most: int = 16) -> Iterator[slice]:
        """Ranges of slices whose full-resolution maps of ``channels`` stay within memory."""
        rows, columns = self.fit.source
        step = max(1, min(at_most, CHUNK // (channels * rows * columns)))
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))


def one_hot(labels: Array, values: list[int]) -> Tensor:
    """[n, ...] uint8 -> [n, 1 + labels, ...] float32; channel 0 is what has none of the values."""
    channels = [labels == value for value in values]
    rest = ~np.any(channels, axis=0)
    return torch.from_numpy(np.stack([rest, *channels], axis=1).astype(np.float32))


class Example:
    """One training case: its slices as the network sees them, its labels at full resolution.

    Labels are scaled only when drawn, as area shares of each label (soft targets), so thin
    structures do not vanish. Those that nobody annotated are left out of the targets.

    Attributes:
        unknown: [1 + labels] bool, which labels nobody annotated here.
    """

    def __init__(
        self, slices: Slices, labels: Labelmap, values: list[int], annotated: frozenset[int] | None = None
    ) -> None:
        self.slices = slices
        self.values = values
        self.labels = np.ascontiguousarray(slices.stack.apply(labels))
        self.unknown = torch.tensor([False, *(annotated is not None and value not in annotated for value in values)])
        if annotated is not None:
            self.labels = np.where(np.isin(self.labels, list(annotated)), self.labels, 0)
        self.images = torch.cat([slices.images(part).half() for part in slices.chunks(1)])
        self.with_label = {value: np.flatnonzero((self.labels == value).any(axis=(1, 2))) for value in values}
        self.with_label = {value: found for value, found in self.with_label.items() if found.size}

    def draw(self, index: int) -> tuple[Tensor, Tensor]:
        """Image [c, size, size] float32 in 0..1, and target [1 + labels, size, size] summing to 1."""
        target = self.slices.fit.shrink(one_hot(self.labels[index : index + 1], self.values))[0]
        target[0] = 1 - target[1:].sum(dim=0)  # padding is background
        return self.images[index].float(), target


def examples_of(cases: Cases, slices: Callable[[Volume], Slices], values: list[int]) -> list[Example]:
    """Training cases as examples; a case that is listed several times, to be drawn more often, is held once.

    Args:
        cases: images and labels.
        slices: cuts an image for the network.
        values: voxel values of the labels.
    """
    made: dict[tuple[int, int], Example] = {}
    known = [Case(*case) for case in cases]
    for case in known:
        if (id(case.volume), id(case.labels)) not in made:
            made[id(case.volume), id(case.labels)] = Example(slices(case.volume), case.labels, values, case.annotated)
    return [made[id(case.volume), id(case.labels)] for case in known]
