"""The learn job: the site trains on its own corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.learning.evaluate import Measured
from monailabel_app.learning.finetune import Finetuned
from monailabel_app.learning.gate import hopeless, obvious, promising
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter
from monailabel_app.learning.recipe import (
    KEEP,
    REHEARSED,
    SMALLER,
    Rehearsal,
    between,
    learn_from,
    rehearse,
    with_batch,
    with_steps,
)
from monailabel_app.learning.rules import site_rule
from monailabel_app.learning.schedule import learned_until
from monailabel_app.learning.tasks.crossing import cross_validate, folds_of, unseen
from monailabel_app.learning.tasks.judging import CrossScores, Judged, judgement
from monailabel_app.learning.tasks.workbench import Workbench, mix_seed
from monailabel_app.models.base import Progress, Segmenter, no_progress
from monailabel_app.state.corrections import Correction
from monailabel_app.state.versions import Version, VersionStore

__all__ = ["learn"]

Folds = Sequence[Sequence[Correction]]


@dataclass
class _Lesson:
    """One learning: from which champion, with which settings.

    Attributes:
        left_out: what was trained without some corrections; more than one step is judged by it.
    """

    bench: Workbench
    segmenter: Segmenter
    store: VersionStore
    champion: str
    start: Tensors
    corrections: Sequence[Correction]
    rehearsal: Rehearsal
    training: TrainingSpec
    seed: int
    left_out: dict[frozenset[str], Tensors] = field(default_factory=dict)

    def fit(
        self, corrections: Sequence[Correction], progress: Progress, losses: list[float] | None = None
    ) -> Finetuned:
        """Train on some of the corrections, as on all of them; what of the champion is kept is not mixed in yet."""
        return learn_from(
            self.segmenter,
            self.start,
            self.bench.load(corrections),
            replace(self.rehearsal, keep=0.0),
            self.training,
            seed=self.seed,
            progress=progress,
            on_loss=None if losses is None else losses.append,
        )

    def fit_without(self, rest: Sequence[Correction], progress: Progress) -> Tensors:
        """The same on the corrections outside a fold; trained once."""
        key = frozenset(correction.id for correction in rest)
        if key not in self.left_out:
            self.left_out[key] = self.fit(rest, progress).tensors
        return self.left_out[key]

    def step(self, tuned: Tensors, keep: float) -> Tensors:
        """From the champion towards what was trained."""
        return between(self.start, tuned, keep) if keep else tuned

    def score(self, tensors: Tensors, corrections: Sequence[Correction]) -> dict[str, Measured]:
        """Agreement of tensors with corrections."""
        return self.bench.score(self.segmenter, tensors, corrections, no_progress)


def learn(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Train on the corrections from the champion; the outcome serves if the gate lets it."""
    training = with_batch(bench.setup.training, job.model)
    requested = job.params.get("seed")
    seed = int(requested) if requested is not None else mix_seed(training.seed, bench.setup.site_name)
    segmenter, store = bench.open(job.model)
    champion = store.champion()
    reached = bench.state.corrections.count()
    corrections, left_out = bench.training_cases()
    start = store.load(champion)
    trained = store.get(champion).origin != "base"
    folds = _folds(bench, store, champion, corrections)
    uncorrected = bench.uncorrected(REHEARSED)
    asked = len(corrections) + len(uncorrected)
    # How many steps there will be depends on what the champion is found to be worth; most are kept.
    kept = _for_steps(training, job, corrections, Rehearsal(keep=KEEP))
    meter = bench.meter(job, kept.steps, judge=True, folds=len(folds), rehearsed=asked)
    progress = meter.phase("rehearse", "running", f"asking the version in use about {asked} case(s)")
    rehearsal = rehearse(segmenter, start, bench.load(corrections), uncorrected, trained=trained, progress=progress)
    training = _for_steps(training, job, corrections, rehearsal)
    meter.expect({"train": bench.training_time(job, training.steps)})
    if folds:
        meter.expect({"cross": bench.training_time(job, training.steps * len(folds))})
    progress = meter.phase("train", "running", f"training on {len(corrections)} corrected case(s)")
    lesson = _Lesson(bench, segmenter, store, champion, start, corrections, rehearsal, training, seed)
    done = lesson.fit(corrections, progress, meter.losses)
    figures = bench.figures(job, done)
    version, judged = _offer(lesson, done.tensors, rehearsal.keep, figures, folds, meter)
    notes = []
    if rehearsal.keep and promising(judged.decision):
        notes.append(
            f"This is a smaller step than version {version.id[:12]}, which was refused though better on average."
        )
        version, judged = _offer(lesson, done.tensors, SMALLER, figures, folds, meter)
    if left_out:
        notes.append(f"{left_out} corrected case(s) were left out: image missing or changed.")
    learned_until(bench.state, job.model, reached)
    return judgement(version.id, judged.decision), " ".join([judged.decision.reason, *notes])


def _for_steps(
    training: TrainingSpec, job: Job, corrections: Sequence[Correction], rehearsal: Rehearsal
) -> TrainingSpec:
    """The steps that the job asks for, else those that suit the corrections."""
    if (steps := job.params.get("steps")) is not None:
        return training.model_copy(update={"steps": steps})
    return with_steps(training, len(corrections), job.model, rehearsal)


def _offer(
    lesson: _Lesson, tuned: Tensors, keep: float, figures: Mapping[str, float], folds: Folds, meter: Meter
) -> tuple[Version, Judged]:
    """Make a step towards what was trained a version, and let the gate decide."""
    tensors = lesson.step(tuned, keep)
    cross = _cross(lesson, tensors, keep, folds, meter)
    version = lesson.bench.keep(
        lesson.store,
        tensors,
        "learning",
        lesson.champion,
        lesson.segmenter,
        lesson.seed,
        lesson.training,
        lesson.corrections,
        figures,
        {"rehearsal": replace(lesson.rehearsal, keep=keep).as_json()},
    )
    return version, lesson.bench.judge_and_promote(lesson.segmenter, lesson.store, version, tensors, meter, cross)


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


def _cross(lesson: _Lesson, tensors: Tensors, keep: float, folds: Folds, meter: Meter) -> CrossScores | None:
    """Evidence from folds, unless the validation cases leave no doubt."""
    if not folds:
        return None
    judged = lesson.bench.judge(lesson.segmenter, lesson.store, tensors, meter, "learning")
    if obvious(judged.decision) or hopeless(judged.decision, sum(map(len, folds))):
        return None

    def train(rest: Sequence[Correction], progress: Progress) -> Tensors:
        return lesson.step(lesson.fit_without(rest, progress), keep)

    progress = meter.phase("cross", "gating", f"cross-validating on {sum(map(len, folds))} training case(s)")
    return cross_validate(lesson.champion, lesson.start, lesson.corrections, folds, train, lesson.score, progress)
