"""How well a segmenter's automatic masks agree with corrected labels, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monailabel_app.imaging.volume import Volume
from monailabel_app.labels import of_values
from monailabel_app.learning.dice import dice
from monailabel_app.learning.surface import is_real, surface_distance
from monailabel_app.models.base import Case, Labelmap, Progress, Segmenter, no_progress

__all__ = ["Measured", "NamedCases", "evaluate", "measure", "measure_mask"]

NamedCases = Sequence[tuple[str, Case | tuple[Volume, Labelmap]]]
"""Name of each case, and the case."""


@dataclass(frozen=True)
class Measured:
    """One mask against the corrected one.

    Attributes:
        dice: label -> volumetric Dice; a label absent from both scores 1.
        surface_mm: label -> average surface distance, for labels that both masks hold, where the
            image's voxel size is real.
    """

    dice: dict[str, float]
    surface_mm: dict[str, float]


def measure_mask(mask: Labelmap, truth: Labelmap, volume: Volume, labels: Mapping[str, int]) -> Measured:
    """Compare two masks of one image, at its own resolution.

    Args:
        mask: [i, j, k] of the image's grid.
        truth: likewise.
        volume: the image; only its voxel size counts.
        labels: label name -> voxel value.
    """
    pairs = {label: (mask == value, truth == value) for label, value in labels.items()}
    surface = {}
    if is_real(volume.spacing, volume.is_2d):
        for label, pair in pairs.items():
            distance = surface_distance(*pair, volume.spacing)
            if distance is not None:
                surface[label] = distance
    return Measured({label: dice(*pair) for label, pair in pairs.items()}, surface)


def measure(segmenter: Segmenter, cases: NamedCases, progress: Progress = no_progress) -> dict[str, Measured]:
    """Case name -> agreement of the automatic mask with the true labels, of those that were annotated.

    Args:
        segmenter: as it stands.
        cases: name and case.
        progress: called after each case.
    """
    found: dict[str, Measured] = {}
    for done, (name, case) in enumerate(cases, start=1):
        volume, truth, annotated, _ = Case(*case)
        found[name] = measure_mask(segmenter.segment(volume), truth, volume, of_values(segmenter.labels, annotated))
        progress(done / len(cases))
    return found


def evaluate(segmenter: Segmenter, cases: NamedCases, progress: Progress = no_progress) -> dict[str, dict[str, float]]:
    """Case name -> label name -> volumetric Dice; see :func:`measure`."""
    return {name: found.dice for name, found in measure(segmenter, cases, progress).items()}
