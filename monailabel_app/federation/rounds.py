"""Requests for rounds: from a user of this site, over the courier, to the hub, and its verdict back.

Shared between request threads, under one condition: requests that wait for the courier, verdicts
that wait for the user, and when the courier was last seen. A request lives for seconds, so it is
kept in memory; what the hub reports about a run is kept in the site's records.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from fed_backend.errors import RoundBusyError
from fed_backend.methods import GOSSIP
from fed_backend.plan import Plan
from monailabel_app.errors import Conflict, Forbidden, SiteError, Unavailable
from monailabel_app.federation.consent import Consent
from monailabel_app.state.files import utc_now
from monailabel_app.state.rounds import RoundReport
from monailabel_app.state.site import SiteState

__all__ = ["RoundDesk", "Verdict"]

Action = Literal["start", "stop"]

_CONNECTED_S = 15.0
_AGAIN_S = 3.0  # a request without a verdict after this long is handed out again: its courier may have died
_COURIER_HINT = "start it with `fedseg courier start`, or wait until it has connected"


@dataclass(frozen=True)
class Verdict:
    """What the hub said about a request."""

    accepted: bool
    status: int = 202
    detail: str = ""
    hint: str = ""


@dataclass
class _Request:
    id: str
    action: Action
    method: str
    rounds: int
    delivered_at: float | None = None
    verdict: Verdict | None = None


class RoundDesk:
    """Where users ask for rounds and the courier fetches the requests.

    Args:
        state: the site's state.
        plan: the plan that the site holds.
        site_name: the site's name in the federation.
        patience_s: how long a user waits for the hub's verdict.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        state: SiteState,
        plan: Plan | None,
        site_name: str,
        patience_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._plan = plan
        self._consent = Consent(state.database)
        self._site_name = site_name
        self._patience_s = patience_s
        self._clock = clock
        self._condition = threading.Condition()
        self._requests: dict[str, _Request] = {}
        self._polling = 0
        self._seen: tuple[float, str] | None = None
        self._peers: list[dict[str, Any]] = []
        self._closed = False

    # -- users ---------------------------------------------------------------------------------

    def start(self, method: str | None = None, rounds: int | None = None, who: str = "") -> str:
        """Ask the hub for a run of rounds; returns its identifier once the hub agreed.

        Args:
            method: one of the plan's.
            rounds: how many; the plan's number by default.
            who: the user who asks, for the audit log.

        Raises:
            Conflict: no plan, one that is not approved here, paused, or a method that the plan does not list.
            RoundBusyError: a run is under way.
            Forbidden: the plan does not let this site start rounds.
            Unavailable: no courier is connected, or the hub does not answer.
        """
        plan = self._allowed()
        if method is not None and method not in plan.methods:
            alone = (method in GOSSIP) != (plan.method.name in GOSSIP)
            raise Conflict(
                f"method {method!r} is none of the plan's: {', '.join(plan.methods)}",
                "exchanges between peers and rounds of a hub take a plan of their own each"
                if alone
                else "leave the method away, or agree on a new plan with the other sites",
            )
        request = _Request(secrets.token_hex(8), "start", method or plan.method.name, rounds or plan.rounds)
        self._ask(request, who)
        try:
            self._state.rounds.get(request.id)  # the first report may have been faster than the verdict
        except SiteError:
            self._state.rounds.put(
                RoundReport(
                    id=request.id,
                    state="requested",
                    started_by=self._site_name,
                    method=request.method,
                    rounds=request.rounds,
                )
            )
        return request.id

    def stop(self, identifier: str, who: str = "") -> None:
        """Ask the hub to stop a run; ``who`` is the user who asks, for the audit log.

        Raises:
            NotFound: this site knows no such run.
            Conflict: it ended already, or there is no plan.
            Forbidden: the plan does not let this site stop rounds.
            Unavailable: no courier is connected, or the hub does not answer.
        """
        report = self._state.rounds.get(identifier)
        if report.state not in ("requested", "running"):
            raise Conflict(f"run {identifier} has ended already ({report.state})", "there is nothing to stop")
        self._allowed(stopping=True)
        self._ask(_Request(identifier, "stop", report.method, report.rounds), who)

    def courier(self) -> dict[str, Any]:
        """``{connected, last_seen}``: whether the courier asks for work, and when it last did."""
        with self._condition:
            return {"connected": self._connected(), "last_seen": self._seen[1] if self._seen else None}

    def peers(self) -> list[dict[str, Any]]:
        """The peers of this site as its courier last saw them."""
        with self._condition:
            return list(self._peers)

    # -- the courier ---------------------------------------------------------------------------

    def fetch(self, wait_s: float) -> list[dict[str, Any]]:
        """Requests that are due; blocks up to ``wait_s`` seconds for the first one.

        A request is due at once, and again every few seconds until its verdict is there: the hub
        takes a repeated one for the same request.
        """
        deadline = self._clock() + wait_s
        with self._presence():
            while not (due := [r for r in self._requests.values() if self._due_in(r) <= 0]):
                left = deadline - self._clock()
                if left <= 0 or self._closed:
                    return []
                self._condition.wait(min([left, *map(self._due_in, self._requests.values())]))
            for request in due:
                request.delivered_at = self._clock()
            return [{"id": r.id, "action": r.action, "method": r.method, "rounds": r.rounds} for r in due]

    def decide(self, identifier: str, verdict: Verdict) -> None:
        """The hub's verdict on a request. One that nobody waits for any more is ignored."""
        with self._presence():
            request = self._requests.get(identifier)
            if request is not None:
                request.verdict = verdict
                self._condition.notify_all()

    def report(self, report: RoundReport) -> None:
        """What the hub says about a run."""
        with self._presence():
            pass
        self._state.rounds.put(report)

    def meet(self, peers: list[dict[str, Any]]) -> None:
        """What the courier says about this site's peers."""
        with self._presence():
            self._peers = list(peers)

    def seen(self) -> None:
        """The courier was here."""
        with self._presence():
            pass

    def close(self) -> None:
        """Let every waiting thread go: the site is stopping."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    # -- parts ---------------------------------------------------------------------------------

    def _allowed(self, stopping: bool = False) -> Plan:
        if self._plan is None:
            raise Conflict(
                f"site {self._site_name!r} takes part in no federation: it has no plan",
                "start the site with --plan FILE, the plan of its kit",
            )
        if not self._plan.may_start(self._site_name):
            raise Forbidden(
                f"the plan does not let site {self._site_name!r} start or stop rounds",
                f"ask one of: {', '.join(self._plan.starters)}",
            )
        if self._state.settings.paused and not stopping:
            raise Conflict(f"site {self._site_name!r} is paused", 'resume it: POST /federation/pause {"paused": false}')
        if not stopping:
            self._consent.require(self._plan)
        return self._plan

    def _ask(self, request: _Request, who: str) -> None:
        """Hand a request to the courier and wait for the verdict."""
        with self._condition:
            if not self._connected():
                raise Unavailable(f"no courier is connected to site {self._site_name!r}", _COURIER_HINT)
            if request.id in self._requests:
                raise Conflict(f"run {request.id} is being stopped already", "wait for the answer of the hub")
            self._note(request, who)
            self._requests[request.id] = request
            self._condition.notify_all()
            try:
                self._condition.wait_for(lambda: request.verdict is not None or self._closed, self._patience_s)
            finally:
                del self._requests[request.id]
        _raise_refusal(request, self._patience_s)

    def _note(self, request: _Request, who: str) -> None:
        note = f"{request.action} {request.rounds} rounds of {request.method}"
        plan_sha256 = self._plan.sha256 if self._plan else None
        self._state.audit.append("asked", who, note, plan_sha256=plan_sha256, federation_round=request.id)

    def _due_in(self, request: _Request) -> float:
        """Seconds until a request is to be handed out; infinite once its verdict is there."""
        if request.verdict is not None:
            return math.inf
        return 0.0 if request.delivered_at is None else request.delivered_at + _AGAIN_S - self._clock()

    def _connected(self) -> bool:
        return self._polling > 0 or (self._seen is not None and self._clock() - self._seen[0] < _CONNECTED_S)

    @contextmanager
    def _presence(self) -> Iterator[None]:
        """Hold the condition, and note that the courier is here for as long."""
        with self._condition:
            self._polling += 1
            self._seen = (self._clock(), utc_now())
            try:
                yield
            finally:
                self._polling -= 1
                self._seen = (self._clock(), utc_now())


def _raise_refusal(request: _Request, patience_s: float) -> None:
    verdict = request.verdict
    if verdict is None:
        where = (
            "the hub has not answered" if request.delivered_at is not None else "the courier did not fetch the request"
        )
        raise Unavailable(f"{where} within {patience_s:g} s", "check that courier and hub run, then try again")
    if verdict.accepted:
        return
    detail = verdict.detail or "the hub refused the request"
    if verdict.status == 403:
        raise Forbidden(detail, verdict.hint)
    if verdict.status == 409:
        raise RoundBusyError(detail, verdict.hint or "wait until it ends, or stop it")
    raise Unavailable(detail, verdict.hint or _COURIER_HINT)
