"""The learn job: the site trains on its own corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.learning.evaluate import Measured
from monailabel_app.learning.finetune import Finetuned
from monailabel_app.learning.gate import hopeless, obvious
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter
from monailabel_app.learning.recipe import REHEARSED, Rehearsal, learn_from, rehearse, with_steps
from monailabel_app.learning.rules import site_rule
from monailabel_app.learning.schedule import learned_until
from monailabel_app.learning.tasks.crossing import cross_validate, folds_of, unseen
from monailabel_app.learning.tasks.judging import CrossScores, judgement
from monailabel_app.learning.tasks.workbench import Workbench, mix_seed
from monailabel_app.models.base import Progress, Segmenter, no_progress
from monailabel_app.state.corrections import Correction
from monailabel_app.state.versions import VersionStore

__all__ = ["learn"]

Folds = Sequence[Sequence[Correction]]


@dataclass
class _Lesson:
    """One learning: from which champion, with which settings."""

    bench: Workbench
    segmenter: Segmenter
    store: VersionStore
    champion: str
    start: Tensors
    corrections: Sequence[Correction]
    rehearsal: Rehearsal
    training: TrainingSpec
    seed: int

    def fit(
        self, corrections: Sequence[Correction], progress: Progress, losses: list[float] | None = None
    ) -> Finetuned:
        """Train on some of the corrections, as on all of them."""
        return learn_from(
            self.segmenter,
            self.start,
            self.bench.load(corrections),
            self.rehearsal,
            self.training,
            seed=self.seed,
            progress=progress,
            on_loss=None if losses is None else losses.append,
        )

    def score(self, tensors: Tensors, corrections: Sequence[Correction]) -> dict[str, Measured]:
        """Agreement of tensors with corrections."""
        return self.bench.score(self.segmenter, tensors, corrections, no_progress)


def learn(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Train on the corrections from the champion; the outcome serves if the gate lets it."""
    training = bench.setup.training
    requested = job.params.get("seed")
    seed = int(requested) if requested is not None else mix_seed(training.seed, bench.setup.site_name)
    segmenter, store = bench.open(job.model)
    champion = store.champion()
    reached = bench.state.corrections.count()
    corrections, left_out = bench.training_cases()
    steps = job.params.get("steps")
    training = with_steps(training, len(corrections)) if steps is None else training.model_copy(update={"steps": steps})
    folds = _folds(bench, store, champion, corrections)
    meter = bench.meter(job, training.steps, judge=True, folds=len(folds))
    progress = meter.phase("train", "running", f"training on {len(corrections)} corrected case(s)")
    start = store.load(champion)
    trained = store.get(champion).origin != "base"
    rehearsal = rehearse(segmenter, start, bench.load(corrections), bench.uncorrected(REHEARSED), trained=trained)
    lesson = _Lesson(bench, segmenter, store, champion, start, corrections, rehearsal, training, seed)
    done = lesson.fit(corrections, progress, meter.losses)
    cross = _cross(lesson, done.tensors, folds, meter)
    version = bench.keep(
        store,
        done.tensors,
        "learning",
        champion,
        segmenter,
        seed,
        training,
        corrections,
        bench.figures(job, done),
        {"rehearsal": rehearsal.as_json()},
    )
    judged = bench.judge_and_promote(segmenter, store, version, done.tensors, meter, cross)
    learned_until(bench.state, job.model, reached)
    note = f" {left_out} corrected case(s) were left out: image missing or changed." if left_out else ""
    return judgement(version.id, judged.decision), judged.decision.reason + note


def _folds(bench: Workbench, store: VersionStore, champion: str, corrections: Sequence[Correction]) -> Folds:
    """What to hold out in turn: nothing once there are enough validation cases for a test."""
    validation = bench.state.corrections.usable(bench.state.corrections.newest("validation"))
    if len(validation) >= site_rule(bench.state).cases_needed:
        return []
    everything = bench.state.corrections.list()
    patient_of = bench.state.splits.patients()
    patients = {c.id: patient_of[c.case] for c in everything}
    fresh = unseen(store, champion, patients, everything)
    if len({patients[c.id] for c in corrections}) < 2:
        return []
    return folds_of([c for c in corrections if patients[c.id] in fresh], patients)


def _cross(lesson: _Lesson, tensors: Tensors, folds: Folds, meter: Meter) -> CrossScores | None:
    """Evidence from folds, unless the validation cases leave no doubt."""
    if not folds:
        return None
    judged = lesson.bench.judge(lesson.segmenter, lesson.store, tensors, meter, "learning")
    if obvious(judged.decision) or hopeless(judged.decision, sum(map(len, folds))):
        return None

    def train(rest: Sequence[Correction], progress: Progress) -> Tensors:
        return lesson.fit(rest, progress).tensors

    progress = meter.phase("cross", "gating", f"cross-validating on {sum(map(len, folds))} training case(s)")
    return cross_validate(lesson.champion, lesson.start, lesson.corrections, folds, train, lesson.score, progress)
