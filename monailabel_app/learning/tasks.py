"""What the learner does for each kind of job, once, in its own process.

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
from fed_backend.payload import PayloadHeader, Tensors, encode
from fed_backend.plan import Plan, TrainingSpec
from monailabel_app import __version__
from monailabel_app.errors import Cancelled, Conflict
from monailabel_app.federation.participant import open_request
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

__all__ = ["Workbench", "mix_seed"]

_STEP_S = 0.2  # expected until measured
_CASE_S = 1.0


def mix_seed(*parts: object) -> int:
    """A 31 bit seed that depends on every part, equal on every platform."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


@dataclass(frozen=True)
class _Judged:
    decision: Decision
    champion: str


class Workbench:
    """Runs jobs one after the other; models stay built in between.

    Args:
        state: the site's state, opened by the learner.
        setup: what the server told the learner.
    """

    def __init__(self, state: SiteState, setup: LearnerSetup) -> None:
        self._state = state
        self._setup = setup
        self._segmenters: dict[str, Segmenter] = {}
        self._pace = Pace()

    def prepare(self) -> None:
        """Build the model that will most likely be needed; a job finds out why one cannot be built."""
        model = self._setup.plan.model.name if self._setup.plan else next(iter(self._setup.specs))
        with suppress(FedSegError):
            self._open(model)

    def run(self, job: Job) -> tuple[dict[str, Any], str]:
        """Do a job; returns its result and one sentence about it.

        Raises:
            FedSegError: the job cannot be done, or was cancelled.
        """
        begin = time.monotonic()
        work = {
            "learn": self._learn,
            "federated_train": self._federated_train,
            "offer": self._offer,
            "evaluate": self._evaluate,
        }[job.kind]
        result, message = work(job)
        return {**result, "seconds": round(time.monotonic() - begin, 3)}, message

    # -- the four kinds ------------------------------------------------------------------------

    def _learn(self, job: Job) -> tuple[dict[str, Any], str]:
        update = {key: job.params[key] for key in ("steps",) if job.params.get(key) is not None}
        training = self._setup.training.model_copy(update=update)
        requested = job.params.get("seed")
        seed = int(requested) if requested is not None else mix_seed(training.seed, self._setup.site_name)
        segmenter, store = self._open(job.model)
        champion = store.champion()
        corrections, left_out = self._training_cases()
        meter = self._meter(job, training.steps, judge=True)
        start = store.load(champion)
        tensors, metrics = self._train(segmenter, start, corrections, training, seed, meter, job)
        version = self._keep(store, tensors, "learning", champion, segmenter, seed, training, corrections, metrics)
        judged = self._judge_and_promote(segmenter, store, version, tensors, meter)
        note = f" {left_out} corrected case(s) were left out: image missing or changed." if left_out else ""
        return _result(version.id, judged.decision), judged.decision.reason + note

    def _federated_train(self, job: Job) -> tuple[dict[str, Any], str]:
        plan, data = self._request(job)
        header, received = open_request(data, plan, ("global",))
        segmenter, store = self._open(job.model, plan)
        champion = store.load(store.champion())
        if not received:  # the first round of a federation: everybody starts from the initial adapter
            base = store.load(store.base())
            received = {name: base[name] for name in plan.adapter}
        corrections, _ = self._training_cases()
        seed = mix_seed(plan.training.seed, self._setup.site_name, header.round)
        meter = self._meter(job, plan.training.steps, judge=False)
        tensors, metrics = self._train(
            segmenter, {**champion, **received}, corrections, plan.training, seed, meter, job
        )
        reply = encode(
            PayloadHeader(
                kind="update",
                plan_sha256=plan.sha256,
                base_sha256=plan.base_sha256,
                site=self._setup.site_name,
                federation_round=header.federation_round,
                round=header.round,
                method=plan.method.name,
                examples=len(corrections),
                parent_sha256=hashlib.sha256(data).hexdigest(),
                metrics=metrics,
            ),
            {name: tensors[name] for name in plan.adapter},
        )
        message = f"trained on {len(corrections)} corrected case(s) for round {header.round}"
        return {"reply": self._state.exchanges.keep(reply), "examples": len(corrections), **metrics}, message

    def _offer(self, job: Job) -> tuple[dict[str, Any], str]:
        plan, data = self._request(job)
        header, received = open_request(data, plan, ("aggregate",))
        segmenter, store = self._open(job.model, plan)
        champion = store.champion()
        tensors = {**store.load(champion), **received}
        settings = {
            "federation_round": header.federation_round,
            "round": header.round,
            "method": header.method,
            "payload_sha256": hashlib.sha256(data).hexdigest(),
            "plan_sha256": plan.sha256,
        }
        record = NewVersion(
            origin="federation",
            parent=champion,
            base_sha256=segmenter.base_sha256,
            settings=settings,
            metrics=dict(header.metrics),
            code_version=__version__,
        )
        version = store.create(tensors, record)
        meter = self._meter(job, 0, judge=True)
        judged = self._judge_and_promote(segmenter, store, version, tensors, meter)
        return _result(version.id, judged.decision), judged.decision.reason

    def _evaluate(self, job: Job) -> tuple[dict[str, Any], str]:
        plan, data = self._request(job)
        _, received = open_request(data, plan, ("global", "aggregate"))
        segmenter, store = self._open(job.model, plan)
        tensors = {**store.load(store.champion()), **received}
        meter = self._meter(job, 0, judge=True)
        judged = self._judge(segmenter, store, tensors, meter)
        return _result(None, judged.decision), judged.decision.reason

    # -- parts ---------------------------------------------------------------------------------

    def _open(self, model: str, plan: Plan | None = None) -> tuple[Segmenter, VersionStore]:
        """The built model and its versions; both agree on the base."""
        store = self._state.versions(model)
        if model not in self._segmenters:
            segmenter = build_segmenter(self._setup.specs[model], self._setup.labels, checkpoint=self._setup.checkpoint)
            store.ensure_base(segmenter.adapter(), segmenter.base_sha256, __version__)
            self._segmenters[model] = segmenter
        segmenter = self._segmenters[model]
        if plan is not None and plan.base_sha256 != segmenter.base_sha256:
            raise Conflict(
                f"the plan is made for base {plan.base_sha256[:12]}…, this site has {segmenter.base_sha256[:12]}…",
                "start the site with the plan of the federation and the checkpoint it names",
            )
        return segmenter, store

    def _request(self, job: Job) -> tuple[Plan, bytes]:
        if self._setup.plan is None:
            raise Conflict("this site has no plan", "start the site with --plan FILE")
        return self._setup.plan, self._state.exchanges.read(job.params["request"])

    def _training_cases(self) -> tuple[Sequence[Correction], int]:
        newest = self._state.corrections.newest("train")
        usable = self._state.corrections.usable(newest)
        if not usable:
            raise Conflict(
                f"site {self._setup.site_name!r} has no corrected case to train on",
                "submit a correction of a training case first; GET /corrections shows the part of each",
            )
        return usable, len(newest) - len(usable)

    def _train(
        self,
        segmenter: Segmenter,
        start: Tensors,
        corrections: Sequence[Correction],
        training: TrainingSpec,
        seed: int,
        meter: Meter,
        job: Job,
    ) -> tuple[Tensors, dict[str, float]]:
        cases = [self._state.corrections.load(c) for c in corrections]
        progress = meter.phase("train", "running", f"training on {len(cases)} corrected case(s)")
        segmenter.load_adapter(start)
        done = finetune(segmenter, cases, training, seed=seed, progress=progress, on_loss=meter.losses.append)
        self._pace.seconds[f"train {job.model}"] = done.seconds / max(1, done.steps)
        metrics = {"seconds": round(done.seconds, 3), "steps": float(done.steps)}
        if done.losses:
            metrics["loss"] = float(done.losses[-1])
        return done.tensors, metrics

    def _keep(
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

    def _judge_and_promote(
        self, segmenter: Segmenter, store: VersionStore, version: Version, tensors: Tensors, meter: Meter
    ) -> _Judged:
        """Gate a stored version; it serves afterwards if the gate says so."""
        try:
            while True:
                judged = self._judge(segmenter, store, tensors, meter)
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

    def _judge(self, segmenter: Segmenter, store: VersionStore, tensors: Tensors, meter: Meter) -> _Judged:
        champion = store.champion()
        corrections = self._state.corrections.usable(self._state.corrections.newest("validation"))
        if not corrections:
            refused = Decision(False, self._no_validation_reason(), None, None, None, (), {})
            return _Judged(refused, champion)
        count = f"{len(corrections)} validation case(s)"
        progress = meter.phase("champion", "gating", f"scoring the version in use on {count}")
        before = self._score(segmenter, store.load(champion), corrections, progress)
        progress = meter.phase("challenger", "gating", f"scoring the new version on {count}")
        after = self._score(segmenter, tensors, corrections, progress)
        margin = self._setup.plan.gate_margin if self._setup.plan else self._state.settings.get("gate_margin", 0.0)
        floor = self._state.settings.get("worst_case_floor", WORST_CASE_FLOOR)
        return _Judged(decide(before, after, margin, floor), champion)

    def _score(
        self, segmenter: Segmenter, tensors: Tensors, corrections: Sequence[Correction], progress: Any
    ) -> dict[str, dict[str, float]]:
        """Case -> label -> Dice; what was measured before is not measured again."""
        digest = adapter_sha256(tensors)
        known = {c.case: self._state.scores.get(digest, c.id) for c in corrections}
        missing = [c for c in corrections if known[c.case] is None]
        if missing:
            begin = time.monotonic()
            segmenter.load_adapter(tensors)
            cases = [(c.case, *self._state.corrections.load(c)) for c in missing]
            measured = evaluate(segmenter, cases, progress)
            self._pace.seconds[f"score {segmenter.spec.name}"] = (time.monotonic() - begin) / len(missing)
            for correction in missing:
                self._state.scores.put(digest, correction.id, measured[correction.case])
                known[correction.case] = measured[correction.case]
        return {case: scores for case, scores in known.items() if scores is not None}

    def _no_validation_reason(self) -> str:
        corrected = {c.case for c in self._state.corrections.list()}
        waiting = [c for c, part in self._state.splits.all().items() if part == "validation" and c not in corrected]
        reason = "Refused: no validation case has a correction yet, so nothing shows that the new version is not worse."
        if not waiting:
            return f"{reason} None of the known cases is kept for validation: add images."
        return f"{reason} Correct at least one of {len(waiting)} validation case(s): {', '.join(waiting[:3])}."

    def _meter(self, job: Job, steps: int, *, judge: bool) -> Meter:
        phases = {"train": self._pace.expect(f"train {job.model}", steps, _STEP_S)} if steps else {}
        if judge:
            count = len(self._state.corrections.newest("validation"))
            each = self._pace.expect(f"score {job.model}", count, _CASE_S)
            phases |= {"champion": each, "challenger": each}
        return Meter(self._state.jobs, job.number, phases)


def _result(version: str | None, decision: Decision) -> dict[str, Any]:
    return {
        "version": version,
        "promoted": decision.promoted,
        "reason": decision.reason,
        "dice_champion": decision.mean_champion,
        "dice_challenger": decision.mean_challenger,
        "cases": len(decision.cases),
    }
