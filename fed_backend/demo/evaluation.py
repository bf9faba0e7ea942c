"""Dice of automatic masks on test cases, asked for over HTTP and compared with the annotator's labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import numpy.typing as npt

from fed_backend.demo.baseline import dice, threshold_baseline
from fed_backend.demo.client import SiteClient
from fed_backend.demo.dataset import Case, SiteData, read_pair
from fed_backend.demo.results import STAGES, Overlay
from fed_backend.demo.slices import make_overlay, slice_axis, worst_slice

__all__ = ["Segmented", "baseline_of", "segment_cases", "worst_overlay"]

TITLES = {"before": "base", "local": "after local learning", "federated": "after federation"}


@dataclass(frozen=True)
class Segmented:
    """Masks of one version on some cases: case -> mask [i, j, k] and case -> volumetric Dice."""

    version: str
    masks: dict[str, npt.NDArray[np.uint8]]
    dice: dict[str, float]


def segment_cases(
    client: SiteClient,
    model: str,
    version: str,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Segmented:
    """Automatic masks of ``cases`` by one version, and their Dice against the truth."""
    masks: dict[str, npt.NDArray[np.uint8]] = {}
    scores: dict[str, float] = {}
    for number, case in enumerate(cases, start=1):
        masks[case.name] = client.segment(model, case.name, version=version)
        scores[case.name] = dice(masks[case.name], read_pair(case)[1])
        progress(number, len(cases))
    return Segmented(version, masks, scores)


def worst_overlay(cases: Sequence[Case], stages: dict[str, Segmented]) -> Overlay:
    """Pictures of the test case that is worst at the end, on the slice where its last mask is worst."""
    last = stages[STAGES[-1]]
    case = min(cases, key=lambda item: last.dice[item.name])
    image, truth = read_pair(case)
    affine = np.asarray(nib.load(case.image).affine)
    index, _ = worst_slice(last.masks[case.name], truth, slice_axis(image.shape, affine))
    masks = [(TITLES[stage], stages[stage].masks[case.name]) for stage in STAGES]
    return make_overlay(case.site, case.name, "test", image, truth, [*masks, ("truth", truth)], affine, index)


def baseline_of(data: Sequence[SiteData]) -> float:
    """Dice on all test cases of the best global threshold of all training cases."""
    training = [read_pair(case) for site in data for case in site.part("train")]
    test = [read_pair(case) for site in data for case in site.part("test")]
    return threshold_baseline(training, test)[1]
