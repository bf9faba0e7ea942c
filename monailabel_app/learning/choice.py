"""Which open case to correct next, and why, from what the learner found out in the background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monailabel_app.learning.acquisition import farthest, most_disputed, most_uncertain
from monailabel_app.state.site import SiteState

__all__ = ["choose_disputed", "choose_diverse", "choose_uncertain"]

_TRAIN_PER_VALIDATION = 3


def choose_uncertain(state: SiteState, model: str, cases: Sequence[str]) -> dict[str, Any] | None:
    """The least sure training case as ``{id, reason}``; ``None`` where no case is open.

    Args:
        state: the site's.
        model: whose champion is asked.
        cases: open cases, by name, those held out last.
    """
    if (first := _before_any_choice(state, cases)) is not None or not cases:
        return first
    values = state.acquisition.of_version(state.versions(model).champion())
    known = sum(case in values for case in cases)
    chosen = most_uncertain(values, _to_train_on(state, cases))
    if chosen is None:
        return {"id": cases[0], "reason": "first by name: no case was looked at by the model in use yet"}
    doubt = values[chosen].uncertainty
    return {
        "id": chosen,
        "uncertainty": doubt,
        "reason": f"least sure of {known} cases: masks of it under other contrast and mirroring differ by {doubt:.0%}",
    }


def choose_disputed(state: SiteState, model: str, cases: Sequence[str]) -> dict[str, Any] | None:
    """The training case on which the champion and what a federation offered differ most, as ``{id, reason}``; see
    :func:`choose_uncertain`."""
    if (first := _before_any_choice(state, cases)) is not None or not cases:
        return first
    values = state.acquisition.of_version(state.versions(model).champion())
    found = most_disputed(values, _to_train_on(state, cases))
    if found is None:
        return {
            "id": cases[0],
            "reason": "first by name: on no case was the model in use compared with what a federation offered yet",
        }
    chosen, apart = found
    return {
        "id": chosen,
        "disagreement": apart,
        "reason": f"the model in use and {values[chosen].rival} differ most on it: by {apart:.0%}",
    }


def choose_diverse(state: SiteState, cases: Sequence[str]) -> dict[str, Any] | None:
    """The training case that is least like all corrected ones, as ``{id, reason}``; see :func:`choose_uncertain`."""
    if (first := _before_any_choice(state, cases)) is not None or not cases:
        return first
    corrected = {correction.case for correction in state.corrections.list()}
    found = farthest(state.acquisition.features(), _to_train_on(state, cases), corrected)
    if found is None:
        return {"id": cases[0], "reason": "first by name: no case was looked at yet"}
    chosen, distance = found
    if distance == 0:
        return {"id": chosen, "reason": "most like all the others: a good case to begin with"}
    return {"id": chosen, "distance": round(distance, 4), "reason": "least like the cases that were corrected"}


def _before_any_choice(state: SiteState, cases: Sequence[str]) -> dict[str, Any] | None:
    """A validation case whenever there are too few beside the training cases: the gate needs them.

    Validation cases are taken in the order of their draw, never by value: hard ones would bias the gate.
    """
    parts = state.splits.all()
    corrected = {correction.case for correction in state.corrections.list()}
    counts = {part: sum(parts.get(case) == part for case in corrected) for part in ("train", "validation")}
    if counts["train"] <= _TRAIN_PER_VALIDATION * counts["validation"]:
        return None
    waiting = [case for case in state.splits.in_order("validation") if case in set(cases)]
    return (
        {"id": waiting[0], "reason": "kept for validation: the gate needs it to judge new versions"}
        if waiting
        else None
    )


def _to_train_on(state: SiteState, cases: Sequence[str]) -> list[str]:
    parts = state.splits.all()
    return [case for case in cases if parts.get(case, "train") == "train"]
