"""The gate: a challenger serves only if the site's own cases show that it is not worse than the champion.

Both are scored on the same cases, so the comparison is paired: a case that is hard for both counts
against neither. Pure functions: no files, no clock. Why this rule: docs/explanation/gate.md.

Rule. Let c_i and d_i be the Dice of champion and challenger on case i, each the mean over the labels
scored there. The challenger is promoted if and only if all of these hold:

- the lower confidence bound of the mean change (:func:`.paired.lower_bound`) is at least ``-margin``;
- no case loses more than ``case_floor`` (of 20 cases one may, of 40 two), and no label more than
  ``label_floor`` on average;
- where surface distances are known, their mean does not grow by more than ``surface_limit_mm``.

Values that are not finite, and no cases at all, are refusals.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from monailabel_app.learning.gate_words import may_fall, reason_of, too_low
from monailabel_app.learning.paired import fewest, lower_bound

__all__ = [
    "CaseScore",
    "Decision",
    "GateRule",
    "LabelScore",
    "Pair",
    "Scores",
    "decide",
    "hopeless",
    "obvious",
    "promising",
    "refuse",
]

_OBVIOUS = 2.5

Scores = Mapping[str, Mapping[str, float]]
"""Case -> label -> volumetric Dice in 0..1, or -> average surface distance in millimetres."""


@dataclass(frozen=True)
class GateRule:
    """What "not worse" means at a site.

    Attributes:
        margin: a version counts as worse if its true mean Dice is lower by at least this, >= 0.
        confidence: how sure the gate must be that it is not worse; the rate at which a version that
            is worse by the margin passes is at most ``1 - confidence``. 0.5 trusts the plain mean.
        case_floor: lowest accepted change of Dice on one case, <= 0; one case in twenty may fall below.
        label_floor: lowest accepted change of a label's mean Dice, <= 0.
        surface_limit_mm: largest accepted growth of the mean surface distance.
        spread: standard deviation of changes between cases that is assumed while there are fewer
            cases than a test needs.
    """

    margin: float = 0.01
    confidence: float = 0.9
    case_floor: float = -0.2
    label_floor: float = -0.05
    surface_limit_mm: float = 1.0
    spread: float = 0.1

    def __post_init__(self) -> None:
        within = {
            "margin": 0 <= self.margin <= 1,
            "confidence": 0.5 <= self.confidence <= 0.999,
            "case_floor": -1 <= self.case_floor <= 0,
            "label_floor": -1 <= self.label_floor <= 0,
            "surface_limit_mm": 0 <= self.surface_limit_mm <= 1000,
            "spread": 0 < self.spread <= 1,
        }
        for name, good in within.items():
            if not good:  # a NaN is never within
                raise ValueError(f"{name} is {getattr(self, name)}, which is out of range")

    @property
    def cases_needed(self) -> int:
        """Number of cases from which an exact test can reach the confidence."""
        return fewest(self.confidence)


@dataclass(frozen=True)
class CaseScore:
    """Dice of both on one case.

    Attributes:
        crossed: scored by cross-validation: a training case, by a version trained without it.
    """

    case: str
    champion: float
    challenger: float
    crossed: bool = False

    @property
    def change(self) -> float:
        """What the challenger gains on the case."""
        return self.challenger - self.champion


@dataclass(frozen=True)
class LabelScore:
    """Mean Dice of both on one label, over the cases that have it."""

    champion: float
    challenger: float


@dataclass(frozen=True)
class Pair:
    """One measure of both versions on the same cases and labels."""

    champion: Scores
    challenger: Scores

    def check(self) -> None:
        """Raise ``ValueError`` unless cases and labels agree and every case has a label."""
        if {c: set(s) for c, s in self.champion.items()} != {c: set(s) for c, s in self.challenger.items()}:
            raise ValueError("champion and challenger must be scored on the same cases and labels")
        if not all(self.champion.values()):
            raise ValueError("a case without any scored label cannot be compared")

    def means(self) -> tuple[float, float]:
        """Mean over cases of the mean over labels, of champion and challenger."""
        one, two = ([fmean(labels.values()) for labels in side.values()] for side in (self.champion, self.challenger))
        return fmean(one), fmean(two)


@dataclass(frozen=True)
class Decision:
    """What the gate decided and why.

    Attributes:
        promoted: whether the challenger may serve.
        reason: one or two sentences for a clinician.
        mean_champion: mean Dice over cases; ``None`` if it could not be computed.
        mean_challenger: likewise.
        bound: the mean change of Dice is at least this, with the confidence of the rule.
        worst_case: the case on which the challenger loses most (or gains least).
        cases: all cases, by name.
        per_label: all labels.
        surface_mm: mean surface distance of both, where it is known.
        rule: what was asked for.
    """

    promoted: bool
    reason: str
    mean_champion: float | None = None
    mean_challenger: float | None = None
    bound: float | None = None
    worst_case: CaseScore | None = None
    cases: tuple[CaseScore, ...] = ()
    per_label: dict[str, LabelScore] = field(default_factory=dict)
    surface_mm: LabelScore | None = None
    rule: GateRule = GateRule()

    def as_json(self) -> dict[str, Any]:
        """The decision as JSON values, for the version's report."""
        return asdict(self)


def decide(
    dice: Pair, rule: GateRule | None = None, *, surface: Pair | None = None, crossed: Collection[str] = ()
) -> Decision:
    """Compare a challenger with the champion.

    Args:
        dice: Dice of both on the same cases and labels.
        rule: what "not worse" means; the default where left out.
        surface: average surface distances of both, millimetres, for any of the cases.
        crossed: cases that were scored by cross-validation.

    Raises:
        ValueError: cases or labels differ, or a case without a label.
    """
    rule = rule or GateRule()
    dice.check()
    if not dice.champion:
        return refuse(
            "No validation case has a correction yet, so nothing shows that the new version is not worse.", rule
        )
    if odd := _not_finite(dice):
        return refuse(f"The Dice of the {odd[0]} on case {odd[1]} is not a number, so they cannot be compared.", rule)
    cases = tuple(
        CaseScore(case, fmean(dice.champion[case].values()), fmean(dice.challenger[case].values()), case in crossed)
        for case in sorted(dice.champion)
    )
    changes = np.array([case.change for case in cases])
    before, after = dice.means()
    decision = Decision(
        promoted=False,
        reason="",
        mean_champion=before,
        mean_challenger=after,
        bound=lower_bound(changes, rule.confidence, rule.spread),
        worst_case=min(cases, key=lambda case: case.change),
        cases=cases,
        per_label=_per_label(dice),
        surface_mm=_surface(surface),
        rule=rule,
    )
    promoted, reason = reason_of(decision)
    return Decision(**{**vars(decision), "promoted": promoted, "reason": reason})


def obvious(decision: Decision) -> bool:
    """Whether every case gains so much that more evidence is not worth its time: over 2.5 times the spread."""
    limit = _OBVIOUS * decision.rule.spread
    return decision.promoted and all(case.change > limit for case in decision.cases)


def hopeless(decision: Decision, more: int) -> bool:
    """Whether so many more cases cannot rescue a challenger: too many cases fell below the floor already."""
    return not decision.promoted and len(too_low(decision)) > may_fall(len(decision.cases) + more)


def promising(decision: Decision) -> bool:
    """Whether a challenger was refused although it gains on average: a smaller step may be safe."""
    before, after = decision.mean_champion, decision.mean_challenger
    return not decision.promoted and before is not None and after is not None and after > before


def refuse(reason: str, rule: GateRule | None = None) -> Decision:
    """A refusal for want of anything to compare."""
    return Decision(False, f"Refused: {reason}", rule=rule or GateRule())


def _per_label(dice: Pair) -> dict[str, LabelScore]:
    result = {}
    for label in sorted({label for scores in dice.champion.values() for label in scores}):
        having = [case for case, scores in dice.champion.items() if label in scores]
        result[label] = LabelScore(
            fmean(dice.champion[case][label] for case in having), fmean(dice.challenger[case][label] for case in having)
        )
    return result


def _surface(surface: Pair | None) -> LabelScore | None:
    if surface is None or not surface.champion:
        return None
    surface.check()
    return LabelScore(*surface.means())


def _not_finite(dice: Pair) -> tuple[str, str] | None:
    for name, scores in (("version in use", dice.champion), ("new version", dice.challenger)):
        for case, values in scores.items():
            if not all(math.isfinite(value) for value in values.values()):
                return name, case
    return None
