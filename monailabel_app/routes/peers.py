"""``/federation`` for the courier of a site whose plan knows peers: its model lent out, visitors let in."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fed_backend.plan import SITE_NAME
from monailabel_app.routes.federation import PAYLOAD, Payload, door_of
from monailabel_app.routes.roles import Courier, Site

__all__ = ["router"]

router = APIRouter(prefix="/federation", tags=["Federation"])

_MOST_EXCHANGES = 2**53  # what JSON readers count without rounding
_MOST_PEERS = 1000


class LendRequest(BaseModel):
    """Which exchange the site's model is lent for, and to whom."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=0, le=_MOST_EXCHANGES)
    receiver: str = Field(pattern=SITE_NAME.pattern)


class PeerReport(BaseModel):
    """What the courier knows of one peer.

    Attributes:
        name: of the site.
        state: ``unknown`` (never reached), ``reachable``, ``unreachable`` or ``refused``.
        last_seen: when it last answered or called, ISO 8601 UTC.
        detail: why it cannot be reached, or what one of the two refuses.
        sent: transfers to it that arrived since the courier began.
        received: visits of it that were let in since then.
    """

    model_config = ConfigDict(extra="ignore")

    name: str = Field(pattern=SITE_NAME.pattern)
    state: Literal["unknown", "reachable", "unreachable", "refused"] = "unknown"
    last_seen: str | None = Field(default=None, max_length=40)
    detail: str = Field(default="", max_length=500)
    sent: int = Field(default=0, ge=0)
    received: int = Field(default=0, ge=0)


class PeersReport(BaseModel):
    """All peers of the site."""

    model_config = ConfigDict(extra="ignore")

    peers: list[PeerReport] = Field(max_length=_MOST_PEERS)


@router.post("/lend", response_class=Response)
def lend(site: Site, courier: Courier, request: LendRequest) -> Response:
    """The model that serves here as a payload of kind ``update``, to visit one peer."""
    return Response(door_of(site).lend(request.number, request.receiver), media_type=PAYLOAD)


@router.post("/visit", response_class=Response)
def visit(
    site: Site, courier: Courier, data: Payload, sender: Annotated[str, Query(pattern=SITE_NAME.pattern)]
) -> Response:
    """A peer's model in, what became of it out; ``sender`` is the peer as its certificate names it."""
    return Response(door_of(site).visit(data, sender), media_type="application/json")


@router.post("/courier/peers", status_code=204, response_class=Response)
def courier_peers(site: Site, courier: Courier, body: PeersReport) -> None:
    """Which peers the courier sees."""
    site.desk.meet([peer.model_dump() for peer in body.peers])
