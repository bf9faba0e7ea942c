"""The gate's measurements: both versions on the site's validation cases, and what the gate says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fed_backend.payload import Tensors
from monailabel_app.errors import NotFound, StateError
from monailabel_app.learning.descent import held
from monailabel_app.learning.evaluate import Measured, measure
from monailabel_app.learning.gate import Decision, GateRule, Pair, decide, refuse
from monailabel_app.learning.meter import Meter, Pace
from monailabel_app.models.base import Progress, Segmenter
from monailabel_app.state.corrections import Correction
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import VersionStore, adapter_sha256

__all__ = ["CrossScores", "Judge", "Judged", "judgement"]


@dataclass(frozen=True)
class Judged:
    """What the gate decided, and the champion it compared with."""

    decision: Decision
    champion: str


@dataclass(frozen=True)
class CrossScores:
    """Cross-validated evidence: training cases, each measured by a version trained without it.

    Attributes:
        champion: the champion that the folds were trained from; with another one they count no more.
        before: case -> the champion on it, which never saw the case.
        after: case -> the version trained without the case.
    """

    champion: str
    before: Mapping[str, Measured] = field(default_factory=dict)
    after: Mapping[str, Measured] = field(default_factory=dict)


class Judge:
    """Measures and decides; what was measured before is not measured again."""

    def __init__(self, state: SiteState, pace: Pace) -> None:
        self._state = state
        self._pace = pace

    def __call__(
        self,
        segmenter: Segmenter,
        store: VersionStore,
        tensors: Tensors,
        meter: Meter,
        rule: GateRule,
        cross: CrossScores | None = None,
    ) -> Judged:
        """Compare ``tensors`` with the champion."""
        champion = store.champion()
        if cross is None or cross.champion != champion:
            cross = CrossScores(champion)
        corrections = self._state.corrections.usable(self._state.corrections.newest("validation"))
        if not corrections and not cross.after:
            return Judged(refuse(self._no_case(), rule), champion)
        count = f"{len(corrections)} validation case(s)"

        def scored(phase: str, what: str, judged: Tensors) -> dict[str, Measured]:
            return self.score(
                segmenter, judged, corrections, lambda: meter.phase(phase, "gating", f"scoring {what} on {count}")
            )

        before = scored("champion", "the version in use", store.load(champion))
        after = scored("challenger", "the new version", tensors)
        decision = _decide({**before, **cross.before}, {**after, **cross.after}, rule, set(cross.after))
        scores = {case: measured.dice for case, measured in after.items()}
        return Judged(held(decision, scores, self._earlier(store, corrections)), champion)

    def _earlier(
        self, store: VersionStore, corrections: Sequence[Correction]
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Versions that the gate let serve since somebody last chose by hand -> what is known of them."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for change in reversed(store.history()):
            version = str(change["version"])
            try:
                digest, verdict = store.get(version).sha256, store.verdict(version)
            except (NotFound, StateError):  # deleted to save space, or damaged: nothing to compare with
                continue
            known = {c.case: self._state.scores.get(digest, c.id) for c in corrections}
            found[version] = {case: measured.dice for case, measured in known.items() if measured is not None}
            if verdict is None or verdict.get("reason") != change["reason"]:
                break
        return found

    def score(
        self,
        segmenter: Segmenter,
        tensors: Tensors,
        corrections: Sequence[Correction],
        begin_work: Callable[[], Progress],
    ) -> dict[str, Measured]:
        """Case -> agreement of an adapter with its correction; ``begin_work`` is called if any is unknown."""
        digest = adapter_sha256(tensors)
        known = {c.case: self._state.scores.get(digest, c.id) for c in corrections}
        missing = [c for c in corrections if known[c.case] is None]
        if missing:
            begin = time.monotonic()
            segmenter.load_adapter(tensors)
            cases = [(c.case, self._state.corrections.load(c)) for c in missing]
            measured = measure(segmenter, cases, begin_work())
            self._pace.seconds[f"score {segmenter.spec.name}"] = (time.monotonic() - begin) / len(missing)
            for correction in missing:
                self._state.scores.put(digest, correction.id, measured[correction.case])
                known[correction.case] = measured[correction.case]
        return {case: found for case, found in known.items() if found is not None}

    def _no_case(self) -> str:
        corrected = {c.case for c in self._state.corrections.list()}
        waiting = [c for c, part in self._state.splits.all().items() if part == "validation" and c not in corrected]
        reason = "No validation case has a correction yet, so nothing shows that the new version is not worse."
        if not waiting:
            return f"{reason} None of the known cases is kept for validation: add images."
        return f"{reason} Correct at least one of {len(waiting)} validation case(s): {', '.join(waiting[:3])}."


def _decide(
    before: Mapping[str, Measured], after: Mapping[str, Measured], rule: GateRule, crossed: set[str]
) -> Decision:
    dice = Pair({c: m.dice for c, m in before.items()}, {c: m.dice for c, m in after.items()})
    surface: list[dict[str, dict[str, float]]] = [{}, {}]
    for case in before:
        shared = before[case].surface_mm.keys() & after[case].surface_mm.keys()
        for side, found in zip(surface, (before, after), strict=True):
            if shared:
                side[case] = {label: found[case].surface_mm[label] for label in sorted(shared)}
    return decide(dice, rule, surface=Pair(*surface), crossed=crossed)


def judgement(version: str | None, decision: Decision) -> dict[str, Any]:
    """A decision as the result of a job."""
    return {
        "version": version,
        "promoted": decision.promoted,
        "reason": decision.reason,
        "dice_champion": decision.mean_champion,
        "dice_challenger": decision.mean_challenger,
        "cases": len(decision.cases),
    }
