"""Asks for learning by itself, as the site's policy says.

One thread looks at the records every few seconds; nothing about a schedule lives in memory only, so a
restarted site goes on where it was. A job that waits already is joined, never doubled.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from fed_backend.errors import FedSegError
from monailabel_app.learning.policy import Facts, Policy, due
from monailabel_app.state.site import SiteState

__all__ = ["Schedule", "facts_of", "learned_until", "read_policy", "save_policy"]

logger = logging.getLogger(__name__)

AUTHOR = "policy"
_EVERY_S = 5.0


def local_now() -> datetime:
    """Now, aware, in the server's time zone."""
    return datetime.now().astimezone()


def read_policy(state: SiteState) -> Policy:
    """The site's policy; by hand only until one was set."""
    return Policy.model_validate(state.settings.get("learning_policy", {}))


def save_policy(state: SiteState, policy: Policy) -> None:
    """Set the site's policy."""
    state.settings.set("learning_policy", policy.model_dump())


def learned_until(state: SiteState, model: str, reached: int | None = None) -> int:
    """Number of the newest correction that finished learning has seen; ``reached`` sets it."""
    key = f"learned_until:{model}"
    if reached is not None:
        state.settings.set(key, reached)
    return int(state.settings.get(key, 0))


def facts_of(state: SiteState, model: str) -> Facts:
    """What the records say about learning of one model."""
    database = state.database
    learned = learned_until(state, model)
    fresh = database.row(
        'SELECT COUNT(DISTINCT "case") n FROM corrections JOIN cases USING ("case") JOIN splits USING (patient) '
        "WHERE part = 'train' AND corrections.number > ?",
        (learned,),
    )
    active = [
        datetime.fromisoformat(row["at"])
        for table, at in (("corrections", "submitted_at"), ("prompts", "at"))
        if (row := database.row(f"SELECT {at} at FROM {table} ORDER BY number DESC LIMIT 1"))  # noqa: S608 - constants
    ]
    last = database.row(
        "SELECT state, started_at, finished_at FROM jobs WHERE kind = 'learn' AND model = ? "
        "ORDER BY number DESC LIMIT 1",
        (model,),
    )
    assert fresh is not None
    return Facts(
        new=fresh["n"],
        working=last is not None and last["state"] in ("queued", "running", "gating"),
        active_at=max(active, default=None),
        learned_at=last["started_at"] if last else None,
        failed_at=last["finished_at"] if last and last["state"] in ("failed", "cancelled") else None,
    )


class Schedule:
    """The thread that asks.

    Args:
        state: the site's state.
        model: the model that learns by itself.
        now: aware time.
    """

    def __init__(self, state: SiteState, model: str, now: Callable[[], datetime] = local_now) -> None:
        self._state = state
        self._model = model
        self._now = now
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learning-schedule", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def look(self) -> str | None:
        """Ask for learning if it is due; returns why."""
        policy = read_policy(self._state)
        if policy == Policy():
            return None
        reason = due(policy, facts_of(self._state, self._model), self._now())
        if reason is not None:
            self._state.jobs.submit("learn", self._model, {"because": reason}, author=AUTHOR)
        return reason

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                reason = self.look()
            except FedSegError as error:  # a full disk must not end the schedule
                logger.warning("the learning schedule could not look: %s", error)
                continue
            if reason is not None:
                logger.info("learning because of %s", reason)
