"""One exchange of a round: something is asked of several sites, and each answers or fails.

Pure: the time comes in with every call. A message to a site may get lost and a site may vanish, so
an exchange repeats what a site does not mention in its beats and gives up on a site that is
absent, silent, or late. One that was given up on for its silence is asked again when it is heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fed_backend.flare.run_state import shortened
from fed_backend.tensor_file import Data

__all__ = ["Exchange", "Presence", "Timing"]


_TOLD, _TOLD_CHARS = 5, 200
"""Failed sites whose reasons are given when a round cannot go on, the others are counted; and how much of each."""


@dataclass(frozen=True)
class Timing:
    """Seconds after which the hub acts; FLARE's own defaults wait for minutes.

    Attributes:
        alive_s: a site without a beat for this long counts as gone.
        join_s: how long a round waits for a member that is not connected.
        repeat_s: after this long an unacknowledged request is sent again.
        patience_s: how long a round without a quorum waits for sites that fell silent, as all of them do when it
            is the hub's own line that broke.
        attempts: how often a round is begun again after a fault of the hub before its run fails.
    """

    alive_s: float = 12.0
    join_s: float = 15.0
    repeat_s: float = 5.0
    patience_s: float = 60.0
    attempts: int = 3


@dataclass
class _Beat:
    at: float
    task: str
    stage: str
    progress: float
    refused: str


class Presence:
    """When each member was heard of last, and what it said it was doing."""

    def __init__(self, alive_s: float) -> None:
        self._alive_s = alive_s
        self._beats: dict[str, _Beat] = {}
        self._holds: dict[str, str] = {}

    def hold(self, site: str, sha256: str) -> None:
        """Note which aggregate a site says it holds."""
        self._holds[site] = sha256

    def holds(self, site: str) -> str:
        """SHA-256 of the aggregate that a site holds, or an empty text."""
        return self._holds.get(site, "")

    def hear(self, site: str, now: float, *, task: str, stage: str, progress: float, refused: str = "") -> None:
        """Note a beat; ``refused`` says why the site cannot take part."""
        self._beats[site] = _Beat(now, task, stage, min(max(progress, 0.0), 1.0), refused)

    def forgive(self, seconds: float) -> None:
        """Do not count the last ``seconds`` as silence: this end did not listen."""
        for beat in self._beats.values():
            beat.at += seconds

    def alive(self, site: str, now: float) -> bool:
        beat = self._beats.get(site)
        return beat is not None and now - beat.at < self._alive_s

    def living(self, now: float) -> list[str]:
        return sorted(site for site in self._beats if self.alive(site, now))

    def seen(self, site: str) -> float | None:
        """When the last beat came, or ``None``."""
        beat = self._beats.get(site)
        return beat.at if beat else None

    def refusal(self, site: str) -> str:
        beat = self._beats.get(site)
        return beat.refused if beat else ""

    def doing(self, site: str) -> tuple[str, str, float]:
        """(task, stage, progress) of the last beat."""
        beat = self._beats.get(site)
        return (beat.task, beat.stage, beat.progress) if beat else ("", "idle", 0.0)


@dataclass
class Exchange:
    """What was asked of whom, and what became of it.

    Attributes:
        topic: ``train`` or ``offer``.
        task: identifier of this exchange; equal after a restart of the hub, so that a site that
            did the work already only repeats its answer.
        bodies: site -> payload for it.
        started: time at which it began.
        deadline_s: seconds after which sites that did not answer have failed.
        answered: sites that answered.
        failed: site -> reason.
    """

    topic: str
    task: str
    bodies: Mapping[str, Data]
    started: float
    deadline_s: float
    timing: Timing
    answered: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    _posted: dict[str, float] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)
    _short_since: float | None = None

    @property
    def open(self) -> list[str]:
        """Sites whose answer is awaited, sorted."""
        return sorted(self.bodies.keys() - self.answered - self.failed.keys())

    @property
    def complete(self) -> bool:
        return not self.open

    def remaining_s(self, now: float) -> float:
        return max(0.0, self.started + self.deadline_s - now)

    def due(self, now: float, presence: Presence) -> list[str]:
        """Sites to which the request goes out now; they count as asked from here on."""
        due = [site for site in self.open if presence.alive(site, now) and self._wants(site, now, presence)]
        self._posted.update(dict.fromkeys(due, now))
        return due

    def _wants(self, site: str, now: float, presence: Presence) -> bool:
        if presence.refusal(site):
            return False
        posted = self._posted.get(site)
        if posted is None:
            return True
        return presence.doing(site)[0] != self.task and now - posted >= self.timing.repeat_s

    def expire(self, now: float, presence: Presence) -> dict[str, str]:
        """Give up on sites that are absent, silent, refused or late; returns the new failures."""
        new = {site: reason for site in self.open if (reason := self._lost(site, now, presence))}
        self.failed.update(new)
        heard = {site for site in new if presence.alive(site, now)}
        self._silent |= new.keys() - heard
        return new

    def returned(self, site: str) -> bool:
        """Ask a site again that was given up on for its silence; whether it was."""
        if site not in self._silent:
            return False
        self._silent.discard(site)
        self._posted.pop(site, None)
        del self.failed[site]
        return True

    def short(self, quorum: int) -> bool:
        """Whether fewer sites than ``quorum`` answered or still may."""
        return self.reachable(self.bodies) < quorum

    def hopeless(self, now: float, quorum: int) -> bool:
        """Whether the quorum cannot be reached any more, or has been out of reach for too long."""
        if not self.short(quorum):
            self._short_since = None
            return False
        if self._short_since is None:
            self._short_since = now
        may_return = self.reachable(self.bodies) + len(self._silent) >= quorum and now - self.started < self.deadline_s
        return not may_return or now - self._short_since >= self.timing.patience_s

    def _lost(self, site: str, now: float, presence: Presence) -> str:
        if refusal := presence.refusal(site):
            return refusal
        if now - self.started >= self.deadline_s:
            return f"no answer within the round's deadline of {self.deadline_s:g} s"
        if presence.alive(site, now):
            return ""
        if presence.seen(site) is None or site not in self._posted:
            return "its courier is not connected" if now - self.started >= self.timing.join_s else ""
        return f"its courier gave no sign of life for {self.timing.alive_s:g} s"

    def accept(self, site: str) -> None:
        """Note an answer; one that comes before the exchange ends revives a site given up on."""
        self.failed.pop(site, None)
        self._silent.discard(site)
        self.answered.add(site)

    def fail(self, site: str, reason: str) -> None:
        self.answered.discard(site)
        self._silent.discard(site)
        self.failed[site] = reason

    def shortage(self, round_: int, quorum: int) -> str:
        """Why a round cannot get as many updates as it needs."""
        failed = sorted(self.failed.items())
        reasons = "; ".join(f"{site}: {shortened(reason, _TOLD_CHARS)}" for site, reason in failed[:_TOLD])
        more = f"; and {len(failed) - _TOLD} more" if len(failed) > _TOLD else ""
        can = self.reachable(self.bodies)
        return f"round {round_ + 1} needs {quorum} updates and can get {can} at most ({reasons}{more})"

    def reachable(self, sites: Iterable[str]) -> int:
        """How many of ``sites`` answered or still may."""
        return sum(site not in self.failed for site in sites)
