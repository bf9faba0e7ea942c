"""What couriers say to each other over mutual TLS (TLS 1.3, HTTP/1.1), without a hub.

Every request and every reply carries three headers: ``Fedseg-Gossip`` (version of this protocol),
``Fedseg-Plan`` (hash of the plan that the speaker holds) and ``Fedseg-Version`` (of the program, for
people). Either end refuses the other's version or plan before anything else is looked at.

==========================  ================================================  ===========================
request                     body                                              reply
==========================  ================================================  ===========================
GET  /hello                                                                   200 :class:`Announcement`
PUT  /visits/{number}       a payload; headers ``Content-Length`` and         200, 202 :class:`VisitState`
                            ``Fedseg-Sha256`` (of the body)
GET  /visits/{number}       query ``wait``: seconds to wait for an end        200 :class:`VisitState`,
                                                                              404: send it (again)
==========================  ================================================  ===========================

A refusal is JSON ``{error, detail, hint}``: 403 no peer of this site, 408 too slow, 409 another plan,
411 no length, 413 too large, 422 the payload or its digest, 426 another protocol, 429 and 503 busy (with
``Retry-After``). Who speaks is known from the certificate alone. A visit has a number of its sender's;
the same number with the same bytes is the same visit, however often it is sent.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fed_backend import __version__
from fed_backend.errors import FederationError

__all__ = [
    "PLAN",
    "PROTOCOL",
    "PROTOCOL_VERSION",
    "SHA256",
    "Announcement",
    "PeerBusy",
    "PeerRefused",
    "PeerUnreachable",
    "VisitState",
    "common_headers",
]

PROTOCOL_VERSION = "1"
PROTOCOL, PLAN, SHA256, VERSION = "Fedseg-Gossip", "Fedseg-Plan", "Fedseg-Sha256", "Fedseg-Version"

MAX_WAIT_S = 20.0
"""Longest ``wait`` that a receiver grants."""
MOST_EXCHANGES = 2**53
"""Numbers of visits are below this: what JSON readers count without rounding."""


class PeerUnreachable(FederationError):
    """Raised when a peer does not answer, or another than the one that was addressed does."""


class PeerRefused(FederationError):
    """Raised when a peer, or this end of the line, refuses; asking again would not help."""


class PeerBusy(FederationError):
    """Raised when a peer cannot take a visit now.

    Args:
        detail: what it said.
        retry_after_s: when it wants to be asked again.
    """

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Announcement(BaseModel):
    """Who answers, and what a sender must know of a peer.

    Attributes:
        site: its name; equal to the one in its certificate.
        plan_sha256: the plan it holds.
        examples: corrected cases it trains on, which decide how often sites send.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    site: str = Field(max_length=64)
    plan_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    examples: int = Field(default=0, ge=0, le=MOST_EXCHANGES)


class VisitState(BaseModel):
    """What became of a visit so far.

    Attributes:
        state: ``waiting`` (in the receiver's queue), ``learning``, ``done`` or ``refused``.
        report: what the receiver's site answered, once ``done``.
        detail: why it was refused.
        hint: what to do about that.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    state: Literal["waiting", "learning", "done", "refused"]
    report: dict[str, Any] = Field(default_factory=dict)
    detail: str = Field(default="", max_length=1000)
    hint: str = Field(default="", max_length=400)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "refused")


def common_headers(plan_sha256: str) -> dict[str, str]:
    """The headers of every request and every reply."""
    return {PROTOCOL: PROTOCOL_VERSION, PLAN: plan_sha256, VERSION: __version__}


def skew(protocol: str | None, plan: str | None, own_plan: str) -> tuple[int, str, str] | None:
    """Why what the other end holds does not go with this end: status, detail and hint; ``None`` if it does."""
    if protocol != PROTOCOL_VERSION:
        return (
            426,
            f"the peer speaks gossip protocol {(protocol or 'unknown')[:16]!r}, this site speaks {PROTOCOL_VERSION!r}",
            "bring both sites to the same release",
        )
    if plan != own_plan:
        return (
            409,
            f"the peer holds plan {(plan or 'none')[:12]}…, this site holds {own_plan[:12]}…",
            "all sites of a federation hold the same plan: compare `fedseg plan show`",
        )
    return None
