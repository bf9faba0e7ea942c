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
what takes the masks off them may be gone.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography import x509

from fed_backend.errors import FederationError, FedSegError
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.exchange import Exchange, Presence, Timing
from fed_backend.flare.lineage import Lineage, Past
from fed_backend.flare.messages import Message, Transport, Verdict
from fed_backend.flare.run_state import REASON_CHARS, Measured, RoundRecord, Run, SiteStatus
from fed_backend.flare.secure_round import SecureRound
from fed_backend.flare.verdicts import judge
from fed_backend.plan import Plan
from fed_backend.tensor_file import Data, size

__all__ = ["Coordinator"]

logger = logging.getLogger(__name__)

_GONE = "it is no member any more"
_NEWS_S, _PROGRESS_S = 0.25, 0.5  # how often a change of state, and progress alone, are broadcast at most
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
        self._transport = transport
        self._store = store
        self._timing = timing or Timing()
        self._clock = clock
        self._start_tensors = start
        self._presence = Presence(self._timing.alive_s)
        self._saved = store.load(plan.sha256)
        self._lineage = Lineage(store.folder / "lineage", plan.sha256)
        for name in plan.methods:
            Aggregator(plan, name, start=start)  # a method that cannot run should not be found out by night
        self._aggregator = self._new_aggregator(self._saved.method or plan.method.name)
        self._root = root
        self._sum: SecureRound | None = None
        self._exchange: Exchange | None = None
        self._measured = Measured()
        self._dirty = self._news = False
        self._broadcast_at = -math.inf
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
        asked = set(self._exchange.bodies) - self._exchange.failed.keys() if self._exchange else set()
        for site in sorted(asked - set(self._sites)):
            self._fail_site(site, _GONE)
        self._changed(save=bool(gone))

    def forget(self, site: str, asked: str) -> None:
        """Let rounds go on without what descends from a site's updates; a run at work is stopped.

        Args:
            site: that is no member any more.
            asked: names the request, which is fulfilled once.

        Raises:
            OSError: the disk refuses; asking again goes on where it stopped.
        """
        if self._lineage.has_forgotten(site, asked):
            return
        if self._run and self._run.active:
            self._stop(f"the updates of {site!r} are taken back")
        self._lineage.take_back(self._saved, self._store, site, self._sites, self._aggregator.name)
        self._store.save(self._saved)
        self._aggregator = self._new_aggregator(self._aggregator.name)
        self._lineage.forget(site, asked)
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
            with self._deaf():
                self._result(site, message)
            return {"ok": True}
        return {"ok": False, "detail": f"unknown topic {message.topic!r}"}

    def tick(self) -> None:
        """Do what time and the last messages demand; call it after a message, and several times a second."""
        self._notice_sleep()
        with self._deaf():
            while self._step():
                pass
        self._broadcast()

    def _step(self) -> bool:
        """One step of a run; whether the next one can follow at once."""
        run, before = self._run, self._exchange
        if self.draining and (self._exchange is None or self._exchange.short(self._plan.quorum)):
            self.drained = True  # who fell silent may have come back, and be waiting for the job that comes next
        if not run or not run.active or self.drained:
            return False
        try:
            if self._exchange is None:
                self._begin()
            if self._exchange is not None:
                self._advance(self._exchange)
        except (FederationError, OSError) as error:
            logger.exception("run %s cannot go on", run.id)
            self._end("failed", f"the hub cannot go on: {_plain(error)}")
        return self._exchange is not before

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
            if self._exchange:
                self._exchange.started += away

    # --- requests --------------------------------------------------------------------------

    def _request(self, site: str, fields: Mapping[str, Any]) -> Verdict:
        verdict = judge(self._plan, self._run, site, fields)
        if not verdict.accepted:
            return verdict
        if fields["action"] == "stop":
            self._stop(f"stopped by {site!r}")
        elif not (self._run and self._run.id == fields["id"]):
            method = str(fields.get("method") or self._plan.method.name)
            self._start(site, str(fields["id"]), method, int(fields.get("rounds") or self._plan.rounds))
        return verdict

    def _start(self, site: str, run_id: str, method: str, rounds: int) -> None:
        statuses = {name: SiteStatus() for name in self._sites}
        self._saved.run = Run(id=run_id, started_by=site, method=method, rounds=rounds, sites=statuses)
        self._saved.phase, self._saved.attempts, self._saved.updates = "rest", 0, {}
        if method != self._aggregator.name:
            self._saved.turn_to(method, self._aggregator.name)
            self._aggregator = self._new_aggregator(method)
        self._changed(save=True)
        logger.info("run %s of %d rounds of %s, started by %s", run_id, rounds, method, site)

    def _new_aggregator(self, method: str) -> Aggregator:
        state = self._store.get(self._saved.state) if self._saved.state else b""
        return Aggregator(self._plan, method, state=state, start=self._start_tensors)

    def _stop(self, why: str) -> None:
        if self._exchange:
            for name in self._exchange.open:
                self._transport.post(name, Message("cancel", {"task": self._exchange.task}))
        self._end("stopped", why)

    # --- beats and results -----------------------------------------------------------------

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
        if new and self._run:
            self._transport.post(site, Message("status", {"round": self._run.as_json()}))
        if self._exchange and not refused and self._exchange.returned(site):
            self._show_return(site)
        self._follow(site)
        return {"ok": not refused, "detail": refused}

    def _follow(self, site: str) -> None:
        """Show in the status what a site says about its training."""
        exchange, run = self._exchange, self._run
        if exchange and run and exchange.topic == "train" and site in exchange.open:
            task, stage, progress = self._presence.doing(site)
            if task == exchange.task:
                self._dirty |= run.sites[site].show(stage, progress)

    def _result(self, site: str, message: Message) -> None:
        exchange, run = self._exchange, self._run
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
            self._fail_site(site, str(fields.get("reason", ""))[:REASON_CHARS] or "the site gave no reason")
        elif exchange.topic != "offer":
            self._take_update(exchange, site, message.body)
        else:
            report = fields.get("report")
            run.sites[site].take_report(report if isinstance(report, Mapping) else {})
            exchange.accept(site)
            self._changed()

    def _take_update(self, exchange: Exchange, site: str, data: Data) -> None:
        run, length = self._run, size(data)
        assert run is not None
        try:
            if self._sum is None:
                self._aggregator.check(data, site, run.id, run.round, exchange.bodies[site])
            else:
                self._sum.take(exchange.topic, site, data)
            if self._sum is None or exchange.topic == "mask":
                self._saved.updates[site] = self._store.put(data)
        except (FedSegError, OSError) as error:
            logger.warning("the update of %s is not taken: %s", site, error)
            self._fail_site(site, _plain(error))
            return
        self._measured.came(site, length)
        exchange.accept(site)
        run.sites[site] = SiteStatus(state="sending", progress=1.0)
        self._changed(save=True)

    def _fail_site(self, site: str, reason: str) -> None:
        assert self._exchange is not None
        self._exchange.fail(site, reason)
        self._show_failure(site, reason)

    def _show_failure(self, site: str, reason: str) -> None:
        run = self._run
        assert run is not None
        status = run.sites[site]
        status.reason = reason
        if status.state != "aggregated":  # an update that was averaged stays so, whatever becomes of the offer
            status.state = "failed"
        self._changed()

    def _show_return(self, site: str) -> None:
        run = self._run
        assert run is not None
        logger.info("%s is heard again", site)
        status = run.sites[site]
        status.reason = ""
        if status.state == "failed":
            status.state = "waiting"
        self._changed()

    # --- rounds ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin the current round, or go on where the process before this one stopped."""
        run = self._run
        assert run is not None
        self._saved.attempts += 1
        if self._saved.attempts > self._timing.attempts:
            self._end("failed", f"round {run.round + 1} was interrupted {self._timing.attempts} times at the hub")
            return
        run.state = "running"
        if self._plan.secure is not None and self._saved.phase == "train":
            self._saved.updates = {}  # masked under keys of the attempt before
        if self._saved.phase == "rest":
            self._saved.updates = {}  # of the round before
        arrived = {site: size(path) for site, path in self._store.view(self._saved.updates).items()}
        self._measured = Measured(self._clock(), bytes_up=arrived)
        if self._saved.phase == "offer":
            self._offer()
            return
        if self._saved.phase == "rest":
            ready = [site for site in self._sites if run.round == 0 or self._saved.last_for(site)]
            self._saved.globals = self._beginnings(ready)
            run.sites = {site: SiteStatus.beginning(site in ready) for site in self._sites}
        self._saved.phase = "train"
        bodies = dict(self._store.view(self._saved.globals))
        self._sum = self._new_sum(run, bodies)
        self._exchange = self._new_exchange("train", bodies)
        for site in self._saved.updates:
            self._exchange.accept(site)
        self._changed(save=True)

    def _beginnings(self, sites: Sequence[str]) -> dict[str, str]:
        """Site -> digest of what its training starts from; made once for all that go on from the same."""
        run = self._run
        assert run is not None
        made: dict[str, str] = {}
        for last in {self._saved.last_for(site) for site in sites}:
            path = self._store.path(last) if last else None
            made[last] = self._store.put(self._aggregator.begin(run.id, run.round, path, self._store.scratch))
        return {site: made[self._saved.last_for(site)] for site in sites}

    def _new_exchange(self, topic: str, bodies: Mapping[str, Data]) -> Exchange:
        run = self._run
        assert run is not None
        attempt = f".{self._sum.attempt}" if self._sum else ""
        task = f"{run.id}/{run.round}{attempt}/{topic}"
        return Exchange(topic, task, bodies, self._clock(), self._plan.round_deadline_s, self._timing)

    def _new_sum(self, run: Run, begun: Mapping[str, Data]) -> SecureRound | None:
        if self._plan.secure is None:
            return None
        if self._root is None:
            raise FederationError("secure sums need the authority's certificate", "start the hub from its kit")
        return SecureRound(self._plan, self._aggregator, self._root, run.id, run.round, self._saved.attempts, begun)

    def _advance(self, exchange: Exchange) -> None:
        now = self._clock()
        needed = self._sum.needed(exchange.topic) if self._sum else self._plan.quorum
        for site in exchange.due(now, self._presence):
            fields: dict[str, Any] = {"task": exchange.task, "deadline_s": exchange.remaining_s(now)}
            if self._sum:
                fields["attempt"] = self._sum.attempt
            self._measured.sent(site, size(exchange.bodies[site]))
            self._transport.post(site, Message(exchange.topic, fields, exchange.bodies[site]))
        for site, reason in exchange.expire(now, self._presence).items():
            logger.warning("%s: %s of %s", site, reason, exchange.task)
            self._show_failure(site, reason)
        if exchange.topic == "offer":
            if exchange.complete:
                self._finish_round()
        elif exchange.hopeless(now, needed):
            assert self._run is not None
            self._end("failed", exchange.shortage(self._run.round, needed))
        elif self._sum and (exchange.complete or self._sum.enough(exchange.topic, exchange.answered)):
            if not exchange.short(needed):
                self._next_of_sum(self._sum, exchange)
        elif exchange.complete and not exchange.short(needed):
            self._aggregate()

    def _next_of_sum(self, secure: SecureRound, exchange: Exchange) -> None:
        """Go on to the next exchange of a secure sum, or to its aggregate."""
        if exchange.topic == "mask":
            self._saved.updates = {site: self._saved.updates[site] for site in sorted(exchange.answered)}
        try:
            following = secure.after(exchange.topic, exchange.answered, self._store.view(self._saved.updates))
        except FedSegError as error:
            self._end("failed", f"the secure sum cannot go on: {error}")
            return
        if following is None:
            self._aggregate()
        else:
            self._exchange = self._new_exchange(*following)
            self._changed()

    def _aggregate(self) -> None:
        run = self._run
        assert run is not None
        updates, begun = self._store.view(self._saved.updates), self._store.view(self._saved.globals)
        try:
            if self._sum:
                combined = self._sum.combined(updates, self._store.scratch)
            else:
                combined = self._aggregator.combine(run.id, run.round, updates, begun, self._store.scratch)
        except (FedSegError, ValueError) as error:
            self._end("failed", f"the updates of round {run.round + 1} cannot be combined: {error}")
            return
        kept = {data: self._store.put(data) for data in dict.fromkeys(combined.offers.values())}
        if combined.for_all is not None:
            self._saved.adapters = dict.fromkeys(self._sites, kept[combined.for_all])
        self._saved.adapters |= {site: kept[data] for site, data in combined.offers.items()}
        memory = self._aggregator.state()  # in the same record as the aggregate: never one without the other
        self._saved.state = self._store.put(memory) if memory else ""
        descent = (self._aggregator.name, run.id, run.round, combined.offers, self._saved.adapters, self._saved.state)
        self._lineage.add(Past.of(*descent), self._store.path)
        for site in combined.offers:
            note = combined.notes.get(site, "")[:REASON_CHARS]
            run.sites[site] = SiteStatus(state="aggregated", progress=1.0, note=note)
        self._saved.phase, self._sum = "offer", None
        self._offer()

    def _offer(self) -> None:
        offers = {site: self._saved.adapters[site] for site in self._saved.updates}
        self._exchange = self._new_exchange("offer", dict(self._store.view(offers)))
        self._changed(save=True)

    def _finish_round(self) -> None:
        run = self._run
        assert run is not None
        record = RoundRecord.of(run, self._measured, self._clock())
        run.history.append(record)
        logger.info("run %s: round %d took %.2f s", run.id, run.round, record.seconds)
        self._exchange = None
        self._saved.phase, self._saved.attempts = "rest", 0
        if run.round + 1 < run.rounds:
            run.round += 1
            self._changed(save=True)
        else:
            self._end("finished", "")

    def _end(self, state: str, reason: str) -> None:
        run = self._run
        assert run is not None
        self._saved.run = run.model_copy(update={"state": state, "reason": reason})
        self._exchange = self._sum = None
        self._saved.phase, self._saved.attempts = "rest", 0
        self._saved.globals, self._saved.updates = {}, {}
        logger.info("run %s %s%s", run.id, state, f": {reason}" if reason else "")
        self._changed(save=True)

    # --- status ----------------------------------------------------------------------------

    def _changed(self, save: bool = False) -> None:
        self._dirty = self._news = True
        if save:
            self._save()

    def _save(self) -> None:
        try:
            self._store.save(self._saved)
        except OSError as error:  # a full disk must not end the process: what was saved before is whole
            logger.error("the checkpoint cannot be written: %s", _plain(error))

    def _broadcast(self) -> None:
        now = self._clock()
        if not self._dirty or not self._run:
            return
        if self._run.active and now - self._broadcast_at < (_NEWS_S if self._news else _PROGRESS_S):
            return
        self._dirty, self._news, self._broadcast_at = False, False, now
        message = Message("status", {"round": self._run.as_json()})
        for site in self.living():
            self._transport.post(site, message)


def _plain(error: Exception) -> str:
    """An error for a reader at another hospital: no paths."""
    return f"its disk: {error.strerror}" if isinstance(error, OSError) else str(error)
