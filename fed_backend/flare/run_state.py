"""The state of a run of rounds, in the JSON that sites show (``GET /federation/rounds/{id}``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = ["Measured", "RoundRecord", "Run", "SiteRecord", "SiteStatus", "shortened"]

_REASON_CHARS = 500


def shortened(reason: str, most: int = _REASON_CHARS) -> str:
    """A reason that comes from another hospital, or quotes what came from there: sites store no endless one."""
    return reason if len(reason) <= most else f"{reason[: most - 1]}…"


SiteState = Literal["waiting", "training", "sending", "aggregated", "failed"]
RunState = Literal["requested", "running", "finished", "failed", "stopped"]


class SiteStatus(BaseModel):
    """Where one site stands in the current round.

    Attributes:
        state: waiting (not begun), training, sending (trained; its update is on the way or waits for the
            others), aggregated (its update is part of the aggregate), failed.
        progress: of its training, 0..1.
        reason: why it failed, or why its gate decided as it did.
        dice: mean Dice of the aggregate on the site's validation cases, as its gate measured it.
        promoted: whether its gate promoted the aggregate; ``None`` until it answered.
        note: what robust aggregation did with its update, and why; empty where it counted in full.
    """

    state: SiteState = "waiting"
    progress: float = Field(default=0.0, ge=0, le=1)
    reason: str = ""
    dice: float | None = None
    promoted: bool | None = None
    note: str = ""

    @classmethod
    def beginning(cls, ready: bool) -> SiteStatus:
        """Of a member as a round begins; ``ready`` unless it is new to a method that gives each its own model."""
        return cls() if ready else cls(state="failed", reason="it is new and takes part from the next run on")

    def show(self, stage: str, progress: float) -> bool:
        """Note what its courier says that it is doing; returns whether that is news."""
        before = (self.state, self.progress)
        if stage in {"training", "sending"}:
            self.state, self.progress = ("training" if stage == "training" else "sending"), progress
        return (self.state, self.progress) != before

    def take_report(self, report: Mapping[str, Any]) -> None:
        """Note what the site's gate answered to an offer; what does not fit is left out."""
        promoted, dice = report.get("promoted"), report.get("dice_challenger")
        self.promoted = promoted if isinstance(promoted, bool) else None
        self.dice = float(dice) if isinstance(dice, int | float) and math.isfinite(dice) else None
        self.reason = shortened(str(report.get("reason") or ""))


class SiteRecord(BaseModel):
    """What one site did in a finished round; bytes as carried, seconds of its training."""

    state: SiteState
    reason: str = ""
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float | None = None
    promoted: bool | None = None
    note: str = ""


@dataclass
class Measured:
    """What is measured while a round runs.

    Attributes:
        began: when it began, on the hub's clock.
        bytes_up: site -> bytes of its update, and of what else a secure sum takes.
        bytes_down: site -> bytes sent to it, repeats included.
        seconds: site -> seconds of its training.
    """

    began: float = 0.0
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def came(self, site: str, count: int) -> None:
        """Count a payload that came from a site."""
        self.bytes_up[site] = self.bytes_up.get(site, 0) + count

    def sent(self, site: str, count: int) -> None:
        """Count a payload that goes to a site."""
        self.bytes_down[site] = self.bytes_down.get(site, 0) + count


class RoundRecord(BaseModel):
    """A finished round: wall seconds, payload bytes both ways, Dice of the aggregate per site."""

    round: int
    seconds: float
    bytes_up: int
    bytes_down: int
    dice: dict[str, float] = Field(default_factory=dict)
    sites: dict[str, SiteRecord] = Field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, measured: Measured, now: float) -> RoundRecord:
        """The record of the round that ``run`` is in, with the final status of each site."""
        records = {
            site: SiteRecord(
                state=status.state,
                reason=status.reason,
                bytes_up=measured.bytes_up.get(site, 0),
                bytes_down=measured.bytes_down.get(site, 0),
                seconds=measured.seconds.get(site),
                promoted=status.promoted,
                note=status.note,
            )
            for site, status in run.sites.items()
        }
        return cls(
            round=run.round,
            seconds=round(now - measured.began, 3),
            bytes_up=sum(record.bytes_up for record in records.values()),
            bytes_down=sum(record.bytes_down for record in records.values()),
            dice={site: status.dice for site, status in run.sites.items() if status.dice is not None},
            sites=records,
        )


class Run(BaseModel):
    """A requested run of rounds.

    Attributes:
        id: identifier given by the site that asked.
        state: requested, running, finished, failed (``reason`` says why) or stopped.
        started_by: site that asked, as its certificate names it.
        method: name of the federated method.
        rounds: rounds asked for.
        round: the current round, from 0.
        reason: why it failed or was stopped.
        sites: where each site stands.
        history: finished rounds, oldest first.
    """

    id: str
    state: RunState = "requested"
    started_by: str
    method: str
    rounds: int
    round: int = 0
    reason: str = ""
    sites: dict[str, SiteStatus] = Field(default_factory=dict)
    history: list[RoundRecord] = Field(default_factory=list)

    @property
    def active(self) -> bool:
        return self.state in {"requested", "running"}

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
