"""Interactive segmentation without learning: what a network has to beat with the same clicks.

Both work on one grey slice in 0..1. GrowCut: Vezhnevets & Konouchine 2005, in the form of Zhu et
al. 2014 (shortest paths), which is what 3D Slicer's "Grow from seeds" does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra

from monailabel_app.models.prompting import SlicePrompt

__all__ = ["GrowCut", "RegionGrowing"]

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class GrowCut:
    """Every pixel belongs to the seed that reaches it over the least change of brightness.

    Without a click outside, the picture's border is seeded as outside; with a box, what is beyond it.
    """

    def __init__(self, seed_radius: int = 1) -> None:
        self._radius = seed_radius

    def look(self, image: Image) -> None:
        self._shape = image.shape
        numbers = np.arange(image.size).reshape(image.shape)
        ends, costs = [], []
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            here = np.s_[: image.shape[0] - down, max(0, -right) : image.shape[1] - max(0, right)]
            there = np.s_[down:, max(0, right) : image.shape[1] + min(0, right)]
            ends.append((numbers[here].ravel(), numbers[there].ravel()))
            # a little for the way itself, so that flat areas are shared by distance
            costs.append(np.hypot(down, right) * (np.abs(image[here] - image[there]).ravel() + 1e-3))
        rows, columns = (np.concatenate(parts) for parts in zip(*ends, strict=True))
        graph = sparse.coo_array((np.concatenate(costs), (rows, columns)), shape=(image.size, image.size))
        self._graph = sparse.csr_array(graph + graph.T)

    def answer(self, prompt: SlicePrompt, *, first: bool) -> Mask:
        inside, outside = _seeds(prompt, self._shape, self._radius)
        if prompt.box is not None:
            outside |= ~_filled(prompt.box, self._shape)
            if not inside.any():
                x0, y0, x1, y1 = prompt.box
                inside[int((y0 + y1) / 2), int((x0 + x1) / 2)] = True
        elif not outside.any():
            outside[[0, -1], :] = outside[:, [0, -1]] = True
        inside &= ~outside
        ways = [
            dijkstra(self._graph, indices=np.flatnonzero(seeds), min_only=True).reshape(self._shape)
            for seeds in (inside, outside)
        ]
        mask: Mask = ways[0] < ways[1]
        return mask


class RegionGrowing:
    """Pixels connected to a click whose brightness is near the clicks'; nearer until no click outside is taken."""

    def look(self, image: Image) -> None:
        self._image = ndimage.gaussian_filter(image, 1.0)

    def answer(self, prompt: SlicePrompt, *, first: bool) -> Mask:
        shape = self._image.shape
        allowed = np.ones(shape, dtype=bool) if prompt.box is None else _filled(prompt.box, shape)
        inside, outside = _seeds(prompt, shape, 0)
        if not inside.any():
            rows, columns = np.nonzero(allowed)
            inside[int(rows.mean()), int(columns.mean())] = True
        levels = self._image[inside]
        for tolerance in np.linspace(0.15, 0.01, 15):
            near = allowed & (np.abs(self._image[..., None] - levels).min(axis=-1) <= tolerance)
            labels, _ = ndimage.label(near)
            grown: Mask = np.isin(labels, np.unique(labels[inside])) & near
            if not (grown & outside).any():
                break
        filled: Mask = ndimage.binary_fill_holes(grown)
        return filled & ~outside


def _seeds(prompt: SlicePrompt, shape: tuple[int, ...], radius: int) -> tuple[Mask, Mask]:
    inside, outside = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for x, y, belongs in prompt.points:
        row, column = min(int(y), shape[0] - 1), min(int(x), shape[1] - 1)
        area = np.s_[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]
        (inside if belongs else outside)[area] = True
        (outside if belongs else inside)[row, column] = False
    return inside, outside


def _filled(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    x0, y0, x1, y1 = (round(edge) for edge in box)
    mask[max(0, y0) : y1, max(0, x0) : x1] = True
    return mask
