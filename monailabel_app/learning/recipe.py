"""How a site learns from few corrections without forgetting what the champion can do.

Fine-tuning on one to four patients alone makes a model worse on others. Two things hold it:

- Rehearsal: half of what is drawn are images of this site that nobody corrected, with the masks that the
  champion gives them (self-distillation with hard targets; Li and Hoiem, "Learning without forgetting",
  ECCV 2016).
- Going half way: the result is the mean of champion and fine-tuned weights (Wortsman et al., "Robust
  fine-tuning of zero-shot models", CVPR 2022, with their mixing coefficient of one half).

Both are left out where the champion is not worth keeping. One corrected patient cannot tell: a good
model may fail on an odd one, and leaving rehearsal out then does the greatest harm. So a champion that was
ever trained is kept unless several patients speak against it. Chosen by experiment: docs/explanation/learning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.finetune import Finetuned, finetune
from monailabel_app.models.base import Cases, Labelmap, Progress, Segmenter, no_progress

__all__ = [
    "KEEP",
    "REHEARSED",
    "SMALLER",
    "TRUST",
    "Rehearsal",
    "between",
    "learn_from",
    "rehearse",
    "with_batch",
    "with_steps",
]

REHEARSED = 4
"""Uncorrected cases that are rehearsed, if the site has so many."""

TRUST = 0.3
"""Mean Dice on the corrected cases from which the champion's masks are worth rehearsing."""

WITNESSES = 3
"""So many corrected cases can show that a champion which was trained is not worth keeping."""

KEEP = 0.5
"""Share of the champion's weights in the result."""

SMALLER = 0.75
"""The same in a second, smaller step, which is tried where the first one is better on average but not safe."""

SAM_BATCH = 4
"""Slices of a training step of SAM at most; it takes half as long as one of 8."""

FURTHER = 0.5
"""For each further correction training takes so many of its basic steps more."""

SAM_KEPT_FURTHER = 0.1
"""The same for a SAM whose champion is worth keeping."""

LONGEST = 4
"""However many corrections there are, training takes at most so many times its basic steps."""


@dataclass(frozen=True)
class Rehearsal:
    """What is kept of the champion.

    Attributes:
        cases: images with the champion's masks; empty where it is not trusted or nothing is uncorrected.
        images: SHA-256 of their files, in the same order.
        trust: its mean Dice on the corrected cases; ``None`` where nobody asked.
        keep: share of its weights in the result, 0..1.
    """

    cases: tuple[tuple[Volume, Labelmap], ...] = ()
    images: tuple[str, ...] = ()
    trust: float | None = None
    keep: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For the record of the version."""
        return {"images": list(self.images), "trust": self.trust, "keep": self.keep}


def with_steps(training: TrainingSpec, corrected: int, model: str, rehearsal: Rehearsal) -> TrainingSpec:
    """The training of a model (``unet``, ``sam``) for so many corrected cases: its own steps for one, more for more.

    One patient is learned by heart soon; more of them bear, and need, longer training. A SAM that is kept needs
    little of that (docs/explanation/learning.md).
    """
    further = SAM_KEPT_FURTHER if model == "sam" and rehearsal.keep else FURTHER
    factor = min(LONGEST, 1 + further * (corrected - 1))
    return training.model_copy(update={"steps": round(training.steps * factor)})


def with_batch(training: TrainingSpec, model: str) -> TrainingSpec:
    """The training for a model (``unet``, ``sam``): see :data:`SAM_BATCH`."""
    if model != "sam":
        return training
    return training.model_copy(update={"batch_size": min(training.batch_size, SAM_BATCH)})


def rehearse(
    segmenter: Segmenter,
    champion: Tensors,
    corrected: Cases,
    uncorrected: Mapping[str, Volume],
    *,
    trained: bool,
    progress: Progress = no_progress,
) -> Rehearsal:
    """Find out what of the champion to keep, and let it segment what nobody corrected.

    Args:
        segmenter: holds the champion afterwards.
        champion: its tensors.
        corrected: the cases to learn from, which say whether it is worth it.
        uncorrected: digest -> image, none of which is kept for validation or testing.
        trained: whether the champion ever learned anything, or is what a site starts with.
        progress: called after each case.

    Raises:
        Cancelled: from ``progress``.
    """
    segmenter.load_adapter(champion)
    asked = len(corrected) / (len(corrected) + len(uncorrected))
    named = [(str(n), case) for n, case in enumerate(corrected)]
    scores = evaluate(segmenter, named, lambda share: progress(asked * share))
    trust = fmean(fmean(labels.values()) for labels in scores.values())
    if trust < TRUST and (not trained or len(corrected) >= WITNESSES):
        return Rehearsal(trust=trust)
    cases: list[tuple[Volume, Labelmap]] = []
    for volume in uncorrected.values():
        cases.append((volume, segmenter.segment(volume)))
        progress(asked + (1 - asked) * len(cases) / len(uncorrected))
    return Rehearsal(tuple(cases), tuple(uncorrected), trust, KEEP)


def learn_from(
    segmenter: Segmenter,
    champion: Tensors,
    corrected: Cases,
    rehearsal: Rehearsal,
    training: TrainingSpec,
    *,
    seed: int,
    progress: Progress = no_progress,
    on_loss: Callable[[float], None] | None = None,
) -> Finetuned:
    """Fine-tune from the champion on corrected cases and rehearsal, each half of what is drawn, and go half way.

    Training draws a case first, then a slice of it, so cases are repeated until both halves are alike.

    Args:
        segmenter: holds the result afterwards.
        champion: tensors to start from.
        corrected: images with corrected labels; at least one.
        rehearsal: see :func:`rehearse`.
        training: steps, batch size, learning rate.
        seed: equal seeds and cases give equal results on one machine.
        progress: called after each step; raises ``Cancelled`` to stop.
        on_loss: called with the loss of each step.

    Raises:
        Conflict: no corrected case.
        AdapterError: training diverged.
        Cancelled: from ``progress``; the segmenter then holds the champion.
    """
    cases = list(corrected)
    if rehearsal.cases and cases:
        cases = cases * max(1, len(rehearsal.cases) // len(cases))
        cases += list(rehearsal.cases) * max(1, len(cases) // len(rehearsal.cases))
    segmenter.load_adapter(champion)
    done = finetune(segmenter, cases, training, seed=seed, progress=progress, on_loss=on_loss)
    if not rehearsal.keep:
        return done
    mixed = between(champion, done.tensors, rehearsal.keep)
    segmenter.load_adapter(mixed)
    return replace(done, tensors=mixed)


def between(before: Tensors, after: Tensors, keep: float) -> Tensors:
    """Weights on the way from one version to another.

    Args:
        before: the champion's; may hold more than ``after``.
        after: the fine-tuned ones.
        keep: share of ``before``, 0..1.
    """
    return {name: (keep * before[name] + (1 - keep) * tuned).astype(tuned.dtype) for name, tuned in after.items()}
