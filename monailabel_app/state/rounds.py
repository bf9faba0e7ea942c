"""Runs of federated rounds as the hub last reported them to this site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.errors import NotFound
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now

__all__ = ["RoundReport", "RoundStore", "RoundSummary", "SiteProgress"]

RunState = Literal["requested", "running", "finished", "failed", "stopped"]
_FINAL = ("finished", "failed", "stopped")


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class SiteProgress(_Report):
    """Where one site is in the current round, or how it ended."""

    state: str = Field(default="waiting", max_length=32)
    progress: float | None = None
    reason: str = Field(default="", max_length=2000)
    dice: float | None = None
    promoted: bool | None = None
    note: str = Field(default="", max_length=2000)
    bytes_up: int | None = None
    bytes_down: int | None = None
    seconds: float | None = None


class RoundSummary(_Report):
    """One finished round."""

    round: int = Field(ge=0)
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    dice: dict[str, float | None] = Field(default_factory=dict)
    sites: dict[str, SiteProgress] = Field(default_factory=dict)


class RoundReport(_Report):
    """A run of rounds: what ``GET /federation/rounds/{id}`` answers.

    Attributes:
        id: identifier of the run, made by the site that asked for it.
        state: ``requested``, ``running``, ``finished``, ``failed`` or ``stopped``.
        started_by: the site that asked.
        method: name of the federated method.
        rounds: how many rounds were asked for.
        round: number of the current round, from 0.
        reason: why it failed or was stopped.
        sites: name -> where the site is.
        history: the rounds that ended.
    """

    id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    state: RunState
    started_by: str = Field(default="", max_length=64)
    method: str = Field(default="", max_length=32)
    rounds: int = Field(default=0, ge=0)
    round: int = Field(default=0, ge=0)
    reason: str = Field(default="", max_length=2000)
    sites: dict[str, SiteProgress] = Field(default_factory=dict)
    history: list[RoundSummary] = Field(default_factory=list)


class RoundStore:
    """Reports of runs, newest report per run.

    Args:
        database: the site's records.
        clock: gives the time as ISO 8601.
    """

    def __init__(self, database: Database, clock: Callable[[], str] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def put(self, report: RoundReport) -> None:
        """Store a report; a run that ended is not reopened by a report that comes late."""
        with self._database.transaction():
            known = self._database.row("SELECT state FROM rounds WHERE id = ?", (report.id,))
            if known is not None and known["state"] in _FINAL and report.state not in _FINAL:
                return
            now = self._clock()
            self._database.execute(
                "INSERT INTO rounds (id, state, body, created_at, updated_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body, "
                "updated_at = excluded.updated_at",
                (report.id, report.state, report.model_dump_json(), now, now),
            )

    def get(self, identifier: str) -> RoundReport:
        """The newest report of a run.

        Raises:
            NotFound: this site knows no such run.
        """
        row = self._database.row("SELECT body FROM rounds WHERE id = ?", (identifier,))
        if row is None:
            raise NotFound(f"there is no federated run {identifier[:80]!r}", "GET /federation lists the runs")
        return RoundReport.model_validate_json(row["body"])

    def list(self, limit: int = 50) -> list[RoundReport]:
        """Runs, newest first."""
        rows = self._database.rows("SELECT body FROM rounds ORDER BY number DESC LIMIT ?", (limit,))
        return [RoundReport.model_validate_json(row["body"]) for row in rows]
