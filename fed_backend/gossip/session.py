"""What a courier does for a plan of peers, beside its gateway: loops between the site server and the peers.

- *requests* long-polls the site server; a request to start becomes a run with a thread of its own;
- *ticks* begins an exchange now and then, if the plan has an interval;
- *greetings* asks silent peers whether they are there, and tells the site whom it sees.

Shared between them, under one lock: the run at work, the number of the next exchange, and how many
cases the site has. One exchange begins at a time; no thread holds the lock during a call. The draws of
an exchange come from the plan's seed, this site's name and the exchange's number, so that a run can be
repeated in a simulation.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from fed_backend.errors import FedSegError
from fed_backend.flare.messages import Verdict
from fed_backend.flare.site_client import SiteClient, SiteUnreachable
from fed_backend.gossip.exchange import Line, Outcome, carry
from fed_backend.gossip.peers import Peer, PeerWatch
from fed_backend.gossip.protocol import PeerBusy, PeerRefused, PeerUnreachable
from fed_backend.gossip.report import RunReport
from fed_backend.gossip.roster import Roster
from fed_backend.methods.gcml import GCML, choose_peer, generator, is_sender, sender_probabilities
from fed_backend.plan import Plan

__all__ = ["GossipSession"]

logger = logging.getLogger(__name__)

SITE_PATIENCE_S = 30.0
"""How long a call is repeated while the site server cannot be reached."""
_POLL_S, _RETRY_S = 5.0, 1.0
_GREET_STEP_S, _GREET_EVERY_S, _TELL_EVERY_S = 1.0, 15.0, 10.0

_T = TypeVar("_T")
Dial = Callable[[Peer], AbstractContextManager[Line]]


@dataclass
class _Run:
    id: str
    exchanges: int
    cancelled: threading.Event = field(default_factory=threading.Event)


class GossipSession:
    """Exchanges between one site and its peers.

    Args:
        name: of the site.
        plan: a plan of peers.
        site: client of the site server.
        watch: the list of peers.
        roster: what is known of them.
        dial: opens the line to a peer.
        greet: asks a peer how many cases it has; raises as :meth:`.PeerClient.hello`.
        on_ready: called once, when the site server has answered.
        relay: peer -> local port that leads to it through the hub.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        site: SiteClient,
        watch: PeerWatch,
        roster: Roster,
        dial: Dial,
        greet: Callable[[Peer], int],
        on_ready: Callable[[], None],
        relay: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._name, self._plan, self._site = name, plan, site
        self._settings = GCML(plan).settings
        self._watch, self._roster = watch, roster
        self._dial, self._greet, self._on_ready, self._relay = dial, greet, on_ready, relay
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._exchanging = threading.Lock()
        self._run: _Run | None = None
        self._next = 0
        self._examples = 0
        self._ready = False
        self._own = self._own_report()

    def start(self) -> None:
        """Start the loops."""
        loops = [self._poll, self._greetings, *([self._ticks] if self._settings.interval_s else [])]
        for loop in loops:
            threading.Thread(target=loop, name=loop.__name__.strip("_"), daemon=True).start()

    def stop(self) -> None:
        """Ask the loops to end; they are daemons, so a blocked call does not hold the process."""
        self._stop.set()
        self._store(now=True)

    @property
    def examples(self) -> int:
        """Corrected cases of the site, as it last said."""
        with self._lock:
            return self._examples

    def deliver(self, sender: str, file: Path) -> dict[str, Any]:
        """Let a visit into the site; repeated while the site server restarts."""
        until = time.monotonic() + self._settings.deadline_s
        report = self._patiently(lambda: self._site.visit(file, sender, max(1.0, until - time.monotonic())))
        self._roster.count(sender, received=1)
        return report

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """A call to the site, repeated while it cannot be reached."""
        give_up = time.monotonic() + SITE_PATIENCE_S
        while True:
            begun = time.monotonic()
            try:
                return call()
            except SiteUnreachable:
                now = time.monotonic()
                if now - begun > _RETRY_S:  # it worked on it, then went away: it may come back
                    give_up = now + SITE_PATIENCE_S
                if now > give_up or self._stop.wait(_RETRY_S):
                    raise

    # --- requests --------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                reply = self._site.wait_for_requests(_POLL_S if self._ready else 0.0)
                with self._lock:
                    self._next = max(self._next, int(reply.get("lent", -1)) + 1)
                    self._examples = max(0, int(reply.get("examples", 0)))
                same = reply.get("plan_sha256") == self._plan.sha256
                if not self._ready and same:
                    self._ready = True
                    self._on_ready()
                for request in reply.get("requests", []):
                    verdict = self._verdict(request) if same else _OTHER_PLAN
                    self._site.answer_request(str(request["id"]), verdict.as_json())
            except FedSegError as error:
                logger.warning("%s", error)
                self._stop.wait(_RETRY_S)
            except Exception:  # an unforeseen reply must not end the loop
                logger.exception("polling the site server failed")
                self._stop.wait(_RETRY_S)

    def _verdict(self, request: dict[str, Any]) -> Verdict:
        run, action = str(request["id"]), request.get("action")
        with self._lock:
            running = self._run
            if action == "stop":
                if running is None or running.id != run:
                    return Verdict(409, f"run {run} is not under way here", "GET /federation lists the runs")
                running.cancelled.set()
                return Verdict(202, "the exchange at work is given up")
            if running is not None:
                if running.id == run:  # handed out again
                    return Verdict(202, "under way")
                return Verdict(409, f"run {running.id} of this site is under way", "wait until it ends, or stop it")
            if request.get("method") not in (None, self._plan.method.name):
                return Verdict(409, f"the plan has no method {request.get('method')!r}", "leave the method away")
            if not self._addresses():
                return Verdict(409, "no peer's address is known to this courier", "add one: `fedseg peers add`")
            begun = self._run = _Run(run, int(request.get("rounds") or self._plan.rounds))
        threading.Thread(target=self._exchanges, args=(begun,), name="exchanges", daemon=True).start()
        return Verdict(202, "the exchanges begin")

    def _exchanges(self, run: _Run) -> None:
        report = RunReport(run.id, self._name, self._plan.method.name, run.exchanges)
        for _ in range(run.exchanges):
            if run.cancelled.is_set() or self._stop.is_set():
                break
            self._exchange(report, run.cancelled, asked=True)
        with self._lock:
            self._run = None
        self._tell(report.finished(run.cancelled.is_set()))

    # --- exchanges -------------------------------------------------------------------------

    def _ticks(self) -> None:
        rng = random.Random()  # noqa: S311 - spreads the sites in time
        while not self._stop.wait(self._settings.interval_s * (0.8 + 0.4 * rng.random())):
            try:
                if self._ready and self._addresses():
                    self._exchange(self._own, self._stop, asked=False)
            except Exception:  # as in polling
                logger.exception("an exchange failed")

    def _own_report(self) -> RunReport:
        """What begins by itself is shown as one run for each start of the courier."""
        run = f"gossip-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        return RunReport(run, self._name, self._plan.method.name, 0)

    def _exchange(self, report: RunReport, cancelled: threading.Event, *, asked: bool) -> None:
        """One exchange, unless it was not asked for and the draw is against it."""
        with self._exchanging:
            with self._lock:
                number, self._next = self._next, self._next + 1
            rng = generator(self._plan.training.seed, self._name, number)
            sends = is_sender(rng, self._chance())
            if not (asked or sends):
                return
            addresses = self._addresses()
            worth = self._roster.worth_calling(addresses) or (sorted(addresses) if asked else [])
            receiver = choose_peer(rng, self._name, worth)
            begun = time.monotonic()
            if receiver is None:
                outcome = Outcome(False, "no peer can be reached now")
            else:
                outcome = self._visit(addresses[receiver], number, report, cancelled)
        if asked or receiver is not None:
            status = report.ended(receiver or "", outcome, time.monotonic() - begun)
            self._tell(status if asked else report.finished())

    def _chance(self) -> float:
        names = [peer.name for peer in self._watch.now().peers]
        counts = {**self._roster.examples(names), self._name: self.examples}
        return sender_probabilities(counts, self._settings.share)[self._name]

    def _addresses(self) -> dict[str, Peer]:
        """Peers that can be called: where they listen, else through the hub."""
        listed, relayed = self._watch.now(), self._relay()
        direct = {peer.name: peer for peer in listed.peers if peer.reachable}
        through = {n: Peer(name=n, host="127.0.0.1", port=p) for n, p in relayed.items() if listed.find(n) is not None}
        return {**through, **direct}

    def _visit(self, peer: Peer, number: int, report: RunReport, cancelled: threading.Event) -> Outcome:
        def wait(seconds: float) -> bool:
            return cancelled.wait(seconds) or self._stop.is_set()

        def staged(stage: str) -> None:
            if report is not self._own:
                self._tell(report.begun(peer.name, stage), patiently=False)

        try:
            data = self._patiently(lambda: self._site.lend(number, peer.name))
            with self._dial(peer) as line:
                outcome = carry(line, number, data, self._settings.deadline_s, stopped=wait, on_stage=_changes(staged))
        except FedSegError as error:
            return Outcome(False, str(error))
        except Exception as error:  # shown as the outcome instead of ending the thread silently
            logger.exception("exchange %d with %s failed", number, peer.name)
            return Outcome(False, f"the courier failed: {type(error).__name__}")
        self._note(peer.name, outcome)
        return outcome

    def _note(self, peer: str, outcome: Outcome) -> None:
        words = outcome.reason or "arrived"
        logger.info("exchange with %s: %s", peer, words)
        if outcome.unreachable:
            self._roster.failed(peer, outcome.reason)
        elif outcome.arrived:
            self._roster.seen(peer)
            self._roster.count(peer, sent=1)

    def _tell(self, status: dict[str, Any], patiently: bool = True) -> None:
        try:
            if patiently:
                self._patiently(lambda: self._site.post_status(status))
            else:
                self._site.post_status(status)
        except FedSegError as error:
            logger.warning("the site server did not store the run's state: %s", error)

    # --- greetings -------------------------------------------------------------------------

    def _greetings(self) -> None:
        due: dict[str, float] = {}
        told: tuple[float, Any] = (0.0, None)
        rng = random.Random()  # noqa: S311 - spreads the sites in time
        while not self._stop.is_set():
            try:
                addresses, now = self._addresses(), time.monotonic()
                for name in self._roster.worth_calling(addresses):
                    if due.get(name, 0.0) <= now and not self._stop.is_set():
                        self._hello(addresses[name])
                        due[name] = time.monotonic() + _GREET_EVERY_S * (0.75 + 0.5 * rng.random())
                told = self._tell_peers(told)
                self._store()
            except Exception:  # as in polling
                logger.exception("greeting the peers failed")
            self._stop.wait(_GREET_STEP_S)

    def _store(self, *, now: bool = False) -> None:
        try:
            self._roster.store(now=now)
        except OSError as error:  # a full disk: peers are greeted, and the courier ends, all the same
            logger.warning("when peers were last seen cannot be stored: %s", error.strerror)

    def _hello(self, peer: Peer) -> None:
        try:
            self._roster.seen(peer.name, examples=self._greet(peer))
        except PeerUnreachable as error:
            self._roster.failed(peer.name, error.detail)
        except PeerRefused as error:
            self._roster.seen(peer.name, error.detail)
        except (PeerBusy, FedSegError) as error:
            logger.warning("%s: %s", peer.name, error)

    def _tell_peers(self, told: tuple[float, Any]) -> tuple[float, Any]:
        report = self._roster.report(peer.name for peer in self._watch.now().peers)
        now = time.monotonic()
        if report == told[1] and now - told[0] < _TELL_EVERY_S:
            return told
        try:
            self._site.post_peers(report)
        except FedSegError:
            return told
        return now, report


_OTHER_PLAN = Verdict(
    409,
    "the site server and its courier hold different plans",
    "start the site server with --plan and the plan.json of this courier's kit",
)


def _changes(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell a stage once, not at every look."""
    last = ""

    def told(stage: str) -> None:
        nonlocal last
        if stage != last:
            last = stage
            tell(stage)

    return told
