"""Visits that peers have sent: a short queue on disk, let into the site one after the other.

Shared between the gateway's handlers and one worker thread, under one condition: the visits of each
sender with their states, and who is sending right now. No thread holds it while it reads, writes or
asks the site. A transfer becomes a visit only when it is whole; until then it is a file that is
deleted whatever happens. Nothing here survives a restart, and nothing needs to: a sender repeats a
visit that the receiver does not know, and the site answers a repeat as it did the first time.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fed_backend.errors import FedSegError, ReplayError
from fed_backend.gossip.protocol import PeerBusy, VisitState

__all__ = ["Inbox", "Ticket"]

logger = logging.getLogger(__name__)

MOST_WAITING = 3
"""Visits that may wait, be sent, or be at work at once, from all senders together."""
KEPT = 4
"""Visits of one sender whose outcome is remembered."""
_BUSY_S, _SAME_SENDER_S = 5.0, 2.0


@dataclass
class _Visit:
    number: int
    sha256: str
    file: Path
    state: VisitState = field(default_factory=lambda: VisitState(state="waiting"))


@dataclass(frozen=True)
class Ticket:
    """Leave to send one visit; ends with :meth:`Inbox.accept` or :meth:`Inbox.abandon`.

    Attributes:
        sender: the peer, as its certificate names it.
        number: of the visit.
        sha256: what the body must hash to.
        file: where the body is written.
    """

    sender: str
    number: int
    sha256: str
    file: Path


class Inbox:
    """The visits of all peers at one site.

    Args:
        folder: for bodies; emptied now.
        deliver: lets a visit into the site: ``deliver(sender, file)`` gives the site's report, blocks
            for as long as that takes, and raises a :class:`.FedSegError` for a refusal.
        most: see :data:`MOST_WAITING`.
    """

    def __init__(
        self, folder: Path, deliver: Callable[[str, Path], Mapping[str, Any]], most: int = MOST_WAITING
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self._deliver = deliver
        self._most = most
        self._condition = threading.Condition()
        self._visits: dict[str, dict[int, _Visit]] = {}
        self._queue: list[tuple[str, _Visit]] = []
        self._sending: set[str] = set()
        self._working = False
        self._stopped = False

    # --- the gateway -----------------------------------------------------------------------

    def admit(self, sender: str, number: int, sha256: str) -> VisitState | Ticket:
        """Begin a visit.

        Returns:
            The state of this very visit where it is known already, or leave to send it.

        Raises:
            ReplayError: the sender's visit of this number had other bytes, or a later one was here.
            PeerBusy: the queue is full, or this sender's last visit has not ended.
        """
        with self._condition:
            known = self._visits.get(sender, {})
            if (same := known.get(number)) is not None:
                if same.sha256 == sha256:
                    return same.state
                raise ReplayError(
                    f"visit {number} of {sender!r} had other bytes", "give every visit a number of its own"
                )
            if known and number < (last := max(known)):
                raise ReplayError(
                    f"visit {number} of {sender!r} comes after its visit {last}", "number visits upwards, each once"
                )
            if sender in self._sending or any(not visit.state.over for visit in known.values()):
                raise PeerBusy(f"a visit of {sender!r} is under way already", _SAME_SENDER_S)
            if len(self._queue) + len(self._sending) + self._working >= self._most:
                raise PeerBusy("the queue of visits is full", _BUSY_S)
            self._sending.add(sender)
            return Ticket(sender, number, sha256, self._folder / f"{sender}.{number}")

    def accept(self, ticket: Ticket) -> VisitState:
        """The body of a ticket is whole and is what was announced."""
        visit = _Visit(ticket.number, ticket.sha256, ticket.file)
        with self._condition:
            self._sending.discard(ticket.sender)
            known = self._visits.setdefault(ticket.sender, {})
            known[ticket.number] = visit
            for old in sorted(known)[:-KEPT]:
                del known[old]
            self._queue.append((ticket.sender, visit))
            self._condition.notify_all()
            return visit.state

    def abandon(self, ticket: Ticket) -> None:
        """Forget a transfer that did not end well, as if it had never begun."""
        ticket.file.unlink(missing_ok=True)
        with self._condition:
            self._sending.discard(ticket.sender)

    def state(self, sender: str, number: int, wait_s: float = 0.0) -> VisitState | None:
        """What became of a visit, after at most ``wait_s`` seconds of waiting for its end; ``None`` if unknown."""
        deadline = time.monotonic() + wait_s
        with self._condition:
            while (visit := self._visits.get(sender, {}).get(number)) is not None:
                left = deadline - time.monotonic()
                if visit.state.over or left <= 0 or self._stopped:
                    return visit.state
                self._condition.wait(left)
        return None

    # --- the worker ------------------------------------------------------------------------

    def start(self) -> None:
        """Let visits in from now on."""
        threading.Thread(target=self._work, name="inbox", daemon=True).start()

    def stop(self) -> None:
        """Let whoever waits go; a visit at work ends at the site all the same."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._queue or self._stopped)
                if self._stopped:
                    return
                sender, visit = self._queue.pop(0)
                visit.state = VisitState(state="learning")
                self._working = True
            state = self._outcome(sender, visit)
            visit.file.unlink(missing_ok=True)
            with self._condition:
                visit.state = state
                self._working = False
                self._condition.notify_all()

    def _outcome(self, sender: str, visit: _Visit) -> VisitState:
        try:
            report = self._deliver(sender, visit.file)
            logger.info("visit %d of %s: %s", visit.number, sender, report.get("chosen"))
            return VisitState(state="done", report=dict(report))
        except FedSegError as error:
            logger.warning("visit %d of %s is refused: %s", visit.number, sender, error)
            return VisitState(state="refused", detail=error.detail[:1000], hint=error.hint[:400])
        except Exception as error:  # told to the sender instead of ending the thread silently
            logger.exception("visit %d of %s failed", visit.number, sender)
            return VisitState(state="refused", detail=f"the courier failed: {type(error).__name__}")
