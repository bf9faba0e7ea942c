"""When a site learns by itself: after so many corrections, when nobody works, or at night.

Pure: facts and the time come in, a reason or nothing goes out.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Facts", "Policy", "due"]

RETRY_S = 3600.0
"""After learning that failed or was cancelled, nothing is tried again by itself for this long."""


class Policy(BaseModel):
    """What a site learns upon; everything off means by hand only.

    Attributes:
        every: learn once so many training corrections are new; 0 is off.
        idle_minutes: learn once something is new and nobody has prompted or submitted for so long; 0 is off.
        nightly: learn at this time of day (``HH:MM``, the server's clock) if something is new.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    every: int = Field(default=0, ge=0, le=1000)
    idle_minutes: float = Field(default=0, ge=0, le=10_000)
    nightly: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$")


class Facts(BaseModel):
    """What the decision depends on; times are aware.

    Attributes:
        new: training corrections that no finished learning has seen.
        working: whether learning waits or runs.
        active_at: when somebody last prompted or submitted, as the clock was then.
        learned_at: when learning last began.
        failed_at: when the last learning failed or was cancelled, if it did not succeed.
    """

    model_config = ConfigDict(frozen=True)

    new: int
    working: bool
    active_at: datetime | None = None
    learned_at: datetime | None = None
    failed_at: datetime | None = None


def due(policy: Policy, facts: Facts, now: datetime) -> str | None:
    """Why to learn now, in a few words; ``None`` where there is no reason.

    A time that lies in the future, because the clock was set back, holds nothing up.

    Args:
        policy: the site's.
        facts: of one model.
        now: aware, in the server's time zone.
    """
    if facts.new == 0 or facts.working:
        return None
    if facts.failed_at is not None and timedelta(0) <= now - facts.failed_at < timedelta(seconds=RETRY_S):
        return None
    corrections = "1 new correction" if facts.new == 1 else f"{facts.new} new corrections"
    if policy.every and facts.new >= policy.every:
        return corrections
    idle = timedelta(minutes=policy.idle_minutes)
    if policy.idle_minutes and facts.active_at is not None and not timedelta(0) <= now - facts.active_at < idle:
        return f"{corrections}, and nobody worked for {policy.idle_minutes:g} minutes"
    if policy.nightly is not None and _night_has_come(policy.nightly, facts.learned_at, facts.active_at, now):
        return f"{corrections}, at {policy.nightly}"
    return None


def _night_has_come(nightly: str, learned_at: datetime | None, active_at: datetime | None, now: datetime) -> bool:
    """Whether the last ``nightly`` moment lies after both the last learning and the last work.

    Work after that moment waits for the next one: corrections of the morning are learned at night.
    """
    moment = datetime.combine(now.date(), time.fromisoformat(nightly), tzinfo=now.tzinfo)
    if moment > now:
        moment -= timedelta(days=1)
    before = [at for at in (learned_at, active_at) if at is not None and at <= now]
    return all(at < moment for at in before)
