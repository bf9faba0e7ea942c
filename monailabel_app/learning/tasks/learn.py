"""The learn job: the site trains on its own corrections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.learning.evaluate import Measured
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter
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


def learn(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Train on the corrections from the champion; the outcome serves if the gate lets it."""
    update = {key: job.params[key] for key in ("steps",) if job.params.get(key) is not None}
    training = bench.setup.training.model_copy(update=update)
    requested = job.params.get("seed")
    seed = int(requested) if requested is not None else mix_seed(training.seed, bench.setup.site_name)
    segmenter, store = bench.open(job.model)
    champion = store.champion()
    reached = bench.state.corrections.count()
    corrections, left_out = bench.training_cases()
    folds = _folds(bench, store, champion, corrections)
    meter = bench.meter(job, training.steps, judge=True, folds=len(folds))
    start = store.load(champion)
    tensors, metrics = bench.train(segmenter, start, corrections, training, seed, meter, job)
    cross = _cross(bench, segmenter, champion, start, corrections, folds, training, seed, meter)
    version = bench.keep(store, tensors, "learning", champion, segmenter, seed, training, corrections, metrics)
    judged = bench.judge_and_promote(segmenter, store, version, tensors, meter, cross)
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
    fresh = unseen(store, champion, patients, {c.id: c.submitted_at for c in everything})
    if len({patients[c.id] for c in corrections}) < 2:
        return []
    return folds_of([c for c in corrections if patients[c.id] in fresh], patients)


def _cross(
    bench: Workbench,
    segmenter: Segmenter,
    champion: str,
    start: Tensors,
    corrections: Sequence[Correction],
    folds: Folds,
    training: TrainingSpec,
    seed: int,
    meter: Meter,
) -> CrossScores | None:
    if not folds:
        return None

    def train(rest: Sequence[Correction], progress: Progress) -> Tensors:
        return bench.fit(segmenter, start, rest, training, seed, progress).tensors

    def score(tensors: Tensors, fold: Sequence[Correction]) -> dict[str, Measured]:
        return bench.score(segmenter, tensors, fold, no_progress)

    progress = meter.phase("cross", "gating", f"cross-validating on {sum(map(len, folds))} training case(s)")
    return cross_validate(champion, start, corrections, folds, train, score, progress)
