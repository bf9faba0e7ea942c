"""Fine-tune a segmenter's adapter on corrected cases, seeded and cancellable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.errors import AdapterError, Conflict
from monailabel_app.models.base import Cases, Progress, Segmenter, no_progress

__all__ = ["Finetuned", "finetune"]


@dataclass(frozen=True)
class Finetuned:
    """The outcome of one training.

    Attributes:
        tensors: the adapter afterwards, float32.
        losses: loss of each step.
        seconds: wall-clock time.
        steps: gradient steps taken.
    """

    tensors: Tensors
    losses: list[float]
    seconds: float
    steps: int


def finetune(
    segmenter: Segmenter,
    cases: Cases,
    training: TrainingSpec,
    *,
    seed: int,
    progress: Progress = no_progress,
    on_loss: Callable[[float], None] | None = None,
) -> Finetuned:
    """Train in place; on any error, and when cancelled, the adapter is as it was before.

    Args:
        segmenter: holds the adapter to start from, and afterwards the result.
        cases: images with labels in their own grid; at least one.
        training: steps, batch size, learning rate, proximal pull.
        seed: equal seeds, cases and tensors give equal results on one machine.
        progress: called after each step; raises ``Cancelled`` to stop.
        on_loss: called with the loss of each step, before ``progress``.

    Raises:
        Conflict: no case.
        AdapterError: the loss stopped being a number.
        Cancelled: from ``progress``.
    """
    if not cases:
        raise Conflict("there is no corrected case to learn from", "submit at least one correction first")
    before = segmenter.adapter()
    started = time.perf_counter()
    losses: list[float] = []
    stepping = segmenter.train_steps(
        cases,
        steps=training.steps,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        proximal=training.proximal,
        seed=seed,
    )
    try:
        for loss in stepping:
            if not math.isfinite(loss):
                raise AdapterError(
                    f"training diverged: the loss of step {len(losses) + 1} is {loss}",
                    f"lower the learning rate, which is {training.learning_rate:g}",
                )
            losses.append(loss)
            if on_loss is not None:
                on_loss(loss)
            progress(len(losses) / training.steps)
    except BaseException:
        if isinstance(stepping, Generator):
            stepping.close()  # now, not when it is collected: the model leaves training mode
        segmenter.load_adapter(before)
        raise
    return Finetuned(segmenter.adapter(), losses, time.perf_counter() - started, len(losses))
