"""How well a segmenter's automatic masks agree with corrected labels, case by case."""

from __future__ import annotations

from collections.abc import Sequence

from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.dice import dice
from monailabel_app.models.base import Labelmap, Progress, Segmenter, no_progress

__all__ = ["evaluate"]


def evaluate(
    segmenter: Segmenter, cases: Sequence[tuple[str, Volume, Labelmap]], progress: Progress = no_progress
) -> dict[str, dict[str, float]]:
    """Volumetric Dice at the image's own resolution.

    Args:
        segmenter: as it stands.
        cases: (name, image, true labels in the image's own grid).
        progress: called after each case.

    Returns:
        Case name -> label name -> Dice; a label absent from both masks scores 1.
    """
    scores: dict[str, dict[str, float]] = {}
    for done, (name, volume, truth) in enumerate(cases, start=1):
        mask = segmenter.segment(volume)
        scores[name] = {label: dice(mask == value, truth == value) for label, value in segmenter.labels.items()}
        progress(done / len(cases))
    return scores
