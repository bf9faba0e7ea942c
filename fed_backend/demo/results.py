"""What a run of the demonstration found out, as value objects, and ``report.json`` made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["STAGES", "Annotation", "Overlay", "RoundResult", "RunResult", "SiteResult", "report_dict"]

STAGES = ("before", "local", "federated")
"""When the test cases are segmented: with the base, after local learning, after the federation."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Overlay:
    """One slice of one case with several masks, oriented for display.

    Attributes:
        site: the site.
        case: the case.
        kind: ``annotation`` (a case that was corrected) or ``test`` (one that no training saw).
        image: [row, column] intensities 0..1, front of the head up, the patient's left on the right.
        aspect: height of a pixel divided by its width.
        truth: [row, column] true mask.
        masks: (title, mask, Dice on this slice or ``None``) from left to right.
    """

    site: str
    case: str
    kind: str
    image: npt.NDArray[np.float64]
    aspect: float
    truth: Mask
    masks: tuple[tuple[str, Mask, float | None], ...]


@dataclass(frozen=True)
class Annotation:
    """One correction as the scripted annotator made it.

    Attributes:
        case: the case.
        part: part that the site assigned to it.
        dice_shown: volumetric Dice of the automatic mask that was shown.
        slice_shown: Dice of that mask on its worst slice.
        slice_prompted: Dice on that slice after prompting, ``None`` where the model takes no prompts.
        wrong: voxels by which the automatic mask was wrong on that slice.
        overlay: pictures of that slice.
    """

    case: str
    part: str
    dice_shown: float
    slice_shown: float
    slice_prompted: float | None
    wrong: int
    overlay: Overlay


@dataclass(frozen=True)
class SiteResult:
    """One site's figures.

    Attributes:
        name: the site.
        dice: stage (see :data:`STAGES`) -> test case -> volumetric Dice.
        promoted: versions that the gate let serve (the base does not count).
        refused: versions that the gate refused.
        bytes_sent: payload bytes that left the site in all rounds.
        seconds: seconds spent training at the site, locally and in rounds.
        reasons: (version, what the gate said), in order.
    """

    name: str
    dice: Mapping[str, Mapping[str, float]]
    promoted: int
    refused: int
    bytes_sent: int
    seconds: float
    reasons: Sequence[tuple[str, str]] = ()

    def mean(self, stage: str) -> float:
        return float(np.mean(list(self.dice[stage].values())))

    @property
    def worst_case(self) -> float:
        """Lowest Dice of a test case at the end."""
        return min(self.dice[STAGES[-1]].values())


@dataclass(frozen=True)
class RoundResult:
    """One federated round: payload bytes of all sites and Dice on each site's validation cases."""

    round: int
    seconds: float
    bytes_up: int
    bytes_down: int
    dice: Mapping[str, float | None]


@dataclass(frozen=True)
class RunResult:
    """Everything that the report shows.

    Attributes:
        threshold_baseline: Dice of the best global threshold on the test cases.
        settings: (name, value) pairs worth knowing, such as steps and cases.
        annotations: site -> corrections in the order they were made.
        overlays: pictures, two a site.
    """

    engine: str
    mutual_tls: bool
    method: str
    model: str
    seed: int
    sites: Sequence[SiteResult]
    rounds: Sequence[RoundResult]
    seconds_total: float
    threshold_baseline: float
    settings: Sequence[tuple[str, str]] = ()
    annotations: Mapping[str, Sequence[Annotation]] = field(default_factory=dict)
    overlays: Sequence[Overlay] = ()


def report_dict(result: RunResult) -> dict[str, Any]:
    """The content of ``report.json``.

    Keys: ``engine``, ``mutual_tls``, ``method``, ``model``, ``seed``, ``sites`` (``cases`` counts test
    cases; the Dice values are means over them), ``rounds`` (Dice on validation cases), ``seconds_total``,
    ``threshold_baseline``.
    """
    return {
        "engine": result.engine,
        "mutual_tls": result.mutual_tls,
        "method": result.method,
        "model": result.model,
        "seed": result.seed,
        "sites": [_site_dict(site) for site in result.sites],
        "rounds": [
            {
                "round": entry.round,
                "seconds": round(entry.seconds, 2),
                "bytes_up": entry.bytes_up,
                "bytes_down": entry.bytes_down,
                "dice": {name: _rounded(value) for name, value in entry.dice.items()},
            }
            for entry in result.rounds
        ],
        "seconds_total": round(result.seconds_total, 1),
        "threshold_baseline": round(result.threshold_baseline, 4),
    }


def _site_dict(site: SiteResult) -> dict[str, Any]:
    return {
        "name": site.name,
        "cases": len(site.dice[STAGES[-1]]),
        **{f"dice_{stage}": _rounded(site.mean(stage)) for stage in STAGES},
        "worst_case": _rounded(site.worst_case),
        "promoted": site.promoted,
        "refused": site.refused,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
