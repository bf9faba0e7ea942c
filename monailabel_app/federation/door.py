"""The door between a site and its courier: nothing comes in and nothing goes out without an audit entry.

What comes in is logged before it is looked at, an answer before it leaves; where the log cannot be
written, neither happens. Without an administrator's consent to the plan nothing is done at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from fed_backend.errors import FedSegError, PayloadError, ReplayError
from fed_backend.payload import read_header
from fed_backend.plan import Plan
from monailabel_app.errors import Conflict
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.participant import Participant
from monailabel_app.state.audit import AuditLog, Event
from monailabel_app.state.database import Database
from monailabel_app.state.settings import StoredSettings

__all__ = ["Door"]

_WHO = "courier"
_STEPS: dict[str, Event] = {
    "keys": "sent",
    "shares": "sent",
    "mask": "masked",
    "agree": "sent",
    "reveal": "revealed",
}
"""Steps of a secure sum, and what they are in the audit log."""
_LENT = "lent"  # number of the newest exchange in which this site's model left


class Door:
    """A participant whose requests and answers are bytes, all of them logged.

    Args:
        participant: does the work.
        database: the site's records.
        plan: the plan that the site holds.
    """

    def __init__(self, participant: Participant, database: Database, plan: Plan | None) -> None:
        self._participant = participant
        self._database = database
        self._audit = AuditLog(database)
        self._settings = StoredSettings(database)
        self._consent = Consent(database)
        self._plan = plan

    def train(self, data: bytes) -> bytes:
        """:meth:`.Participant.train`."""
        return self._pass("train", data, self._participant.train)

    def offer(self, data: bytes) -> bytes:
        """:meth:`.Participant.offer`; the answer as JSON."""
        return self._pass("offer", data, lambda payload: _json(self._participant.offer(payload)))

    def evaluate(self, data: bytes) -> bytes:
        """:meth:`.Participant.evaluate`; the answer as JSON."""
        return self._pass("evaluate", data, lambda payload: _json(self._participant.evaluate(payload)))

    def visit(self, data: bytes, sender: str) -> bytes:
        """:meth:`.Participant.visit`; the answer as JSON."""
        return self._pass(f"visit from {sender}", data, lambda payload: _json(self._participant.visit(payload, sender)))

    def lend(self, number: int, receiver: str) -> bytes:
        """:meth:`.Participant.lend`, to one peer.

        Args:
            number: of the exchange; higher than that of every exchange before.
            receiver: the peer, for the audit log.

        Raises:
            ReplayError: an exchange with this number, or a later one, has taken place.
            Conflict: as :meth:`.Participant.lend`, or no consent to the plan.
        """
        note = f"lend to {receiver}"
        where: dict[str, Any] = {"plan_sha256": self._sha256(), "federation_round": "gossip", "round": number}
        try:
            if self._plan is not None:
                self._consent.require(self._plan)
            data = self._participant.lend(number)
            with self._database.transaction():
                if number <= (last := self.lent()):
                    raise ReplayError(
                        f"exchange {number} comes after exchange {last}", "number exchanges upwards, each once"
                    )
                self._settings.set(_LENT, number)
                self._audit.append("sent", _WHO, note, data=data, **where)
        except FedSegError as error:
            self._audit.append("refused", _WHO, f"{note}: {type(error).__name__}", **where)
            raise
        return data

    def leaving(self, step: str, run: str, round_: int, sites: Sequence[str], data: bytes) -> None:
        """Note what the courier is about to send for a secure sum, or refuse to let it go.

        Args:
            step: ``keys``, ``shares``, ``mask``, ``agree`` or ``reveal``.
            run: identifier of the run.
            round_: number of the round, from 0.
            sites: the others in the sum.
            data: what will leave.

        Raises:
            ReplayError: this site has revealed in this round before: a second sum of the same updates, with
                other sites, would tell the difference.
            Conflict: no plan with secure sums, or no consent to it.
        """
        where: dict[str, Any] = {"plan_sha256": self._sha256(), "federation_round": run, "round": round_}
        note = f"{step} with {', '.join(sites)}" if sites else step
        try:
            if self._plan is None or self._plan.secure is None:
                raise Conflict("this site's plan asks for no secure sums", "start the courier from the plan's own kit")
            self._consent.require(self._plan)
            with self._database.transaction():
                if self._audit.has("revealed", run, round_):
                    raise ReplayError(
                        f"this site has revealed its shares in round {round_} of run {run!r} already",
                        "it takes part in the next round",
                    )
                self._audit.append(_STEPS[step], _WHO, note, data=data, **where)
        except FedSegError as error:
            self._audit.append("refused", _WHO, f"{note}: {type(error).__name__}", **where)
            raise

    def lent(self) -> int:
        """Number of the newest exchange in which this site's model left; -1 before the first."""
        return int(self._settings.get(_LENT, -1))

    def _sha256(self) -> str | None:
        return self._plan.sha256 if self._plan else None

    def _pass(self, request: str, data: bytes, work: Callable[[bytes], bytes]) -> bytes:
        where = {"plan_sha256": self._sha256(), **_round_of(data)}
        self._audit.append("received", _WHO, request, data=data, **where)
        try:
            if self._plan is not None:
                self._consent.require(self._plan)
            answer = work(data)
            if self._plan is not None:
                self._consent.require(self._plan)  # it may have been taken back meanwhile
        except FedSegError as error:
            self._audit.append("refused", _WHO, f"{request}: {type(error).__name__}", data=data, **where)
            raise
        self._audit.append("sent", _WHO, request, data=answer, **where)
        return answer


def _round_of(data: bytes) -> dict[str, Any]:
    """Run and round that a payload says it belongs to; nothing where it cannot be read."""
    try:
        header = read_header(data)
    except PayloadError:
        return {}
    return {"federation_round": header.federation_round, "round": header.round}


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, allow_nan=False).encode()
