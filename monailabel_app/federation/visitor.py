"""GCML at a site: a visiting model and the site's own learn from each other, and the best of both stays.

The visitor is a copy in memory; it is gone when the exchange is over, and only what the site's gate
lets through becomes a version that serves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from fed_backend.methods.base import Update
from fed_backend.methods.gcml import GCML, keep_best
from fed_backend.objectives.dcml import contrast, region_of
from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.federation.halves.base import Score, Work
from monailabel_app.models.base import Cases, Objective, Progress, Segmenter, no_progress
from monailabel_app.models.steps import descend

__all__ = ["Met", "meet"]


@dataclass(frozen=True)
class Met:
    """What came of a visit.

    Attributes:
        tensors: the site's model afterwards.
        chosen: ``own``, ``mean`` or ``visitor``.
        scores: mean Dice of each on the site's validation cases; empty without any.
        losses: of the site's own model, step by step.
    """

    tensors: Tensors
    chosen: str
    scores: dict[str, float]
    losses: list[float]


def meet(
    segmenter: Segmenter,
    method: GCML,
    own: Update,
    visitor: Update,
    rest: Tensors,
    cases: Cases,
    training: TrainingSpec,
    score: Score,
    *,
    seed: int,
    progress: Progress = no_progress,
    on_loss: Callable[[float], None] = lambda loss: None,
) -> Met:
    """Deep contrast mutual learning, then the merge.

    Args:
        segmenter: holds the site's own model afterwards.
        method: settings and merge candidates.
        own: the site's shared tensors.
        visitor: the peer's.
        rest: what the plan lets not travel, of this site; both models use it.
        cases: training cases.
        training: each model takes its steps.
        score: measures a model on the site's validation cases.
        seed: equal arguments give equal results.
        progress: called after each step.
        on_loss: called with each loss of the own model.

    Raises:
        ValueError: the tensors of either do not match the plan, or both come from one site.
        AdapterError: training diverged; the segmenter then holds the own model as it was.
    """
    method.candidates(own, visitor)  # refuse what does not match before any work
    segmenter.load_adapter({**rest, **own.tensors})
    guest = copy.deepcopy(segmenter)
    guest.load_adapter({**rest, **visitor.tensors})
    work = Work(segmenter, cases, seed, training.steps, progress, on_loss)
    try:
        _learn(work, guest, method, training)
    except BaseException:
        segmenter.load_adapter({**rest, **own.tensors})
        raise
    trained, taught = segmenter.adapter(), guest.adapter()
    shared = own.tensors.keys()
    merged = method.candidates(
        Update(own.site, {name: trained[name] for name in shared}, own.examples),
        Update(visitor.site, {name: taught[name] for name in shared}, visitor.examples),
    )
    candidates = {name: {**trained, **tensors} for name, tensors in merged.items()}
    scores = {name: _mean(score(tensors)) for name, tensors in candidates.items()}
    chosen = keep_best({name: value for name, value in scores.items() if value is not None})
    segmenter.load_adapter(candidates[chosen])
    found = {name: value for name, value in scores.items() if value is not None}
    return Met(candidates[chosen], chosen, found, work.losses)


def _learn(work: Work, guest: Segmenter, method: GCML, training: TrainingSpec) -> None:
    """Both models take steps in turn, on the same batches, each with the other as teacher."""
    settings = method.settings
    host = work.segmenter
    mine = host.objective(work.cases, batch_size=training.batch_size, seed=work.seed)
    theirs = guest.objective(work.cases, batch_size=training.batch_size, seed=work.seed)
    batch = None

    def loss(student: Objective, teacher: Objective) -> Tensor:
        logits = student.logits(batch)
        value: Tensor = student.loss(logits, batch)
        if not settings.weight:
            return value
        with torch.no_grad():
            other = teacher.classes(teacher.logits(batch))
            truth = student.truth(logits, batch)
            region = region_of(truth, settings.radius)
        term = contrast(student.classes(logits), other, truth, region=region, beta=settings.beta, bound=settings.bound)
        return value + settings.weight * term

    def draw_and_loss() -> Tensor:
        nonlocal batch
        batch = mine.draw()
        return loss(mine, theirs)

    own_steps = _descend(host, draw_and_loss, training)
    guest_steps = _descend(guest, lambda: loss(theirs, mine), training)
    try:
        work.follow(value for value, _ in zip(own_steps, guest_steps, strict=True))
    finally:
        own_steps.close()  # type: ignore[attr-defined]  # now: the networks leave training mode
        guest_steps.close()  # type: ignore[attr-defined]


def _descend(segmenter: Segmenter, loss: Callable[[], Tensor], training: TrainingSpec) -> Iterator[float]:
    return descend(
        segmenter.network,
        segmenter.trainable,
        loss,
        steps=training.steps,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        proximal=training.proximal,
    )


def _mean(scores: Mapping[str, float]) -> float | None:
    return fmean(scores.values()) if scores else None
