"""The door between a site and its courier: nothing comes in and nothing goes out without an audit entry.

What comes in is logged before it is looked at, an answer before it leaves; where the log cannot be
written, neither happens. Without an administrator's consent to the plan nothing is done at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fed_backend.errors import FedSegError, PayloadError
from fed_backend.payload import read_header
from fed_backend.plan import Plan
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.participant import Participant
from monailabel_app.state.audit import AuditLog
from monailabel_app.state.database import Database

__all__ = ["Door"]

_WHO = "courier"


class Door:
    """A participant whose requests and answers are bytes, all of them logged.

    Args:
        participant: does the work.
        database: the site's records.
        plan: the plan that the site holds.
    """

    def __init__(self, participant: Participant, database: Database, plan: Plan | None) -> None:
        self._participant = participant
        self._audit = AuditLog(database)
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

    def _pass(self, request: str, data: bytes, work: Callable[[bytes], bytes]) -> bytes:
        where = {"plan_sha256": self._plan.sha256 if self._plan else None, **_round_of(data)}
        self._audit.append("received", _WHO, request, data=data, **where)
        try:
            if self._plan is not None:
                self._consent.require(self._plan)
            answer = work(data)
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
