"""A site's half of a federated round: answers the courier, never trusts what it carries.

A payload is checked against the plan before any of its tensors is used, noted as an exchange (so a
repeat is answered with the same bytes and a replay is refused), and then worked on by the learner.
Received tensors reach the version that serves only through the gate.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fed_backend.errors import FedSegError, PayloadError, ReplayError
from fed_backend.methods import GOSSIP, build_method
from fed_backend.methods.gcml import GCML
from fed_backend.payload import PayloadHeader, Tensors, check, encode, read_header
from fed_backend.plan import Plan
from monailabel_app import errors
from monailabel_app.errors import Conflict, SiteError
from monailabel_app.federation.own_model import own_model
from monailabel_app.federation.privacy import withheld
from monailabel_app.learning.jobs import Job, JobKind
from monailabel_app.state.exchanges import Exchange, ExchangeKind
from monailabel_app.state.site import SiteState

__all__ = ["Kind", "Participant", "open_request", "open_visit"]

Kind = Literal["global", "update", "aggregate"]


def open_request(data: bytes, plan: Plan, kinds: Sequence[Kind]) -> tuple[Plan, PayloadHeader, Tensors]:
    """Check what the hub sent.

    Args:
        data: the payload.
        plan: the plan that this site holds.
        kinds: kinds that are welcome here.

    Returns:
        The plan as it reads for the payload's method, the header, and the tensors that this method
        shares; or none of them, for the ``global`` payload of round 0 whose metrics say
        ``initial = 1``: start from your initial adapter.

    Raises:
        PayloadError: it is not exactly what the plan allows.
        PlanError: the method is not installed.
    """
    if len(data) > plan.max_payload_bytes:  # before anything in it is looked at
        raise PayloadError(
            f"payload has {len(data)} bytes; the plan allows {plan.max_payload_bytes}",
            "raise max_payload_bytes in the plan if this size is intended",
        )
    header = read_header(data)
    if header.kind not in kinds:
        raise PayloadError(
            f"payload from {header.site!r} has kind {header.kind!r}, expected {' or '.join(kinds)}",
            "the courier must post to the address that fits the payload",
        )
    initial = header.kind == "global" and header.round == 0 and header.metrics.get("initial") == 1.0
    plan = plan.under(header.method) if header.method in plan.methods else plan  # check() refuses the others
    return plan, *check(data, plan, kind=header.kind, keys=frozenset() if initial else build_method(plan).shared_keys())


def open_visit(data: bytes, plan: Plan) -> tuple[PayloadHeader, Tensors]:
    """Check a visiting model.

    Raises:
        PayloadError: it is not exactly what the plan allows.
        Conflict: the plan is not one of peers.
    """
    keys = _gossip_of(plan).shared_keys()
    return check(data, plan, kind="update", federation_round="gossip", keys=keys)


def _gossip_of(plan: Plan) -> GCML:
    if plan.method.name not in GOSSIP:
        raise Conflict(
            f"the plan's method {plan.method.name!r} knows no exchange between peers", "a plan of 'gcml' does"
        )
    return GOSSIP[plan.method.name](plan)


class Participant:
    """Answers a federation for one site.

    Args:
        state: the site's state.
        plan: the plan that the site holds; ``None`` refuses every request.
        site_name: the site's name in the federation.

    Calls block until the learner has done the work; the same request may be waited for by several
    callers, and by none.
    """

    def __init__(self, state: SiteState, plan: Plan | None, site_name: str) -> None:
        self._state = state
        self._plan = plan
        self._site_name = site_name
        self._accepting = threading.Lock()

    def train(self, data: bytes) -> bytes:
        """Fine-tune on this site's corrections, starting from the received tensors.

        Args:
            data: payload of kind ``global``.

        Returns:
            Payload of kind ``update``. The same request is answered with the same bytes.

        Raises:
            PayloadError: refused; nothing was changed.
            ReplayError: a replay.
            Conflict: no plan, paused, or no corrected case to train on.
        """
        plan = self._ready()
        _, header, _ = open_request(data, plan, ("global",))
        job = self._work("train", "federated_train", header, data, plan)
        return self._state.exchanges.read(job["reply"])

    def offer(self, data: bytes) -> dict[str, Any]:
        """Make the offered adapter a version and let the gate judge it.

        Args:
            data: payload of kind ``aggregate``.

        Returns:
            ``version, promoted, reason, dice_champion, dice_challenger, cases, seconds``.

        Raises:
            PayloadError: refused; nothing was changed.
            ReplayError: a replay.
            Conflict: no plan, or paused.
        """
        plan = self._ready()
        _, header, _ = open_request(data, plan, ("aggregate",))
        return withheld(self._work("offer", "offer", header, data, plan), plan)

    def evaluate(self, data: bytes) -> dict[str, Any]:
        """Judge tensors as :meth:`offer` does, without keeping them; ``version`` is ``None``."""
        plan = self._ready()
        open_request(data, plan, ("global", "aggregate"))
        request = self._state.exchanges.keep(data)
        job = self._state.jobs.submit("evaluate", plan.model.name, {"request": request}, author="federation")
        return self._outcome(job.number)

    def lend(self, number: int) -> bytes:
        """The model that this site goes on with, to visit one peer; see :func:`.own_model.own_model`.

        Args:
            number: of this site's visits to anybody; each higher than the one before.

        Returns:
            Payload of kind ``update``, without anything that the plan keeps at the site.

        Raises:
            Conflict: no plan of peers, or paused.
        """
        plan = self._ready()
        method = _gossip_of(plan)
        tensors = self._state.versions(plan.model.name).load(own_model(self._state, plan))
        header = PayloadHeader(
            kind="update",
            plan_sha256=plan.sha256,
            base_sha256=plan.base_sha256,
            site=self._site_name,
            federation_round="gossip",
            round=number,
            method=plan.method.name,
            examples=len(self._state.corrections.usable(self._state.corrections.newest("train"))),
        )
        shared = {name: tensors[name] for name in method.shared_keys()}
        return encode(header, shared, half=plan.encoding != "float32")

    def examples(self) -> int:
        """Corrected training cases by the records alone: the courier asks every few seconds, so no file is read."""
        return len(self._state.corrections.newest("train"))

    def visit(self, data: bytes, sender: str) -> dict[str, Any]:
        """Let a visiting model and this site's own learn from each other; what results passes the gate.

        The visitor is forgotten afterwards: the payload is deleted, and no version holds it as it came
        unless the site's validation cases chose it.

        Args:
            data: payload of kind ``update`` from a peer.
            sender: the peer, as its certificate names it.

        Returns:
            As :meth:`offer`, with ``chosen``: ``own``, ``mean`` or ``visitor``.

        Raises:
            PayloadError: refused; nothing was changed.
            ReplayError: a replay.
            Conflict: no plan of peers, paused, or no corrected case to train on.
        """
        plan = self._ready()
        header, _ = open_visit(data, plan)
        if header.site != sender or sender == self._site_name:
            raise PayloadError(
                f"a visitor from {header.site!r} came through {sender!r}", "every site sends its own model, to others"
            )
        with self._accepting:
            exchange = self._state.exchanges.accept_visit(sender, header.round, data)
            number = self._usable_job(exchange)
            if number is None:
                params = {"request": self._state.exchanges.keep(data), "round": header.round}
                number = self._state.jobs.submit("offer", plan.model.name, params, author="federation").number
                self._state.exchanges.set_job(exchange, number)
        try:
            return self._outcome(number)
        finally:
            self._state.exchanges.forget(exchange.request_sha256)

    def progress(self) -> float:
        """Finished share of the federated work at hand, 0..1; 0 where there is none."""
        running = [j for j in self._state.jobs.active() if j.kind != "learn" and j.state != "queued"]
        return running[0].progress if running else 0.0

    def _ready(self) -> Plan:
        if self._plan is None:
            raise Conflict(
                f"site {self._site_name!r} takes part in no federation: it has no plan",
                "start the site with --plan FILE, the plan of its kit",
            )
        if self._state.settings.paused:
            raise Conflict(
                f"site {self._site_name!r} is paused and takes no part in rounds",
                'resume it: POST /federation/pause {"paused": false}',
            )
        return self._plan

    def _work(
        self, exchange_kind: ExchangeKind, job_kind: JobKind, header: PayloadHeader, data: bytes, plan: Plan
    ) -> dict[str, Any]:
        """The result of the one job of an exchange; a job that failed is tried anew on request."""
        with self._accepting:
            exchange = self._state.exchanges.accept(exchange_kind, header.federation_round, header.round, data)
            number = self._usable_job(exchange)
            if number is None:
                params = {"request": hashlib.sha256(data).hexdigest(), "round": header.round}
                number = self._state.jobs.submit(job_kind, plan.model.name, params, author="federation").number
                self._state.exchanges.set_job(exchange, number)
        return self._outcome(number)

    def _usable_job(self, exchange: Exchange) -> int | None:
        if exchange.job is None:
            return None
        return None if self._state.jobs.get(exchange.job).state in ("failed", "cancelled") else exchange.job

    def _outcome(self, number: int) -> dict[str, Any]:
        job = self._state.jobs.wait(number)
        if job.result is None:
            raise _error_of(job)
        return job.result


def _error_of(job: Job) -> FedSegError:
    """The error that ended a job in the learner, as it was raised there."""
    record = job.error or {"error": "Conflict", "detail": job.message, "hint": "start the round again"}
    known: dict[str, Callable[[str, str], FedSegError]] = {
        "PayloadError": PayloadError,
        "ReplayError": ReplayError,
        **{name: kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), SiteError)},
    }
    return known.get(record["error"], SiteError)(record["detail"], record["hint"])
