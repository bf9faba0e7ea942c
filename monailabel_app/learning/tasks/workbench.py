"""What every job of the learner needs: models, cases, training, judging, progress.

The champion is only ever read here, and replaced through the version store after the gate: tensors
that were received or trained become a version first.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fed_backend.errors import FedSegError
from fed_backend.payload import Tensors
from fed_backend.plan import Plan, TrainingSpec
from monailabel_app import __version__
from monailabel_app.errors import Cancelled, Conflict
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.finetune import finetune
from monailabel_app.learning.gate import WORST_CASE_FLOOR, Decision, decide
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter, Pace
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.models.base import Segmenter
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.corrections import Correction
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import DataId, NewVersion, Origin, Version, VersionStore, adapter_sha256

__all__ = ["Judged", "Workbench", "judgement", "mix_seed"]

_STEP_S = 0.2  # expected until measured
_CASE_S = 1.0


def mix_seed(*parts: object) -> int:
    """A 31 bit seed that depends on every part, equal on every platform."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


@dataclass(frozen=True)
class Judged:
    """What the gate decided, and the champion it compared with."""

    decision: Decision
    champion: str


class Workbench:
    """What the jobs share; models stay built in between.

    Args:
        state: the site's state, opened by the learner.
        setup: what the server told the learner.
    """

    def __init__(self, state: SiteState, setup: LearnerSetup) -> None:
        self.state = state
        self.setup = setup
        self._segmenters: dict[str, Segmenter] = {}
        self._pace = Pace()

    def prepare(self) -> None:
        """Build the model that will most likely be needed; a job finds out why one cannot be built."""
        model = self.setup.plan.model.name if self.setup.plan else next(iter(self.setup.specs))
        with suppress(FedSegError):
            self.open(model)

    def open(self, model: str, plan: Plan | None = None) -> tuple[Segmenter, VersionStore]:
        """The built model and its versions; both agree on the base."""
        store = self.state.versions(model)
        if model not in self._segmenters:
            segmenter = build_segmenter(self.setup.specs[model], self.setup.labels, checkpoint=self.setup.checkpoint)
            store.ensure_base(segmenter.adapter(), segmenter.base_sha256, __version__)
            self._segmenters[model] = segmenter
        segmenter = self._segmenters[model]
        if plan is not None and plan.base_sha256 != segmenter.base_sha256:
            raise Conflict(
                f"the plan is made for base {plan.base_sha256[:12]}…, this site has {segmenter.base_sha256[:12]}…",
                "start the site with the plan of the federation and the checkpoint it names",
            )
        return segmenter, store

    def request(self, job: Job) -> tuple[Plan, bytes]:
        """The plan and the payload that a federated job was asked with."""
        if self.setup.plan is None:
            raise Conflict("this site has no plan", "start the site with --plan FILE")
        return self.setup.plan, self.state.exchanges.read(job.params["request"])

    def training_cases(self) -> tuple[Sequence[Correction], int]:
        """The corrections to train on, at least one, and how many were left out."""
        newest = self.state.corrections.newest("train")
        usable = self.state.corrections.usable(newest)
        if not usable:
            raise Conflict(
                f"site {self.setup.site_name!r} has no corrected case to train on",
                "submit a correction of a training case first; GET /corrections shows the part of each",
            )
        return usable, len(newest) - len(usable)

    def train(
        self,
        segmenter: Segmenter,
        start: Tensors,
        corrections: Sequence[Correction],
        training: TrainingSpec,
        seed: int,
        meter: Meter,
        job: Job,
    ) -> tuple[Tensors, dict[str, float]]:
        """Fine-tune from ``start``; the tensors afterwards and the figures of the training."""
        cases = [self.state.corrections.load(c) for c in corrections]
        progress = meter.phase("train", "running", f"training on {len(cases)} corrected case(s)")
        segmenter.load_adapter(start)
        done = finetune(segmenter, cases, training, seed=seed, progress=progress, on_loss=meter.losses.append)
        self._pace.seconds[f"train {job.model}"] = done.seconds / max(1, done.steps)
        metrics = {"seconds": round(done.seconds, 3), "steps": float(done.steps)}
        if done.losses:
            metrics["loss"] = float(done.losses[-1])
        return done.tensors, metrics

    def keep(
        self,
        store: VersionStore,
        tensors: Tensors,
        origin: Origin,
        parent: str,
        segmenter: Segmenter,
        seed: int,
        training: TrainingSpec,
        corrections: Sequence[Correction],
        metrics: Mapping[str, float],
    ) -> Version:
        """Make trained tensors a version, with everything that led to them."""
        data = tuple(
            DataId(correction=c.id, image_sha256=c.image_sha256, mask_sha256=c.mask_sha256) for c in corrections
        )
        record = NewVersion(
            origin=origin,
            parent=parent,
            base_sha256=segmenter.base_sha256,
            seed=seed,
            settings={"training": training.model_dump(), "model": segmenter.spec.model_dump(mode="json")},
            data=data,
            metrics=dict(metrics),
            code_version=__version__,
        )
        return store.create(tensors, record)

    def judge_and_promote(
        self, segmenter: Segmenter, store: VersionStore, version: Version, tensors: Tensors, meter: Meter
    ) -> Judged:
        """Gate a stored version; it serves afterwards if the gate says so."""
        try:
            while True:
                judged = self.judge(segmenter, store, tensors, meter)
                store.record_verdict(version.id, {**judged.decision.as_json(), "champion": judged.champion})
                if not judged.decision.promoted:
                    return judged
                try:
                    store.promote(version.id, judged.decision.reason, expected=judged.champion)
                    return judged
                except Conflict:  # somebody promoted another version by hand meanwhile: compare with that one
                    continue
        except Cancelled:
            reason = "Refused: cancelled before the gate had decided."
            store.record_verdict(version.id, {"promoted": False, "reason": reason})
            raise

    def judge(self, segmenter: Segmenter, store: VersionStore, tensors: Tensors, meter: Meter) -> Judged:
        """Compare tensors with the champion on the site's validation cases."""
        champion = store.champion()
        corrections = self.state.corrections.usable(self.state.corrections.newest("validation"))
        if not corrections:
            refused = Decision(False, self._no_validation_reason(), None, None, None, (), {})
            return Judged(refused, champion)
        count = f"{len(corrections)} validation case(s)"
        progress = meter.phase("champion", "gating", f"scoring the version in use on {count}")
        before = self._score(segmenter, store.load(champion), corrections, progress)
        progress = meter.phase("challenger", "gating", f"scoring the new version on {count}")
        after = self._score(segmenter, tensors, corrections, progress)
        margin = self.setup.plan.gate_margin if self.setup.plan else self.state.settings.get("gate_margin", 0.0)
        floor = self.state.settings.get("worst_case_floor", WORST_CASE_FLOOR)
        return Judged(decide(before, after, margin, floor), champion)

    def _score(
        self, segmenter: Segmenter, tensors: Tensors, corrections: Sequence[Correction], progress: Any
    ) -> dict[str, dict[str, float]]:
        """Case -> label -> Dice; what was measured before is not measured again."""
        digest = adapter_sha256(tensors)
        known = {c.case: self.state.scores.get(digest, c.id) for c in corrections}
        missing = [c for c in corrections if known[c.case] is None]
        if missing:
            begin = time.monotonic()
            segmenter.load_adapter(tensors)
            cases = [(c.case, *self.state.corrections.load(c)) for c in missing]
            measured = evaluate(segmenter, cases, progress)
            self._pace.seconds[f"score {segmenter.spec.name}"] = (time.monotonic() - begin) / len(missing)
            for correction in missing:
                self.state.scores.put(digest, correction.id, measured[correction.case])
                known[correction.case] = measured[correction.case]
        return {case: scores for case, scores in known.items() if scores is not None}

    def _no_validation_reason(self) -> str:
        corrected = {c.case for c in self.state.corrections.list()}
        waiting = [c for c, part in self.state.splits.all().items() if part == "validation" and c not in corrected]
        reason = "Refused: no validation case has a correction yet, so nothing shows that the new version is not worse."
        if not waiting:
            return f"{reason} None of the known cases is kept for validation: add images."
        return f"{reason} Correct at least one of {len(waiting)} validation case(s): {', '.join(waiting[:3])}."

    def meter(self, job: Job, steps: int, *, judge: bool) -> Meter:
        """Progress of a job that trains for ``steps`` and is judged afterwards if ``judge``."""
        phases = {"train": self._pace.expect(f"train {job.model}", steps, _STEP_S)} if steps else {}
        if judge:
            count = len(self.state.corrections.newest("validation"))
            each = self._pace.expect(f"score {job.model}", count, _CASE_S)
            phases |= {"champion": each, "challenger": each}
        return Meter(self.state.jobs, job.number, phases)


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
