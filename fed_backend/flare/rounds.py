"""The steps of a run: what a round asks of whom, and what becomes of the answers.

Calls must not overlap. :class:`~fed_backend.flare.coordinator.Coordinator` says when and with whom.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography import x509

from fed_backend.errors import FederationError, FedSegError, plain
from fed_backend.flare.board import Board
from fed_backend.flare.exchange import Exchange, Presence, Timing
from fed_backend.flare.ledger import Ledger
from fed_backend.flare.messages import Message, Transport
from fed_backend.flare.run_state import Measured, RoundRecord, Run, shortened
from fed_backend.flare.secure_round import SecureRound
from fed_backend.plan import Plan
from fed_backend.tensor_file import Data, front, size

__all__ = ["Rounds"]

logger = logging.getLogger(__name__)

_END_CHARS = 1500
"""Of the reason for which a run ended, which may name several sites'."""


class Rounds:
    """Begins rounds, and takes them on as answers come and time goes by.

    Args:
        plan: the federation's plan.
        ledger: what is kept.
        board: what sites are shown.
        transport: carries messages to sites.
        root: certificate of the federation's authority; a plan with secure sums needs it.
        timing: when the hub acts on silence.
        clock: monotonic seconds.

    Attributes:
        exchange: what is asked of the sites now; ``None`` between rounds.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        board: Board,
        transport: Transport,
        *,
        root: x509.Certificate | None,
        timing: Timing,
        clock: Callable[[], float],
    ) -> None:
        self._plan, self._ledger, self._board, self._transport = plan, ledger, board, transport
        self._root, self._timing, self._clock = root, timing, clock
        self.exchange: Exchange | None = None
        self._sum: SecureRound | None = None
        self._measured = Measured()

    @property
    def run(self) -> Run | None:
        """The last run, active or ended."""
        return self._ledger.saved.run

    def step(self, members: Sequence[str], presence: Presence) -> bool:
        """One step of an active run; whether the next one can follow at once."""
        run, before = self.run, self.exchange
        if run is None or not run.active:
            return False
        try:
            if self.exchange is None:
                self._begin(run, members)
            if self.exchange is not None:
                self._advance(run, self.exchange, members, presence)
        except (FederationError, OSError) as error:
            logger.exception("run %s cannot go on", run.id)
            self.end("failed", f"the hub cannot go on: {plain(error)}")
        return self.exchange is not before

    def stop(self, why: str) -> None:
        """End the run; who is at work is told."""
        if self.exchange:
            for name in self.exchange.open:
                self._transport.post(name, Message("cancel", {"task": self.exchange.task}))
        self.end("stopped", why)

    def fail(self, site: str, reason: str) -> None:
        """A site is out of the round."""
        assert self.exchange is not None
        assert self.run is not None
        self.exchange.fail(site, shortened(reason))
        self._board.failed(self.run, site, reason)

    def heard(self, site: str, presence: Presence, refused: str) -> None:
        """A site's courier was heard: show what it is doing, or that it is back."""
        exchange, run = self.exchange, self.run
        if exchange is None or run is None:
            return
        if not refused and exchange.returned(site):
            self._board.returned(run, site)
        if exchange.topic == "train" and site in exchange.open:
            task, stage, progress = presence.doing(site)
            if task == exchange.task:
                self._board.trains(run, site, stage, progress)

    def take(self, site: str, message: Message) -> None:
        """Take an answer to what the round asks now; a late one is dropped."""
        exchange, run = self.exchange, self.run
        fields = message.fields
        if not exchange or not run or fields.get("task") != exchange.task or site not in exchange.bodies:
            logger.info("dropped a late answer of %s to %s", site, fields.get("task"))
            return
        if site in exchange.answered:
            return
        seconds = fields.get("seconds")
        if exchange.topic == "train" and isinstance(seconds, int | float) and math.isfinite(seconds):
            self._measured.seconds[site] = float(seconds)
        if not fields.get("ok"):
            self.fail(site, str(fields.get("reason", "")) or "the site gave no reason")
        elif exchange.topic != "offer":
            self._take_update(run, exchange, site, message)
        else:
            self._board.judged(run, site, fields.get("report"))
            exchange.accept(site)

    def _take_update(self, run: Run, exchange: Exchange, site: str, message: Message) -> None:
        data, length = message.body, size(message.body)
        try:
            if self._sum is None:
                begun = self._ledger.saved.globals[site]
                self._ledger.aggregator.check(data, site, run.id, run.round, exchange.bodies[site], begun)
            else:
                self._sum.take(exchange.topic, site, data)
            if self._sum is None or exchange.topic == "mask":
                self._ledger.take_update(site, data, message.sha256)
        except (FedSegError, OSError) as error:
            logger.warning("the update of %s is not taken: %s", site, shortened(str(error)))
            self.fail(site, plain(error))
            return
        self._measured.came(site, length)
        exchange.accept(site)
        self._board.sent(run, site)
        self._ledger.save()

    def _begin(self, run: Run, members: Sequence[str]) -> None:
        """Begin the current round, or go on where the process before this one stopped."""
        self._ledger.saved.attempts += 1
        if self._ledger.saved.attempts > self._timing.attempts:
            self.end("failed", f"round {run.round + 1} was interrupted {self._timing.attempts} times at the hub")
            return
        run.state = "running"
        if self._plan.secure is not None and self._ledger.saved.phase == "train":
            self._ledger.saved.updates = {}  # masked under keys of the attempt before
        if self._ledger.saved.phase == "rest":
            self._ledger.saved.updates = {}  # of the round before
        arrived = {site: size(path) for site, path in self._ledger.updates.items()}
        self._measured = Measured(self._clock(), bytes_up=arrived)
        if self._ledger.saved.phase == "offer":
            self._offer(run)
            return
        if self._ledger.saved.phase == "rest":
            self._board.begins(run, members, self._ledger.begin_training(run, members))
        self._ledger.saved.phase = "train"
        bodies = dict(self._ledger.globals)
        self._sum = self._new_sum(run, bodies)
        self.exchange = self._new_exchange(run, "train", bodies)
        for site in self._ledger.saved.updates:
            self.exchange.accept(site)
        self.keep()

    def _new_exchange(self, run: Run, topic: str, bodies: Mapping[str, Data]) -> Exchange:
        attempt = f".{self._sum.attempt}" if self._sum else ""
        task = f"{run.id}/{run.round}{attempt}/{topic}"
        return Exchange(topic, task, bodies, self._clock(), self._plan.round_deadline_s, self._timing)

    def _new_sum(self, run: Run, begun: Mapping[str, Data]) -> SecureRound | None:
        if self._plan.secure is None:
            return None
        if self._root is None:
            raise FederationError("secure sums need the authority's certificate", "start the hub from its kit")
        return SecureRound(
            self._plan, self._ledger.aggregator, self._root, run.id, run.round, self._ledger.saved.attempts, begun
        )

    def _advance(self, run: Run, exchange: Exchange, members: Sequence[str], presence: Presence) -> None:
        now = self._clock()
        needed = self._sum.needed(exchange.topic) if self._sum else self._plan.quorum
        for site in exchange.due(now, presence):
            message = self._asking(exchange, site, exchange.remaining_s(now), presence.holds(site))
            self._measured.sent(site, size(message.body))
            self._transport.post(site, message)
        for site, reason in exchange.expire(now, presence).items():
            logger.warning("%s: %s of %s", site, reason, exchange.task)
            self._board.failed(run, site, reason)
        if exchange.topic == "offer":
            if exchange.complete:
                self._finish_round(run)
        elif exchange.hopeless(now, needed):
            self.end("failed", exchange.shortage(run.round, needed))
        elif self._sum and (exchange.complete or self._sum.enough(exchange.topic, exchange.answered)):
            if not exchange.short(needed):
                self._next_of_sum(run, self._sum, exchange, members)
        elif exchange.complete and not exchange.short(needed):
            self._aggregate(run, members)

    def _asking(self, exchange: Exchange, site: str, deadline_s: float, holds: str) -> Message:
        """What a site is sent: of a start whose tensors it holds already, only what is before them."""
        fields: dict[str, Any] = {"task": exchange.task, "deadline_s": deadline_s}
        if self._sum:
            fields["attempt"] = self._sum.attempt
        body, sha256 = exchange.bodies[site], self._ledger.sha256_of(exchange.topic, site)
        if exchange.topic == "train" and self._ledger.holds_start(site, holds):
            fields |= {"rest_of": holds, "sha256": sha256}
            return Message(exchange.topic, fields, front(body))
        return Message(exchange.topic, fields, body, sha256)

    def _next_of_sum(self, run: Run, secure: SecureRound, exchange: Exchange, members: Sequence[str]) -> None:
        """Go on to the next exchange of a secure sum, or to its aggregate."""
        if exchange.topic == "mask":
            self._ledger.saved.updates = {site: self._ledger.saved.updates[site] for site in sorted(exchange.answered)}
        try:
            following = secure.after(exchange.topic, exchange.answered, self._ledger.updates)
        except FedSegError as error:
            self.end("failed", f"the secure sum cannot go on: {error}")
            return
        if following is None:
            self._aggregate(run, members)
        else:
            self.exchange = self._new_exchange(run, *following)
            self._board.changed()

    def _aggregate(self, run: Run, members: Sequence[str]) -> None:
        updates, folder = self._ledger.updates, self._ledger.store.scratch
        try:
            if self._sum:
                combined = self._sum.combined(updates, folder)
            else:
                begun = self._ledger.globals
                combined = self._ledger.aggregator.combine(run.id, run.round, updates, begun, folder)
        except (FedSegError, ValueError) as error:
            self.end("failed", f"the updates of round {run.round + 1} cannot be combined: {error}")
            return
        self._ledger.keep(combined, run, members)
        self._board.aggregated(run, combined.notes, combined.offers)
        self._sum = None
        self._offer(run)

    def _offer(self, run: Run) -> None:
        self.exchange = self._new_exchange(run, "offer", dict(self._ledger.offers))
        self.keep()

    def _finish_round(self, run: Run) -> None:
        record = RoundRecord.of(run, self._measured, self._clock())
        run.history.append(record)
        logger.info("run %s: round %d took %.2f s", run.id, run.round, record.seconds)
        self.exchange = None
        self._ledger.rest()
        if run.round + 1 < run.rounds:
            run.round += 1
            self.keep()
        else:
            self.end("finished", "")

    def end(self, state: str, reason: str) -> None:
        """The run is over; a reason says why, if it is no success."""
        run = self.run
        assert run is not None
        self._ledger.end(state, shortened(reason, _END_CHARS))
        self.exchange = self._sum = None
        logger.info("run %s %s%s", run.id, state, f": {reason}" if reason else "")
        self.keep()

    def keep(self) -> None:
        """After a step: what it changed is on disk, and will be shown."""
        self._board.changed()
        self._ledger.save()
