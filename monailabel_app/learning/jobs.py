"""The queue of the learner: jobs in the site's records, which are the single truth about them.

``Jobs.submit`` is the only way to make a job. The server submits, watches and cancels; the learner
process claims, reports and finishes. Nothing about a job lives only in memory, so either side may
die at any moment. States: queued -> running -> (gating) -> done | failed | cancelled.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fed_backend.errors import FedSegError
from monailabel_app.errors import Cancelled, Conflict, NotFound, Unavailable
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now

__all__ = ["FINAL", "Job", "JobKind", "JobState", "Jobs"]

JobKind = Literal["learn", "federated_train", "offer", "evaluate"]
JobState = Literal["queued", "running", "gating", "done", "failed", "cancelled"]

FINAL: tuple[JobState, ...] = ("done", "failed", "cancelled")
_ATTEMPTS = 2
_POLL_S = 0.2


@dataclass(frozen=True)
class Job:
    """A snapshot of one job.

    Attributes:
        number: order of submission.
        progress: finished share, 0..1.
        seconds_left: estimate from measured steps; ``None`` before there is one.
        message: what it is doing, or how it ended, in one sentence.
        error: ``{error, detail, hint, status}`` of a failed job.
        result: what a finished job found; its keys depend on the kind.
        curve: ``[{step, loss}]``, thinned.
        attempts: how often it was started.
    """

    number: int
    kind: JobKind
    state: JobState
    model: str
    author: str
    params: dict[str, Any]
    progress: float
    seconds_left: float | None
    message: str
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    curve: list[dict[str, float]]
    cancel: bool
    attempts: int
    created_at: str
    started_at: str | None
    finished_at: str | None

    @property
    def id(self) -> str:
        """What the outside calls it, e.g. ``learn-12``."""
        return f"{self.kind}-{self.number}"


class Jobs:
    """Jobs of a site.

    Args:
        database: the site's records.
        clock: gives the time as ISO 8601.
    """

    def __init__(self, database: Database, clock: Callable[[], str] = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._closed = False

    # -- the server's side ---------------------------------------------------------------------

    def submit(self, kind: JobKind, model: str, params: Mapping[str, Any] | None = None, *, author: str = "") -> Job:
        """Queue a job and wake the learner. A queued ``learn`` job of the same model is returned
        as it is: it will see every correction that is there when it starts."""
        with self._database.transaction():
            if kind == "learn":
                queued = self._database.row(
                    "SELECT number FROM jobs WHERE kind = 'learn' AND state = 'queued' AND model = ? AND cancel = 0",
                    (model,),
                )
                if queued is not None:
                    return self.get(queued["number"])
            number = self._database.execute(
                "INSERT INTO jobs (kind, state, model, author, params, message, created_at) "
                "VALUES (?, 'queued', ?, ?, ?, 'waiting for the learner', ?)",
                (kind, model, author, json.dumps(dict(params or {})), self._clock()),
            )
        for listener in list(self._listeners):
            listener()
        return self.get(number)

    def on_submit(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every submission."""
        self._listeners.append(listener)

    def get(self, number: int) -> Job:
        """One job.

        Raises:
            NotFound: no such job.
        """
        row = self._database.row("SELECT * FROM jobs WHERE number = ?", (number,))
        if row is None:
            raise NotFound(f"there is no job {number}")
        return _job(row)

    def latest(self, kind: JobKind, model: str | None = None) -> Job | None:
        """The job of a kind that matters now: the one at work, else the newest."""
        row = self._database.row(
            "SELECT * FROM jobs WHERE kind = ? AND (? IS NULL OR model = ?) "
            "ORDER BY state IN ('running', 'gating') DESC, number DESC LIMIT 1",
            (kind, model, model),
        )
        return _job(row) if row else None

    def active(self) -> list[Job]:
        """Jobs that did not end yet, in the order in which they will be done."""
        return [_job(row) for row in self._database.rows(f"SELECT * FROM jobs WHERE {_OPEN} ORDER BY {_ORDER}")]  # noqa: S608

    def cancel(self, number: int) -> Job:
        """Ask for the end of a job: at once while queued, within a training step while at work.

        Raises:
            Conflict: it ended already.
        """
        with self._database.transaction():
            job = self.get(number)
            if job.state in FINAL:
                raise Conflict(f"job {job.id} has ended already ({job.state})", "there is nothing to cancel")
            self._database.execute("UPDATE jobs SET cancel = 1 WHERE number = ?", (number,))
            if job.state == "queued":
                self._end(number, "cancelled", "cancelled before it started")
        self.notify()
        return self.get(number)

    def recover(self, cause: str) -> list[Job]:
        """Handle jobs whose learner died: federated ones are tried once more, others fail.

        Args:
            cause: what happened, as a clause: ``the learner process was killed``.

        Returns:
            The jobs that were interrupted, as they are now.
        """
        with self._database.transaction():
            stale = [_job(r) for r in self._database.rows("SELECT * FROM jobs WHERE state IN ('running', 'gating')")]
            for job in stale:
                if job.kind != "learn" and job.attempts < _ATTEMPTS and not job.cancel:
                    self._database.execute(
                        "UPDATE jobs SET state = 'queued', progress = 0, seconds_left = NULL, message = ? "
                        "WHERE number = ?",
                        (f"{cause} while working; trying once more", job.number),
                    )
                    continue
                again = "start learning again" if job.kind == "learn" else "start the round again"
                while_ = "judging the new version" if job.state == "gating" else "training"
                error = Unavailable(f"{cause} while {while_}", again)
                self._end(job.number, "failed", f"{cause} while {while_}; {again}", error=error)
        self.notify()
        return [self.get(job.number) for job in stale]

    def wait(self, number: int, timeout: float | None = None) -> Job:
        """Block until a job has ended.

        Raises:
            Unavailable: it has not ended within ``timeout`` seconds, or the site is stopping.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self.get(number)
            if job.state in FINAL:
                return job
            if deadline is not None and time.monotonic() > deadline:
                raise Unavailable(f"job {job.id} is still {job.state}", "ask again later")
            if self._closed:
                raise Unavailable("the site is stopping", "ask again once it runs; the same request is answered then")
            with self._changed:
                self._changed.wait(_POLL_S)

    def notify(self) -> None:
        """Something about a job changed: wake those who wait for it in this process."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody go who waits for a job: the site is stopping."""
        self._closed = True
        self.notify()

    # -- the learner's side --------------------------------------------------------------------

    def claim(self) -> Job | None:
        """Take the next job: those of a federation first, then in order of submission."""
        with self._database.transaction():
            row = self._database.row(f"SELECT * FROM jobs WHERE state = 'queued' ORDER BY {_ORDER} LIMIT 1")  # noqa: S608
            if row is None:
                return None
            self._database.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_at = ?, progress = 0, "
                "message = 'preparing' WHERE number = ?",
                (self._clock(), row["number"]),
            )
            return self.get(row["number"])

    def report(
        self,
        number: int,
        *,
        state: JobState | None = None,
        progress: float | None = None,
        seconds_left: float | None = None,
        message: str | None = None,
        curve: list[dict[str, float]] | None = None,
    ) -> None:
        """Write what is known of a running job; ``None`` leaves a field as it is, but seconds_left."""
        self._database.execute(
            "UPDATE jobs SET state = COALESCE(?, state), progress = COALESCE(?, progress), seconds_left = ?, "
            "message = COALESCE(?, message), curve = COALESCE(?, curve) "
            "WHERE number = ? AND state IN ('running', 'gating')",
            (state, progress, seconds_left, message, None if curve is None else json.dumps(curve), number),
        )

    def check_cancelled(self, number: int) -> None:
        """Raise ``Cancelled`` if the job's end was asked for."""
        row = self._database.row("SELECT cancel FROM jobs WHERE number = ?", (number,))
        if row is not None and row["cancel"]:
            raise Cancelled("cancelled by its owner")

    def finish(self, number: int, result: Mapping[str, Any], message: str) -> None:
        """End a job that did its work."""
        self._end(number, "done", message, result=result)

    def fail(self, number: int, error: FedSegError) -> None:
        """End a job that could not do its work, or was cancelled."""
        if isinstance(error, Cancelled):
            self._end(number, "cancelled", "cancelled; the version that serves is unchanged")
        else:
            self._end(number, "failed", str(error), error=error)

    def _end(
        self,
        number: int,
        state: JobState,
        message: str,
        *,
        result: Mapping[str, Any] | None = None,
        error: FedSegError | None = None,
    ) -> None:
        record = error and {
            "error": type(error).__name__,
            "detail": error.detail,
            "hint": error.hint,
            "status": getattr(error, "status", 422),
        }
        self._database.execute(
            "UPDATE jobs SET state = ?, message = ?, result = ?, error = ?, seconds_left = NULL, finished_at = ?, "
            "progress = CASE WHEN ? = 'done' THEN 1 ELSE progress END "
            "WHERE number = ? AND state IN ('queued', 'running', 'gating')",
            (
                state,
                message,
                None if result is None else json.dumps(dict(result)),
                json.dumps(record) if record else None,
                self._clock(),
                state,
                number,
            ),
        )


_OPEN = "state IN ('queued', 'running', 'gating')"
_ORDER = "state = 'queued', kind = 'learn', number"


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in Job.__dataclass_fields__}
    for name in ("params", "error", "result", "curve"):
        fields[name] = json.loads(fields[name]) if fields[name] is not None else None
    fields["cancel"] = bool(fields["cancel"])
    return Job(**fields)
