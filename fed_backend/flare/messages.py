"""What a courier and the hub say to each other, whatever carries it.

Site to hub (every one is answered):

=========  ==============================================================================  ===========
topic      fields                                                                          answer
=========  ==============================================================================  ===========
beat       plan_sha256, task, stage (idle, training, sending, gating), progress 0..1,      ok, detail
           holds (SHA-256 of the last aggregate that came as a file; may be empty)
request    id, action (start, stop), method, rounds                                        a verdict
result     task, ok, reason, seconds, report, holds; body = update after a training, or    ok
           the answer to a step of a secure sum
=========  ==============================================================================  ===========

Hub to site (only acknowledged; the hub repeats what a site does not mention in its beats):

=========  ==============================================================================
train      task, deadline_s, and attempt (secure sums only); body = payload of kind ``global``; to a
           site that holds its tensors only what is before them, with ``rest_of`` (the aggregate that
           has them) and ``sha256`` (of the whole)
offer      task, deadline_s; body = payload of kind ``aggregate``
shares     task, deadline_s; like ``mask``, ``agree``, ``reveal`` a step of a secure sum, whose
           bodies are in :mod:`fed_backend.secure.wire`
cancel     task
status     round: the run as ``GET /federation/rounds/{id}`` shows it
=========  ==============================================================================

The sender of a message is known from its certificate, never from the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fed_backend.tensor_file import Data

__all__ = ["BEAT_S", "Message", "Transport", "Verdict"]

BEAT_S = 1.0
"""Seconds between two beats of a courier."""


@dataclass(frozen=True)
class Message:
    """One message: a topic, JSON fields, and a payload.

    A body that is a file is carried in pieces (:mod:`.pieces`). The file that came with a received message
    is gone once its handler returns: move what is to be kept. Its SHA-256 was checked as it came, and is told;
    a sender that knows it may tell it, and it is not reckoned again.
    """

    topic: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    body: Data = b""
    sha256: str = field(default="", compare=False)


@dataclass(frozen=True)
class Verdict:
    """The hub's answer to a request to start or stop rounds.

    Attributes:
        status: 202 accepted, 403 not allowed, 409 not now (``detail`` says why), 422 malformed, 503 not ready.
        detail: one sentence.
        hint: what to do.
    """

    status: int
    detail: str
    hint: str = ""

    @property
    def accepted(self) -> bool:
        return self.status == 202

    def as_json(self) -> dict[str, Any]:
        return {"accepted": self.accepted, "status": self.status, "detail": self.detail, "hint": self.hint}


class Transport(Protocol):
    """How the hub reaches a site."""

    def post(self, site: str, message: Message) -> None:
        """Queue ``message`` for ``site`` without blocking; it may get lost.

        A later ``status`` replaces one that still waits; a message whose task is already on its
        way is not queued twice.
        """
        ...
