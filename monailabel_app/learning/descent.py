"""Many small steps down: the gate allows each a margin, this allows it once.

A challenger that loses less than the margin may serve. Over many rounds such losses add up, by chance
or because somebody makes them. So a challenger is also compared with what served here before: on
the same cases it must not be worse by more than the margin than any of those. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

from monailabel_app.learning.gate import Decision, Scores
from monailabel_app.learning.gate_words import TOLERANCE

__all__ = ["held"]


def held(decision: Decision, challenger: Scores, earlier: Mapping[str, Scores]) -> Decision:
    """The decision, turned into a refusal where an earlier version was better by more than the margin.

    Args:
        decision: of the gate on challenger and champion.
        challenger: its Dice on the validation cases.
        earlier: versions that served before -> their Dice, on any of these cases.
    """
    if not decision.promoted:
        return decision
    worst = 0.0
    reason = ""
    for version, scores in sorted(earlier.items()):
        common = [case for case in scores if case in challenger and scores[case].keys() == challenger[case].keys()]
        if not common:
            continue
        then, now = (fmean(fmean(side[case].values()) for case in common) for side in (scores, challenger))
        if then - now > max(worst, decision.rule.margin + TOLERANCE):
            worst = then - now
            reason = (
                f"Refused: close to the version in use, but mean Dice {now:.3f} is more than {decision.rule.margin:g} "
                f"below the {then:.3f} that {version}, which served before, reached on the same "
                f"{len(common)} validation case(s)."
            )
    return replace(decision, promoted=False, reason=reason) if reason else decision
