"""The site's gate in the learning benchmark: the learner's decisions, on cases that are in memory.

As in :mod:`monailabel_app.learning.tasks.learn`: validation cases, then cross-validation where these are few, and a
second, smaller step where the first was refused though better on average. All evidence is measured once and kept, so
that another rule can be tried on it without training again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.learning_data import Case
from fed_backend.payload import Tensors
from monailabel_app.learning.gate import Decision, Pair, decide, hopeless, obvious, promising
from monailabel_app.learning.recipe import between
from monailabel_app.learning.tasks.crossing import FOLDS

__all__ = ["Judgement", "judge"]

Scores = dict[str, dict[str, float]]


@dataclass
class Judgement:
    """What the gate said.

    Attributes:
        promoted: which of the steps serves; ``None`` for none.
        reason: of the last decision.
        kept: share of the champion in the step that was decided last.
        evidence: case -> Dice of the champion and of every step that was measured on it.
        crossed: cases that were measured by cross-validation.
    """

    promoted: int | None
    reason: str
    kept: float
    evidence: dict[str, list[float]] = field(default_factory=dict)
    crossed: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For a row."""
        return {
            "promoted": self.promoted is not None,
            "kept": self.kept,
            "reason": self.reason,
            "evidence": self.evidence,
            "crossed": self.crossed,
        }


def judge(
    corrected: list[Case],
    score: Callable[[Tensors, list[Case]], Scores],
    fit: Callable[[list[Case]], Tensors],
    champion: Tensors,
    steps: Sequence[Tensors],
    shares: Sequence[float],
    validation: list[Case],
) -> Judgement:
    """Decide about steps, the larger one first.

    Args:
        corrected: what the challenger was trained on.
        score: measures tensors on cases.
        fit: trains on some of the corrected cases as on all; the champion is not mixed in.
        champion: its tensors.
        steps: challengers.
        shares: of the champion in each.
        validation: cases that were never trained on.
    """
    folds = [corrected[n :: min(FOLDS, len(corrected))] for n in range(min(FOLDS, len(corrected)))]
    tuned: dict[int, Tensors] = {}
    judged = Judgement(None, "", 0.0)
    valid = score(champion, validation)
    left_out: Scores = {}

    def decided(step: Tensors, share: float) -> Decision:
        before, after, crossed = dict(valid), score(step, validation), set()
        decision = decide(Pair(before, after))
        enough = len(before) >= decision.rule.cases_needed or len(corrected) < 2
        if not (enough or obvious(decision) or hopeless(decision, len(corrected))):
            for n, fold in enumerate(folds):
                if n not in tuned:
                    tuned[n] = fit([case for case in corrected if case not in fold])
                    left_out.update(score(champion, fold))
                moved = between(champion, tuned[n], share) if share else tuned[n]
                after |= score(moved, fold)
                crossed |= {case.name for case in fold}
            before |= {name: left_out[name] for name in crossed}
            decision = decide(Pair(before, after), crossed=crossed)
        judged.crossed = sorted(crossed | set(judged.crossed))
        for case, labels in after.items():
            for label, dice in labels.items():
                judged.evidence.setdefault(case, [round(before[case][label], 4)]).append(round(dice, 4))
        return decision

    for number, (step, share) in enumerate(zip(steps, shares, strict=True)):
        decision = decided(step, share)
        judged.reason, judged.kept = decision.reason, share
        if decision.promoted:
            judged.promoted = number
        if not promising(decision):
            break
    return judged
