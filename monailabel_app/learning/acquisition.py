"""Which case teaches most: where models contradict themselves or each other, or what looks unlike all that is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import numpy as np

from fed_backend.payload import Tensors
from monailabel_app.imaging.intensity import luminance, window_of
from monailabel_app.imaging.orient import stack_of
from monailabel_app.imaging.volume import Array, Volume
from monailabel_app.learning.dice import dice
from monailabel_app.models.base import Labelmap, Progress, Segmenter, no_progress
from monailabel_app.models.steps import may_mirror
from monailabel_app.state.acquisition import CaseValue

__all__ = ["Rival", "farthest", "features", "most_disputed", "most_uncertain", "value_of"]

Rival = tuple[str, Tensors]
"""Another version of the model that is asked: its id and tensors."""

_GAMMA = 1.4
_BINS = 16
_TILES = 4


def value_of(
    segmenter: Segmenter, volume: Volume, progress: Progress = no_progress, rival: Rival | None = None
) -> CaseValue:
    """Ask a model about a case.

    Uncertainty is 1 - Dice between its mask and its masks of the same image with another contrast and,
    where labels name no side, mirrored (test-time augmentation; Wang et al. 2019, Neurocomputing 338).
    Disagreement is 1 - Dice between its mask and the rival's (query by committee; Seung et al., COLT 1992).

    Args:
        segmenter: holds the version that is asked; afterwards the rival, if there is one.
        volume: the image.
        progress: may raise ``Cancelled`` to stop.
        rival: a version to compare with.
    """
    mask = segmenter.segment(volume, progress)
    others = [segmenter.segment(_contrasted(volume), progress)]
    if may_mirror(segmenter.labels):
        mirrored = Volume(np.ascontiguousarray(volume.array[::-1]), volume.affine, volume.is_2d)
        others.append(segmenter.segment(mirrored, progress)[::-1])
    doubt = fmean(_disagreement(mask, other, segmenter.labels) for other in others)
    described = tuple(round(float(value), 4) for value in features(volume))
    if rival is None:
        return CaseValue(round(doubt, 4), described)
    name, tensors = rival
    segmenter.load_adapter(tensors)
    disputed = _disagreement(mask, segmenter.segment(volume, progress), segmenter.labels)
    return CaseValue(round(doubt, 4), described, round(disputed, 4), name)


def features(volume: Volume) -> Array:
    """[32] description of an image: histogram of its intensities, and a coarse picture of its middle slice.

    Both are relative to the image's own window, so that it depends neither on the model nor on units.
    """
    slices = stack_of(volume).apply(luminance(volume.array))
    unit = window_of(volume).unit(np.ascontiguousarray(slices))
    histogram = np.histogram(unit, bins=_BINS, range=(0, 1))[0] / unit.size
    middle = unit[len(unit) // 2]
    rows, columns = (np.array_split(np.arange(n), _TILES) for n in middle.shape)
    tiles = [middle[np.ix_(r, c)].mean() if r.size and c.size else 0.0 for r in rows for c in columns]
    return np.concatenate([np.sqrt(histogram), np.asarray(tiles) / _TILES])


def most_uncertain(values: Mapping[str, CaseValue], cases: Sequence[str]) -> str | None:
    """The case of ``cases`` with the largest uncertainty; the first of equals; ``None`` without any value."""
    known = [case for case in cases if case in values]
    return max(known, key=lambda case: values[case].uncertainty) if known else None


def most_disputed(values: Mapping[str, CaseValue], cases: Sequence[str]) -> tuple[str, float] | None:
    """The case of ``cases`` with the largest disagreement, and that; the first of equals; ``None`` without any."""
    found = {c: value for c in cases if c in values and (value := values[c].disagreement) is not None}
    if not found:
        return None
    case = max(found, key=lambda case: found[case])
    return case, found[case]


def farthest(
    described: Mapping[str, Sequence[float]], cases: Sequence[str], known: Collection[str]
) -> tuple[str, float] | None:
    """The case that is least like any known one, and its distance (greedy k-centre; Sener and Savarese 2018).

    Args:
        described: case -> features.
        cases: cases to choose from.
        known: cases that were corrected; where none of them is described, the most central case is chosen.

    Returns:
        ``None`` where no case is described.
    """
    open_cases = [case for case in cases if described.get(case)]
    if not open_cases:
        return None
    points = np.array([described[case] for case in open_cases])
    centres = [described[case] for case in sorted(known) if described.get(case)]
    if not centres:
        spread = np.linalg.norm(points - points.mean(axis=0), axis=1)
        return open_cases[int(spread.argmin())], 0.0
    distances = np.linalg.norm(points[:, None] - np.array(centres)[None], axis=2).min(axis=1)
    index = int(distances.argmax())
    return open_cases[index], float(distances[index])


def _contrasted(volume: Volume) -> Volume:
    """The image with darker middle tones; its extremes stay."""
    array = volume.array.astype(np.float32)
    low, high = np.percentile(array, (0.5, 99.5))
    if high <= low:
        return volume
    share = np.clip((array - low) / (high - low), 0, 1)
    changed = low + (high - low) * share**_GAMMA
    kind = volume.array.dtype
    return Volume(changed.round().astype(kind) if kind.kind in "iu" else changed, volume.affine, volume.is_2d)


def _disagreement(one: Labelmap, two: Labelmap, labels: Mapping[str, int]) -> float:
    return 1 - fmean(dice(one == value, two == value) for value in labels.values())
