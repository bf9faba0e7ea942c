"""Cases for the measure of effort: of each data set, cases to correct at a site, and cases to measure on.

No case here was used to train the embedded base: of the two public sets only those that are held
out from it, and ``lgg-5site`` as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench import lgg
from monailabel_app.imaging.files import conform_mask, read_mask, read_volume
from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.planes import Plane
from monailabel_app.learning.base_shapes import MIN_AREA, Picture
from monailabel_app.learning.base_sources import Source, held_out_cases
from monailabel_app.models.base import Labelmap

__all__ = ["Case", "Site", "Target", "sites", "slices_source"]

CORRECTED = 7


@dataclass(frozen=True)
class Target:
    """One structure on one slice: what the simulated annotator is after.

    Attributes:
        label: name.
        axis: volume axis that the slice is across.
        index: slice.
    """

    label: str
    axis: int
    index: int


@dataclass(frozen=True)
class Case:
    """An image with its true labels in its own grid."""

    volume: Volume
    labels: Labelmap


@dataclass(frozen=True)
class Site:
    """Cases of one place.

    Attributes:
        name: data set, and site where it has several.
        schema: label name -> voxel value.
        corrected: in the order in which they are corrected.
        measured: cases that nothing was trained on.
    """

    name: str
    schema: dict[str, int]
    corrected: list[Case]
    measured: list[Case]

    def targets(self, case: Case, per_label: int) -> list[Target]:
        """Slices of a case, ``per_label`` of each label: those with the most of it, and then smaller ones."""
        axis = _axis(case.volume)
        across = tuple(a for a in range(3) if a != axis)
        found = []
        for label, value in self.schema.items():
            areas = (case.labels == value).sum(axis=across)
            usable = np.flatnonzero(areas >= MIN_AREA)
            order = usable[np.argsort(-areas[usable], kind="stable")]
            picks = order[np.linspace(0, 0.6 * (len(order) - 1), min(per_label, len(order))).astype(int)]
            found += [Target(label, axis, int(index)) for index in picks]
        return found


def sites(data: Path, *, full: bool) -> list[Site]:
    """One site of each data set, or with ``full`` all four of ``lgg-5site``."""
    found = []
    for name, place, schema in (
        ("nuclei-dsb2018", "fluo_256x256", {"nucleus": 1}),
        ("hippocampus-msd", "", {"anterior": 1, "posterior": 2}),
    ):
        pairs = [pair for pair in held_out_cases(data / name) if not place or place in pair[0].parts]
        cases = [_read(image, label, binary=len(schema) == 1) for image, label in pairs[: CORRECTED + 8]]
        if len(cases) > CORRECTED:
            found.append(Site(name, schema, cases[:CORRECTED], cases[CORRECTED:]))
    folder = data / "lgg-5site"
    for place in ("CS", "DU", "FG", "HT") if full else ("FG",):
        if (folder / place).is_dir():
            parts = lgg.load(folder, place)[place]
            corrected, measured = (
                [Case(one.volume, one.mask) for one in chosen]
                for chosen in (parts["train"], parts["val"] + parts["test"])
            )
            found.append(Site(f"lgg-5site/{place}", {"tumour": 1}, corrected, measured))
    return found


def slices_source(cases: Sequence[tuple[Site, Case]]) -> Source:
    """Slices of cases as pictures with their labels as objects; for measuring, not for training."""

    def source(size: int, rng: np.random.Generator) -> Picture:
        site, case = cases[int(rng.integers(len(cases)))]
        targets = site.targets(case, 3)
        if not targets:
            return source(size, rng)
        target = targets[int(rng.integers(len(targets)))]
        plane = Plane.of(case.volume, target.axis, size)
        image = plane.image(case.volume, window_of(case.volume), target.index)[0, 0].numpy()
        true = plane.upright(case.labels, target.index)
        objects = [_square(plane, true == value) for value in site.schema.values() if (true == value).any()]
        return image, objects

    return source


def _square(plane: Plane, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    import torch

    shrunk = plane.fit.shrink(torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None])[0, 0]
    square: npt.NDArray[np.bool_] = shrunk.numpy() > 0.5
    return square


def _axis(volume: Volume) -> int:
    if volume.is_2d:
        return 2
    spacing, shape = volume.spacing, volume.shape
    return int(np.argmax(spacing)) if max(spacing) > 1.2 * min(spacing) else int(np.argmin(shape))


def _read(image: Path, label: Path, *, binary: bool) -> Case:
    volume = read_volume(image)
    labels = conform_mask(read_mask(label), volume)
    return Case(volume, (labels > 0).astype(np.uint8) if binary else labels.astype(np.uint8))
