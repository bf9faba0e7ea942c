"""What every half has in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.errors import AdapterError
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.finetune import finetune
from monailabel_app.models.base import Cases, Progress, Segmenter, no_progress

__all__ = ["Score", "SiteHalf", "Work"]

Score = Callable[[Tensors], Mapping[str, float]]
"""Tensors of a model -> case -> Dice on the site's validation cases."""


def _ignore(loss: float) -> None:
    """For those who draw no curve."""


@dataclass
class Work:
    """What a half trains with.

    Attributes:
        segmenter: its adapter is changed.
        cases: training cases, at least one.
        seed: of this round at this site.
        steps: all gradient steps that this training will take; for the progress.
        progress: called after each step.
        on_loss: called with each loss.
        taken: steps taken so far.
        losses: of these steps.
    """

    segmenter: Segmenter
    cases: Cases
    seed: int
    steps: int
    progress: Progress = no_progress
    on_loss: Callable[[float], None] = _ignore
    taken: int = 0
    losses: list[float] = field(default_factory=list)

    def fit(self, start: Tensors, training: TrainingSpec, *, seed: int | None = None) -> Tensors:
        """Fine-tune the segmenter from ``start``; the whole adapter afterwards.

        Raises:
            AdapterError: the loss stopped being a number.
            Cancelled: from ``progress``.
        """
        self.segmenter.load_adapter(start)
        before = self.taken

        def advance(share: float) -> None:
            self._advance(before + round(share * training.steps))

        done = finetune(
            self.segmenter,
            self.cases,
            training,
            seed=self.seed if seed is None else seed,
            progress=advance,
            on_loss=self._note,
        )
        return done.tensors

    def follow(self, stepping: Iterator[float]) -> None:
        """Take the steps of another training; see :meth:`fit`."""
        for loss in stepping:
            if not math.isfinite(loss):
                raise AdapterError(f"training diverged: a loss is {loss}", "lower the learning rate")
            self._note(loss)
            self._advance(self.taken + 1)

    def _note(self, loss: float) -> None:
        self.losses.append(loss)
        self.on_loss(loss)

    def _advance(self, taken: int) -> None:
        self.taken = taken
        self.progress(min(1.0, taken / max(1, self.steps)))


class SiteHalf(Protocol):
    """A method at a site. Tensors are those of a round: what the method shares, and what stays here."""

    steps: int
    """Gradient steps of one round."""

    def beginning(self, base: Tensors) -> Tensors:
        """The shared tensors that a fresh federation starts from.

        Args:
            base: the initial adapter, the same at every site.
        """
        ...

    def train(self, work: Work, start: Tensors) -> Tensors:
        """One round.

        Args:
            work: cases, model, seed.
            start: shared tensors as received or from :meth:`beginning`, the rest of the adapter from
                the site's last round or its champion.

        Returns:
            The same names, trained; private ones that ``start`` lacked may be added.
        """
        ...

    def version(self, tensors: Tensors, cases: Mapping[str, Volume], score: Score) -> Tensors:
        """What the site's gate judges and its version holds.

        Args:
            tensors: shared tensors as offered, the rest as after the site's last round.
            cases: the site's validation cases.
            score: measures a model on them.
        """
        ...
