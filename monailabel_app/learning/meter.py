"""Progress of a job: share done, seconds left from measured steps, and the cancel flag."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monailabel_app.learning.jobs import Jobs, JobState
from monailabel_app.models.base import Progress

__all__ = ["Meter", "Pace"]

_WRITE_EVERY_S = 0.25
_CURVE_POINTS = 200


@dataclass
class Pace:
    """Seconds per unit of work (a training step, a scored case), as last measured."""

    seconds: dict[str, float] = field(default_factory=dict)

    def expect(self, unit: str, count: int, default: float) -> float:
        """Expected seconds of ``count`` units."""
        return self.seconds.get(unit, default) * count


class Meter:
    """Reports one job that consists of phases, each with an expected duration.

    Args:
        jobs: where progress goes and the cancel flag comes from.
        number: the job.
        phases: name -> expected seconds, in order; they decide how much of the bar a phase gets.
        clock: monotonic seconds.

    Attributes:
        losses: loss of each training step so far; shown as the job's curve.
    """

    def __init__(
        self, jobs: Jobs, number: int, phases: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._number = number
        self._expected = dict(phases)
        self._total = sum(phases.values()) or 1.0
        self._clock = clock
        self._written = float("-inf")
        self.losses: list[float] = []

    def expect(self, phases: Mapping[str, float]) -> None:
        """Phases to come take so many seconds, as is known by now."""
        self._expected.update(phases)
        self._total = sum(self._expected.values()) or 1.0

    def phase(self, name: str, state: JobState, message: str) -> Progress:
        """Enter a phase; the callback takes its share and raises ``Cancelled`` when asked to stop."""
        names = list(self._expected)
        before = sum(self._expected[n] for n in names[: names.index(name)])
        after = sum(self._expected[n] for n in names[names.index(name) + 1 :])
        expected = self._expected[name]
        begin = self._clock()

        def report(share: float) -> None:
            self._jobs.check_cancelled(self._number)
            now = self._clock()
            if now - self._written < _WRITE_EVERY_S and share < 1:
                return
            self._written = now
            left = (now - begin) * (1 - share) / share if share > 0 else expected
            self._jobs.report(
                self._number,
                progress=min(1.0, (before + share * expected) / self._total),
                seconds_left=round(left + after, 1),
                curve=_thinned(self.losses),
            )

        self._jobs.check_cancelled(self._number)
        self._jobs.report(
            self._number,
            state=state,
            message=message,
            progress=before / self._total,
            seconds_left=round(expected + after, 1),
        )
        return report


def _thinned(losses: Sequence[float]) -> list[dict[str, float]] | None:
    """At most about 200 points ``{step, loss}``, steps from 1; ``None`` before the first."""
    stride = max(1, len(losses) // _CURVE_POINTS)
    return [{"step": n + 1, "loss": float(losses[n])} for n in range(0, len(losses), stride)] or None
