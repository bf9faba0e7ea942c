"""What every job of the learner needs: models, cases, training, judging, progress.

The champion is only ever read here, and replaced through the version store after the gate: tensors
that were received or trained become a version first.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from fed_backend.errors import FedSegError
from fed_backend.payload import Tensors
from fed_backend.plan import Plan, TrainingSpec
from monailabel_app import __version__
from monailabel_app.errors import Cancelled, Conflict, ImageError
from monailabel_app.federation.halves import prepare
from monailabel_app.federation.routed import RoutedSegmenter
from monailabel_app.imaging.files import read_volume, site_images
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.evaluate import Measured
from monailabel_app.learning.finetune import Finetuned, finetune
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter, Pace
from monailabel_app.learning.rules import site_rule
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.learning.tasks.judging import CrossScores, Judge, Judged, judgement
from monailabel_app.models.base import Case, Progress, Segmenter
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.corrections import Correction
from monailabel_app.state.files import sha256_of
from monailabel_app.state.given import digest_of
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import DataId, NewVersion, Origin, Version, VersionStore

__all__ = ["Judged", "Workbench", "judgement", "mix_seed"]

_STEP_S = 0.2  # expected until measured
_CASE_S = 1.0


def mix_seed(*parts: object) -> int:
    """A 31 bit seed that depends on every part, equal on every platform."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


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
        self._judge = Judge(state, self._pace)

    def prepare(self) -> None:
        """Build the model that will most likely be needed; a job finds out why one cannot be built."""
        with suppress(FedSegError):
            self.open(self.default_model)

    @property
    def default_model(self) -> str:
        """The plan's model, else the site's first."""
        return self.setup.plan.model.name if self.setup.plan else next(iter(self.setup.specs))

    def open(self, model: str, plan: Plan | None = None) -> tuple[Segmenter, VersionStore]:
        """The built model and its versions; both agree on the base."""
        store = self.state.versions(model)
        if model not in self._segmenters:
            built = build_segmenter(self.setup.specs[model], self.setup.labels, checkpoint=self.setup.checkpoint)
            prepare(built, self.setup.plan)
            segmenter: Segmenter = RoutedSegmenter(built)
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
        progress = meter.phase("train", "running", f"training on {len(corrections)} corrected case(s)")
        cases = self.load(corrections)
        segmenter.load_adapter(start)
        done = finetune(segmenter, cases, training, seed=seed, progress=progress, on_loss=meter.losses.append)
        return done.tensors, self.figures(job, done)

    def load(self, corrections: Sequence[Correction]) -> list[Case]:
        """Images with their corrected masks."""
        return [self.state.corrections.load(correction) for correction in corrections]

    def figures(self, job: Job, done: Finetuned) -> dict[str, float]:
        """What a training took, remembered for the next one's progress."""
        self._pace.seconds[f"train {job.model}"] = done.seconds / max(1, done.steps)
        metrics = {"seconds": round(done.seconds, 3), "steps": float(done.steps)}
        return {**metrics, "loss": float(done.losses[-1])} if done.losses else metrics

    def uncorrected(self, at_most: int) -> dict[str, Volume]:
        """Digest -> image of training cases that nobody corrected, in an order that is fixed for the site."""
        corrected = {correction.case for correction in self.state.corrections.list()}
        files = site_images(self.setup.studies)
        volumes: dict[str, Volume] = {}
        for case in self.state.splits.in_order("train"):
            if case in corrected or case not in files or len(volumes) == at_most:
                continue
            with suppress(ImageError):
                volumes[sha256_of(files[case])] = read_volume(files[case])
        return volumes

    def score(
        self, segmenter: Segmenter, tensors: Tensors, corrections: Sequence[Correction], progress: Progress
    ) -> dict[str, Measured]:
        """Case -> agreement of an adapter with its correction; known figures are not measured again."""
        return self._judge.score(segmenter, tensors, corrections, lambda: progress)

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
        settings: Mapping[str, Any] | None = None,
    ) -> Version:
        """Make trained tensors a version, with everything that led to them."""
        data = tuple(
            DataId(
                correction=c.id,
                image_sha256=c.image_sha256,
                mask_sha256=c.mask_sha256,
                prompts_sha256=digest_of(self.state.prompts.given(c.id)) if segmenter.spec.name == "sam" else "",
            )
            for c in corrections
        )
        record = NewVersion(
            origin=origin,
            parent=parent,
            base_sha256=segmenter.base_sha256,
            seed=seed,
            settings={
                "training": training.model_dump(),
                "model": segmenter.spec.model_dump(mode="json"),
                "labels": dict(segmenter.labels),
                "torch": torch.__version__,
                "processor": platform.machine(),
                "threads": torch.get_num_threads(),
                **(settings or {}),
            },
            data=data,
            metrics=dict(metrics),
            code_version=__version__,
        )
        return store.create(tensors, record)

    def judge_and_promote(
        self,
        segmenter: Segmenter,
        store: VersionStore,
        version: Version,
        tensors: Tensors,
        meter: Meter,
        cross: CrossScores | None = None,
    ) -> Judged:
        """Gate a stored version; it serves afterwards if the gate says so."""
        try:
            while True:
                judged = self.judge(segmenter, store, tensors, meter, version.origin, cross)
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

    def judge(
        self,
        segmenter: Segmenter,
        store: VersionStore,
        tensors: Tensors,
        meter: Meter,
        origin: Origin = "federation",
        cross: CrossScores | None = None,
    ) -> Judged:
        """Compare tensors with the champion on the site's validation cases, and on ``cross`` where given."""
        rule = site_rule(self.state, self.setup.plan if origin == "federation" else None)
        return self._judge(segmenter, store, tensors, meter, rule, cross)

    def meter(self, job: Job, steps: int, *, judge: bool, folds: int = 0, rehearsed: int = 0) -> Meter:
        """Progress of a job that asks the champion, trains for ``steps``, cross-validates, is judged if ``judge``."""
        phases = {"rehearse": self._scoring(job, rehearsed)} if rehearsed else {}
        if steps:
            phases["train"] = self.training_time(job, steps)
        if judge:
            each = self._scoring(job, len(self.state.corrections.newest("validation")))
            phases |= {"champion": each, "challenger": each}
        if folds:
            phases["cross"] = self.training_time(job, steps * folds)
        return Meter(self.state.jobs, job.number, phases)

    def training_time(self, job: Job, steps: int) -> float:
        """Expected seconds of so many steps."""
        return self._pace.expect(f"train {job.model}", steps, _STEP_S)

    def _scoring(self, job: Job, cases: int) -> float:
        return self._pace.expect(f"score {job.model}", cases, _CASE_S)
