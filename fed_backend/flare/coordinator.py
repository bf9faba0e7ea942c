"""The rounds of a central federation as a state machine, without FLARE, sockets or threads.

Calls come in (:meth:`Coordinator.receive`, :meth:`Coordinator.tick`), messages go out through a
:class:`~fed_backend.flare.messages.Transport`, payloads and state go to a
:class:`~fed_backend.flare.checkpoint.CheckpointStore`, the clock is given. The caller makes sure
that calls do not overlap.

::

    rest --begin--> train --quorum--> offer --all answered or late--> rest   (next round, or the end)
                      |                                                        any fault of a site fails
                      +--quorum out of reach--> the run fails, saying who is missing   that site only
                         (at once, or, if sites fell silent, after a while: they may be heard again)

Under a plan with secure sums more exchanges lie between training and offer (:mod:`.secure_round`).

A run survives the process: the checkpoint is written before anything depends on it, and a new
coordinator begins the interrupted round again with the same bytes. Updates that had arrived are
kept, so the aggregate is bit-identical whether or not there was a fault; masked ones are not kept, as
what takes the masks off them may be gone. The steps are in :mod:`.rounds`, what is kept in :mod:`.ledger`,
what sites are shown in :mod:`.board`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography import x509

from fed_backend.flare.board import Board
from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.exchange import Presence, Timing
from fed_backend.flare.ledger import Ledger
from fed_backend.flare.messages import Message, Transport, Verdict
from fed_backend.flare.rounds import Rounds
from fed_backend.flare.run_state import Run, SiteStatus
from fed_backend.flare.verdicts import judge
from fed_backend.plan import Plan

__all__ = ["Coordinator"]

logger = logging.getLogger(__name__)

_GONE = "it is no member any more"
_AWAY_S = 3.0  # after so long without a tick it is the hub that was away


class Coordinator:
    """The hub's side of a federation.

    Args:
        plan: the federation's plan.
        sites: names of all members; see :meth:`admit`.
        transport: carries messages to sites.
        store: where checkpoints go and come from.
        start: payload with the tensors that all sites start from, for methods that compare with them.
        root: certificate of the federation's authority; a plan with secure sums needs it.
        timing: when the hub acts on silence.
        clock: monotonic seconds.

    Attributes:
        draining: set by the caller: begin no further round.
        drained: no exchange is under way and none will be: this process may be replaced without
            repeating work, and answers nobody any more.

    Raises:
        FederationError: the checkpoint is unreadable or belongs to another plan, or a method of the
            plan needs a start and there is none.
        PlanError: a method of the plan is not installed.
    """

    def __init__(
        self,
        plan: Plan,
        sites: Sequence[str],
        transport: Transport,
        store: CheckpointStore,
        *,
        start: bytes | None = None,
        root: x509.Certificate | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._clock = clock
        timing = timing or Timing()
        self._presence = Presence(timing.alive_s)
        self._ledger = Ledger(plan, store, start)
        self._saved = self._ledger.saved
        self._board = Board(transport, clock)
        self._rounds = Rounds(plan, self._ledger, self._board, transport, root=root, timing=timing, clock=clock)
        self._ticked = clock()
        self.admit(sites)
        self.draining = False
        self.drained = False
        if self._run and self._run.active:
            logger.info("resuming run %s in round %d (%s)", self._run.id, self._run.round, self._saved.phase)

    # --- what others ask -------------------------------------------------------------------

    @property
    def _run(self) -> Run | None:
        return self._saved.run

    def living(self) -> list[str]:
        """Members whose courier is heard of."""
        return [site for site in self._presence.living(self._clock()) if site in self._sites]

    def has(self, site: str) -> bool:
        """Whether a site is a member; may be asked at any time."""
        return site in self._sites

    def admit(self, sites: Sequence[str]) -> None:
        """Change the members: who is new takes part from the next round on; who is gone is not heard any more."""
        self._sites = sorted(sites)
        gone = self._saved.keep_only(self._sites)
        exchange = self._rounds.exchange
        asked = set(exchange.bodies) - exchange.failed.keys() if exchange else set()
        for site in sorted(asked - set(self._sites)):
            self._rounds.fail(site, _GONE)
        self._board.changed()
        if gone:
            self._ledger.save()

    def forget(self, site: str, asked: str) -> None:
        """Let rounds go on without what descends from a site's updates; a run at work is stopped.

        Args:
            site: that is no member any more.
            asked: names the request, which is fulfilled once.

        Raises:
            OSError: the disk refuses; asking again goes on where it stopped.
        """
        if self._ledger.has_forgotten(site, asked):
            return
        if self._run and self._run.active:
            self._rounds.stop(f"the updates of {site!r} are taken back")
        self._ledger.forget(site, asked, self._sites)
        logger.info("rounds go on without what descends from %s", site)

    def status(self) -> dict[str, Any] | None:
        """The last run as JSON, or ``None`` before the first one."""
        return self._run.as_json() if self._run else None

    def receive(self, site: str, message: Message) -> dict[str, Any]:
        """Handle a message of ``site`` (the name in its certificate) and return the answer."""
        if self.drained:
            return {"ok": False, "gone": True, "detail": "the hub's job is being renewed"}
        if site not in self._sites:
            return {"ok": False, "detail": f"{site!r} is no member of this federation"}
        if message.topic == "beat":
            return self._beat(site, message.fields)
        if message.topic == "request":
            return self._request(site, message.fields).as_json()
        if message.topic == "result":
            if "holds" in message.fields:  # before its next beat, as the next round may begin at once
                self._presence.hold(site, str(message.fields["holds"]))
            with self._deaf():
                self._rounds.take(site, message)
            return {"ok": True}
        return {"ok": False, "detail": f"unknown topic {message.topic!r}"}

    def tick(self) -> None:
        """Do what time and the last messages demand; call it after a message, and several times a second."""
        self._notice_sleep()
        with self._deaf():
            while self._step():
                pass
        if self._run:
            self._board.broadcast(self._run, self.living)

    def _step(self) -> bool:
        exchange = self._rounds.exchange
        if self.draining and (exchange is None or exchange.short(self._plan.quorum)):
            self.drained = True  # who fell silent may have come back, and be waiting for the job that comes next
        return not self.drained and self._rounds.step(self._sites, self._presence)

    @contextmanager
    def _deaf(self) -> Iterator[None]:
        """Work during which nobody is heard, which is no silence of theirs."""
        began = self._clock()
        try:
            yield
        finally:
            self._ticked = self._clock()
            self._presence.forgive(self._ticked - began)

    def _notice_sleep(self) -> None:
        """A hub that was suspended has heard nobody: that is no silence of the sites, nor their delay."""
        if (away := self._clock() - self._ticked) > _AWAY_S:
            self._presence.forgive(away)
            if self._rounds.exchange:
                self._rounds.exchange.started += away

    # --- requests --------------------------------------------------------------------------

    def _request(self, site: str, fields: Mapping[str, Any]) -> Verdict:
        verdict = judge(self._plan, self._run, site, fields)
        if not verdict.accepted:
            return verdict
        if fields["action"] == "stop":
            self._rounds.stop(f"stopped by {site!r}")
        elif not (self._run and self._run.id == fields["id"]):
            method = str(fields.get("method") or self._plan.method.name)
            self._start(site, str(fields["id"]), method, int(fields.get("rounds") or self._plan.rounds))
        return verdict

    def _start(self, site: str, run_id: str, method: str, rounds: int) -> None:
        statuses = {name: SiteStatus() for name in self._sites}
        self._ledger.start(Run(id=run_id, started_by=site, method=method, rounds=rounds, sites=statuses))
        self._rounds.keep()
        logger.info("run %s of %d rounds of %s, started by %s", run_id, rounds, method, site)

    # --- beats -------------------------------------------------------------------------------

    def _beat(self, site: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        now = self._clock()
        refused = ""
        if fields.get("plan_sha256") != self._plan.sha256:
            refused = "its courier holds another plan"
        new = not self._presence.alive(site, now)
        progress = fields.get("progress", 0.0)
        self._presence.hear(
            site,
            now,
            task=str(fields.get("task", "")),
            stage=str(fields.get("stage", "idle")),
            progress=float(progress) if isinstance(progress, int | float) and math.isfinite(progress) else 0.0,
            refused=refused,
        )
        self._presence.hold(site, str(fields.get("holds", "")))
        if new and self._run:
            self._board.greet(self._run, site)
        self._rounds.heard(site, self._presence, refused)
        return {"ok": not refused, "detail": refused}
