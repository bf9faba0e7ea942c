"""Learning and federation beside the annotator's work: polling the site, starting and stopping.

Runs on its own lane, so that a long segmentation never delays a progress bar or a stop. One poll is under way at most;
the next is due one second after the last ended while something runs, four seconds otherwise, five after a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from .cancel import CancelSwitch
from .client import SiteClient
from .errors import Cancelled, FedSegError
from .plans import PlanDetails
from .progress import Federation, Learning, Round
from .state import Action, View, notice_of
from .worker import Job, Lane, Report

RUNNING_SECONDS = 1.0
IDLE_SECONDS = 4.0
FAILED_SECONDS = 5.0


class Change(Protocol):
    """Changes fields of the view."""

    def __call__(self, **changes: Any) -> None:
        """Set the named fields."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """One poll's findings."""

    learning: Learning
    federation: Federation
    round: Round | None


class Watch:
    """Watches one connected FedSeg site.

    Args:
        lane: thread of its own.
        client: the site.
        clock: monotonic seconds.
        view: the present view. change: changes it.
    """

    def __init__(
        self, lane: Lane, client: SiteClient, clock: Callable[[], float], view: Callable[[], View], change: Change
    ) -> None:
        self._lane = lane
        self._client = client
        self._clock = clock
        self._view = view
        self._change = change
        self._due = clock()
        self._poll: Job[Snapshot] | None = None
        self._over = False
        self._details: tuple[str, PlanDetails | None] | None = None

    def tick(self) -> None:
        """Poll if it is time."""
        if self._poll is None and not self._over and self._clock() >= self._due:
            self._poll = self._lane.submit(self._look, self._seen, self._blind)

    def end(self) -> None:
        """Stop watching; late answers are dropped."""
        self._over = True
        if self._poll is not None:
            self._poll.cancel.cancel()

    def learn(self, model: str) -> None:
        """Ask the site to learn from the corrections."""
        self._ask(Action.LEARN, lambda cancel: self._client.start_learning(model or None, cancel))

    def stop_learning(self) -> None:
        """Ask the site to stop learning."""
        self._ask(Action.STOP_LEARNING, lambda cancel: self._client.stop_learning(cancel))

    def start_round(self, rounds: int | None, method: str | None = None) -> None:
        """Ask for a federated run."""
        self._ask(Action.START_ROUND, lambda cancel: self._client.start_round(rounds, method, cancel))

    def pause(self, paused: bool) -> None:
        """Take no part in rounds, or take part again."""
        self._ask(Action.PAUSE, lambda cancel: self._client.pause(paused, cancel))

    def approve_plan(self, sha256: str, approved: bool) -> None:
        """Agree to the plan, or leave the federation."""
        self._ask(Action.LEAVE, lambda cancel: self._client.approve_plan(sha256, approved, cancel))

    def stop_round(self, run: str) -> None:
        """Ask to stop a federated run."""
        self._ask(Action.STOP_ROUND, lambda cancel: self._client.stop_round(run, cancel))

    def _ask(self, action: Action, call: Callable[[CancelSwitch], object]) -> None:
        def work(cancel: CancelSwitch, report: Report) -> object:
            return call(cancel)

        def done(_: object) -> None:
            if not self._over:
                self._due = self._clock()
                self._change(asking=self._view().asking - {action}, notice=None)

        def failed(error: Exception) -> None:
            if not self._over:
                self._due = self._clock()
                self._change(asking=self._view().asking - {action}, notice=notice_of(error))

        self._change(asking=self._view().asking | {action})
        self._lane.submit(work, done, failed)

    def _look(self, cancel: CancelSwitch, report: Report) -> Snapshot:
        learning = self._client.learning(cancel)
        federation = self._detailed(self._client.federation(cancel), cancel)
        newest = federation.newest
        return Snapshot(learning, federation, self._client.round(newest, cancel) if newest else None)

    def _detailed(self, federation: Federation, cancel: CancelSwitch) -> Federation:
        """With what the plan asks of a site; that is fetched once (worker thread)."""
        plan = federation.plan
        if plan is None:
            return federation
        if self._details is None or self._details[0] != plan.sha256:
            self._details = (plan.sha256, self._client.plan(cancel))
        return replace(federation, plan=replace(plan, details=self._details[1]))

    def _seen(self, snapshot: Snapshot) -> None:
        self._poll = None
        if self._over:
            return
        runs = snapshot.learning.running or (snapshot.round is not None and snapshot.round.running)
        self._due = self._clock() + (RUNNING_SECONDS if runs else IDLE_SECONDS)
        self._change(learning=snapshot.learning, federation=snapshot.federation, round=snapshot.round, link_lost="")

    def _blind(self, error: Exception) -> None:
        self._poll = None
        if self._over or isinstance(error, Cancelled):
            return
        self._due = self._clock() + FAILED_SECONDS
        words = str(error) if isinstance(error, FedSegError) else f"{type(error).__name__}: {error}"
        self._change(link_lost=words)
