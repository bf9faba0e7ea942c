"""Which condition of the gate decides, and how it is said: one or two sentences for a clinician."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monailabel_app.learning.gate import CaseScore, Decision

__all__ = ["TOLERANCE", "may_fall", "reason_of", "too_low"]

TOLERANCE = 1e-9  # sums of the same numbers in another order must not refuse
_ONE_IN = 20
"""With so many cases a single one may lose more than the floor: noise alone makes one such."""


def reason_of(decision: Decision) -> tuple[bool, str]:
    """Whether a measured challenger passes, and why; the gravest objection is named.

    Args:
        decision: every figure filled in, not decided yet.
    """
    refusal = _objection(decision)
    if refusal is not None:
        return False, f"Refused: {refusal}"
    change = "Better" if _gain(decision) > TOLERANCE else "Not worse"
    return True, f"{change}: {_means(decision)}{_certainty(decision)}."


def too_low(decision: Decision) -> list[CaseScore]:
    """Cases that lose more than the floor allows."""
    return [case for case in decision.cases if case.change < decision.rule.case_floor - TOLERANCE]


def may_fall(count: int) -> int:
    """Of so many cases, how many may lose more than the floor."""
    return count // _ONE_IN


def _objection(decision: Decision) -> str | None:
    rule, worst = decision.rule, decision.worst_case
    assert worst is not None
    assert decision.bound is not None
    if _gain(decision) < -rule.margin - TOLERANCE:
        return f"{_means(decision)}."
    if len(too_low(decision)) > may_fall(len(decision.cases)):
        return (
            f"on case {worst.case} Dice would fall from {worst.champion:.3f} to {worst.challenger:.3f}, "
            f"more than the {-rule.case_floor:.2f} allowed on a single case; {_means(decision)}."
        )
    for label, score in decision.per_label.items():
        if score.challenger - score.champion < rule.label_floor - TOLERANCE:
            return (
                f"the mean Dice of {label!r} would fall from {score.champion:.3f} to {score.challenger:.3f}, "
                f"more than the {-rule.label_floor:.2f} allowed for a label; over all labels, {_means(decision)}."
            )
    surface = decision.surface_mm
    if surface is not None and surface.challenger - surface.champion > rule.surface_limit_mm + TOLERANCE:
        return (
            f"outlines would lie {surface.challenger:.1f} mm from the corrected ones instead of "
            f"{surface.champion:.1f} mm on average, although {_means(decision)}."
        )
    if decision.bound < -rule.margin - TOLERANCE:
        return _not_shown(decision)
    return None


def _not_shown(decision: Decision) -> str:
    rule, count = decision.rule, len(decision.cases)
    if count < rule.cases_needed:
        missing = rule.cases_needed - count
        more = "1 more validation case" if missing == 1 else f"{missing} more validation cases"
        return (
            f"{_means(decision)}. So few cases decide only where all gain and the gain is large; "
            f"with {more} corrected, a smaller gain can be told from chance."
        )
    return (
        f"{_means(decision)}, but cases differ too much to be sure: with {rule.confidence:.0%} confidence the true "
        f"change is only known to be above {decision.bound:+.3f}, and a loss of {rule.margin:.3f} counts as worse."
    )


def _certainty(decision: Decision) -> str:
    assert decision.bound is not None
    rule = decision.rule
    if len(decision.cases) < rule.cases_needed:
        return "; too few for a test, but more than chance explains where cases differ as they usually do"
    if decision.bound < -TOLERANCE:
        return f"; with {rule.confidence:.0%} confidence it loses no more than {-decision.bound:.3f}"
    return f"; with {rule.confidence:.0%} confidence the true change is at least {decision.bound:+.3f}"


def _means(decision: Decision) -> str:
    better = sum(case.change > TOLERANCE for case in decision.cases)
    worse = sum(case.change < -TOLERANCE for case in decision.cases)
    return (
        f"mean Dice {decision.mean_challenger:.3f} against {decision.mean_champion:.3f} of the version in use, on "
        f"{_count(decision)} ({better} better, {worse} worse)"
    )


def _count(decision: Decision) -> str:
    crossed = sum(case.crossed for case in decision.cases)
    validation = len(decision.cases) - crossed
    if not crossed:
        return "1 validation case" if validation == 1 else f"{validation} validation cases"
    kept = "" if not validation else f"{validation} validation case{'s' * (validation != 1)} and "
    return f"{kept}{crossed} training case{'s' * (crossed != 1)}, each by a version trained without it"


def _gain(decision: Decision) -> float:
    assert decision.mean_champion is not None
    assert decision.mean_challenger is not None
    return decision.mean_challenger - decision.mean_champion
