"""``/federation``: rounds for users of the site, and the door for its courier.

Users see and start rounds. The courier, by its token, fetches requests, brings verdicts and reports,
and carries payloads in and out; a payload is read in full (up to the plan's limit) before the work
begins, so a connection that breaks changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.errors import TooLarge
from monailabel_app.federation.rounds import Verdict
from monailabel_app.routes.roles import Admin, Courier, Reviewer, Site, Viewer
from monailabel_app.state.rounds import RoundReport

__all__ = ["router"]

router = APIRouter(prefix="/federation", tags=["Federation"])

PAYLOAD = "application/octet-stream"
_LIMIT_WITHOUT_PLAN = 2**20


class StartRequest(BaseModel):
    """Which rounds to run; the plan's by default."""

    model_config = ConfigDict(extra="forbid")

    method: str | None = Field(default=None, max_length=32)
    rounds: int | None = Field(default=None, ge=1, le=1000)


class PauseRequest(BaseModel):
    """Whether the site takes part in rounds."""

    model_config = ConfigDict(extra="forbid")

    paused: bool


class VerdictBody(BaseModel):
    """What the hub said about a request."""

    accepted: bool
    status: int = Field(default=202, ge=100, le=599)
    detail: str = Field(default="", max_length=2000)
    hint: str = Field(default="", max_length=2000)


async def read_payload(request: Request, site: Site) -> bytes:
    """The body of a request, refused above the plan's limit before it is in memory."""
    limit = site.plan.max_payload_bytes if site.plan is not None else _LIMIT_WITHOUT_PLAN
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise TooLarge(f"the payload has more than {limit} bytes", "raise max_payload_bytes in the plan")
    return bytes(data)


Payload = Annotated[bytes, Depends(read_payload)]


# -- users -------------------------------------------------------------------------------------


@router.get("")
def get_federation(site: Site, user: Viewer) -> dict[str, Any]:
    """The plan, the courier, and the runs this site knows, newest first."""
    plan = site.plan
    summary = plan and {
        "name": plan.name,
        "sha256": plan.sha256,
        "method": plan.method.name,
        "model": plan.model.name,
        "rounds": plan.rounds,
    }
    return {
        "enabled": plan is not None,
        "site": site.site_name,
        "plan": summary,
        "courier": site.desk.courier(),
        "rounds": [r.model_dump(exclude={"history"}) for r in site.state.rounds.list()],
        "paused": site.state.settings.paused,
    }


@router.post("/rounds", status_code=202)
def start_rounds(site: Site, user: Reviewer, request: StartRequest | None = None) -> dict[str, str]:
    """Ask the hub for a run of rounds; answers once the hub has decided (15 s at most)."""
    request = request or StartRequest()
    return {"id": site.desk.start(request.method, request.rounds)}


@router.get("/rounds/{identifier}")
def get_rounds(site: Site, user: Viewer, identifier: str) -> RoundReport:
    """The newest report about a run."""
    return site.state.rounds.get(identifier)


@router.delete("/rounds/{identifier}", status_code=202)
def stop_rounds(site: Site, user: Reviewer, identifier: str) -> RoundReport:
    """Ask the hub to stop a run; the round at work is given up."""
    site.desk.stop(identifier)
    return site.state.rounds.get(identifier)


@router.post("/pause")
def pause(site: Site, user: Admin, request: PauseRequest) -> dict[str, bool]:
    """Take no part in rounds, or take part again."""
    site.state.settings.paused = request.paused
    return {"paused": request.paused}


# -- the courier -------------------------------------------------------------------------------


@router.get("/courier/requests")
def courier_requests(site: Site, courier: Courier, wait: Annotated[float, Query(ge=0, le=60)] = 0.0) -> dict[str, Any]:
    """New requests of this site's users; waits up to ``wait`` seconds for the first."""
    return {
        "site": site.site_name,
        "plan_sha256": site.plan.sha256 if site.plan is not None else None,
        "requests": site.desk.fetch(wait),
    }


@router.post("/courier/requests/{identifier}", status_code=204, response_class=Response)
def courier_verdict(site: Site, courier: Courier, identifier: str, body: VerdictBody) -> None:
    """The hub's verdict on a request."""
    site.desk.decide(identifier, Verdict(body.accepted, body.status, body.detail, body.hint))


@router.post("/courier/status", status_code=204, response_class=Response)
def courier_status(site: Site, courier: Courier, body: RoundReport) -> None:
    """What the hub reports about a run."""
    site.desk.report(body)


@router.get("/courier/progress")
def courier_progress(site: Site, courier: Courier) -> dict[str, float]:
    """How far the federated work at hand is."""
    return {"progress": site.participant.progress()}


@router.post("/train", response_class=Response)
def train(site: Site, courier: Courier, data: Payload) -> Response:
    """Payload of kind ``global`` in, payload of kind ``update`` out."""
    site.desk.seen()
    return Response(site.participant.train(data), media_type=PAYLOAD)


@router.post("/offer")
def offer(site: Site, courier: Courier, data: Payload) -> dict[str, Any]:
    """Payload of kind ``aggregate`` in, the gate's decision out."""
    site.desk.seen()
    return site.participant.offer(data)


@router.post("/evaluate")
def evaluate(site: Site, courier: Courier, data: Payload) -> dict[str, Any]:
    """The gate's view on a payload, which is not kept."""
    site.desk.seen()
    return site.participant.evaluate(data)
