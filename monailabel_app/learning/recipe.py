"""How a site learns from few corrections without forgetting: rehearsal of what the champion already does.

Fine-tuning on one to four patients alone makes a model worse on others. Half of what is drawn is
therefore rehearsal: images of this site that nobody corrected, with the masks that the champion gives
them (self-distillation with hard targets; Li and Hoiem, "Learning without forgetting", ECCV 2016).
It is left out where the champion itself is not worth keeping: its masks on the corrected cases must
reach ``TRUST``. Chosen by experiment, see bench/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.finetune import Finetuned, finetune
from monailabel_app.models.base import Labelmap, Progress, Segmenter, no_progress

__all__ = ["REHEARSED", "TRUST", "Rehearsal", "learn_from", "rehearse", "with_steps"]

REHEARSED = 4
"""Uncorrected cases that are rehearsed, if the site has so many."""

TRUST = 0.3
"""Mean Dice on the corrected cases from which the champion's masks are worth rehearsing."""

LONGEST = 4
"""However many corrections there are, training takes at most so many times its basic steps."""

Pairs = Sequence[tuple[Volume, Labelmap]]


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed.

    Attributes:
        cases: images with the champion's masks; empty where it is not trusted or nothing is uncorrected.
        images: SHA-256 of their files, in the same order.
        trust: its mean Dice on the corrected cases; ``None`` where there was nothing to rehearse.
    """

    cases: tuple[tuple[Volume, Labelmap], ...] = ()
    images: tuple[str, ...] = ()
    trust: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For the record of the version."""
        return {"images": list(self.images), "trust": self.trust}


def with_steps(training: TrainingSpec, corrected: int) -> TrainingSpec:
    """The training for so many corrected cases: its own steps for one, half as many more for each further.

    One patient is learned by heart soon; more of them bear, and need, longer training.
    """
    factor = min(LONGEST, 1 + (corrected - 1) / 2)
    return training.model_copy(update={"steps": round(training.steps * factor)})


def rehearse(segmenter: Segmenter, champion: Tensors, corrected: Pairs, uncorrected: Mapping[str, Volume]) -> Rehearsal:
    """Let the champion segment what nobody corrected.

    Args:
        segmenter: holds the champion afterwards.
        champion: its tensors.
        corrected: the cases to learn from, which say whether it is worth it.
        uncorrected: digest -> image, none of which is kept for validation or testing.
    """
    if not uncorrected:
        return Rehearsal()
    segmenter.load_adapter(champion)
    scores = evaluate(segmenter, [(str(n), volume, mask) for n, (volume, mask) in enumerate(corrected)])
    trust = fmean(fmean(labels.values()) for labels in scores.values())
    if trust < TRUST:
        return Rehearsal(trust=trust)
    cases = tuple((volume, segmenter.segment(volume)) for volume in uncorrected.values())
    return Rehearsal(cases, tuple(uncorrected), trust)


def learn_from(
    segmenter: Segmenter,
    champion: Tensors,
    corrected: Pairs,
    rehearsal: Rehearsal,
    training: TrainingSpec,
    *,
    seed: int,
    progress: Progress = no_progress,
    on_loss: Callable[[float], None] | None = None,
) -> Finetuned:
    """Fine-tune from the champion on corrected cases and rehearsal, each half of what is drawn.

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
    return finetune(segmenter, cases, training, seed=seed, progress=progress, on_loss=on_loss)
