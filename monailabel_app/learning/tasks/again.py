"""A federated job that is done once more after a fault: the version it had made by then counts, and none is made twice.

The process may have been killed after the version was stored, after the gate's verdict, or after the promotion; what an
aggregate or a visitor led to must not be learned from a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel_app.learning.meter import Meter
from monailabel_app.learning.tasks.workbench import Workbench, judgement
from monailabel_app.models.base import Segmenter
from monailabel_app.state.versions import Version, VersionStore

__all__ = ["conclude", "made_before"]


def made_before(store: VersionStore, facts: Mapping[str, Any]) -> Version | None:
    """The version whose settings hold ``facts``, which name one exchange of a federation; ``None`` if there is none."""
    return next((version for version in store.list() if facts.items() <= version.settings.items()), None)


def conclude(
    bench: Workbench, segmenter: Segmenter, store: VersionStore, version: Version, meter: Meter
) -> tuple[dict[str, Any], str]:
    """Let the gate decide on a stored version, unless it has; the job's result, and the reason."""
    verdict = store.verdict(version.id)
    if verdict is None:
        judged = bench.judge_and_promote(segmenter, store, version, store.load(version.id), meter)
        return judgement(version.id, judged.decision), judged.decision.reason
    reason = str(verdict["reason"])
    if verdict["promoted"] and store.champion() == verdict.get("champion"):
        store.promote(version.id, reason, expected=store.champion())
    result = {
        "version": version.id,
        "promoted": verdict["promoted"],
        "reason": reason,
        "dice_champion": verdict.get("mean_champion"),
        "dice_challenger": verdict.get("mean_challenger"),
        "cases": len(verdict.get("cases", ())),
    }
    return result, reason
