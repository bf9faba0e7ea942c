"""The gate: a challenger serves only if it is not worse than the champion on the site's own cases.

Both are scored on the same frozen validation cases, so the comparison is paired: a case that is hard
for both counts against neither. Pure functions: no files, no clock.

Rule. Let c_i and d_i be the Dice of champion and challenger on case i, each the mean over the labels
scored there. The challenger is promoted if and only if ``mean(d) >= mean(c) - margin`` and
``d_i - c_i >= worst_case_floor`` for every i. Values that are not finite, and no cases at all, are
refusals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

__all__ = ["WORST_CASE_FLOOR", "CaseScore", "Decision", "LabelScore", "decide"]

WORST_CASE_FLOOR = -0.2
"""Largest loss of Dice on a single case that a site accepts unless it says otherwise."""

_TOLERANCE = 1e-9  # sums of the same numbers in another order must not refuse

Scores = Mapping[str, Mapping[str, float]]
"""Case -> label -> volumetric Dice in 0..1."""


@dataclass(frozen=True)
class CaseScore:
    """Dice of both on one case."""

    case: str
    champion: float
    challenger: float


@dataclass(frozen=True)
class LabelScore:
    """Mean Dice of both on one label, over the cases that have it."""

    champion: float
    challenger: float


@dataclass(frozen=True)
class Decision:
    """What the gate decided and why.

    Attributes:
        promoted: whether the challenger may serve.
        reason: one or two sentences for a clinician.
        mean_champion: mean Dice over cases; ``None`` if it could not be computed.
        mean_challenger: likewise.
        worst_case: the case on which the challenger loses most (or gains least).
        cases: all cases, by name.
        per_label: all labels.
    """

    promoted: bool
    reason: str
    mean_champion: float | None
    mean_challenger: float | None
    worst_case: CaseScore | None
    cases: tuple[CaseScore, ...]
    per_label: dict[str, LabelScore]

    def as_json(self) -> dict[str, Any]:
        """The decision as JSON values, for the version's report."""
        return asdict(self)


def decide(
    champion: Scores, challenger: Scores, margin: float = 0.0, worst_case_floor: float = WORST_CASE_FLOOR
) -> Decision:
    """Compare a challenger with the champion.

    Args:
        champion: Dice of the version that serves.
        challenger: Dice of the candidate, on exactly the same cases and labels.
        margin: how far below the champion's mean the challenger's may be, >= 0.
        worst_case_floor: lowest accepted change on one case, <= 0.

    Raises:
        ValueError: cases or labels differ, a case without a label, or a setting out of range.
    """
    if not (margin >= 0 and worst_case_floor <= 0):
        raise ValueError(f"margin {margin} must be >= 0 and worst_case_floor {worst_case_floor} <= 0")
    if {c: set(s) for c, s in champion.items()} != {c: set(s) for c, s in challenger.items()}:
        raise ValueError("champion and challenger must be scored on the same cases and labels")
    if not all(champion.values()):
        raise ValueError("a case without any scored label cannot be compared")
    if not champion:
        return _refused("No validation case has a correction yet, so nothing shows that the new version is not worse.")
    if odd := _not_finite(champion, challenger):
        return _refused(f"The Dice of the {odd[0]} on case {odd[1]} is not a number, so they cannot be compared.")

    cases = tuple(
        CaseScore(case, fmean(champion[case].values()), fmean(challenger[case].values())) for case in sorted(champion)
    )
    before, after = fmean(c.champion for c in cases), fmean(c.challenger for c in cases)
    worst = min(cases, key=lambda c: c.challenger - c.champion)
    enough = after >= before - margin - _TOLERANCE
    bearable = worst.challenger - worst.champion >= worst_case_floor - _TOLERANCE
    return Decision(
        promoted=enough and bearable,
        reason=_reason(before, after, worst, len(cases), margin, worst_case_floor, enough, bearable),
        mean_champion=before,
        mean_challenger=after,
        worst_case=worst,
        cases=cases,
        per_label=_per_label(champion, challenger),
    )


def _reason(
    before: float,
    after: float,
    worst: CaseScore,
    cases: int,
    margin: float,
    floor: float,
    enough: bool,
    bearable: bool,
) -> str:
    count = "1 validation case" if cases == 1 else f"{cases} validation cases"
    means = f"mean Dice {after:.3f} against {before:.3f} of the version in use, on {count}"
    if not enough:
        allowed = f" (a loss of up to {margin:.3f} is allowed)" if margin else ""
        return f"Refused: {means}{allowed}."
    if not bearable:
        return (
            f"Refused: on case {worst.case} Dice would fall from {worst.champion:.3f} to {worst.challenger:.3f}, "
            f"more than the {-floor:.2f} allowed on a single case; {means}."
        )
    change = "Better" if after > before + _TOLERANCE else "Not worse"
    return f"{change}: {means}."


def _per_label(champion: Scores, challenger: Scores) -> dict[str, LabelScore]:
    labels = sorted({label for scores in champion.values() for label in scores})
    result = {}
    for label in labels:
        having = [case for case, scores in champion.items() if label in scores]
        result[label] = LabelScore(
            fmean(champion[case][label] for case in having), fmean(challenger[case][label] for case in having)
        )
    return result


def _not_finite(champion: Scores, challenger: Scores) -> tuple[str, str] | None:
    for name, scores in (("version in use", champion), ("new version", challenger)):
        for case, values in scores.items():
            if not all(math.isfinite(value) for value in values.values()):
                return name, case
    return None


def _refused(reason: str) -> Decision:
    return Decision(False, f"Refused: {reason}", None, None, None, (), {})
