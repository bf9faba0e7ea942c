"""``/federation``: rounds for users of the site, and the door for its courier.

Users see and start rounds. The courier, by its token, fetches requests, brings verdicts and reports,
and carries payloads in and out; a payload is read in full (up to the plan's limit) before the work
begins, so a connection that breaks changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fed_backend.methods import GOSSIP
from fed_backend.plan import Plan
from monailabel_app.errors import Conflict, TooLarge
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.door import Door
from monailabel_app.federation.privacy import PrivacyLedger
from monailabel_app.federation.rounds import Verdict
from monailabel_app.routes.roles import Admin, Courier, Reviewer, Site, Viewer
from monailabel_app.state.context import SiteContext
from monailabel_app.state.rounds import RoundReport

__all__ = ["Payload", "door_of", "router"]

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


class ApprovalRequest(BaseModel):
    """Approve the plan with this hash, or take the approval back."""

    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    approved: bool = True


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
        "approved": _approval(site),
        "privacy": PrivacyLedger(site.state.database).summary(plan),
    }
    return {
        "enabled": plan is not None,
        "site": site.site_name,
        "plan": summary,
        "courier": site.desk.courier(),
        "peers": site.desk.peers(),
        "rounds": [r.model_dump(exclude={"history"}) for r in site.state.rounds.list()],
        "paused": site.state.settings.paused,
    }


@router.post("/rounds", status_code=202)
def start_rounds(site: Site, user: Reviewer, request: StartRequest | None = None) -> dict[str, str]:
    """Ask the hub for a run of rounds; answers once the hub has decided (15 s at most)."""
    request = request or StartRequest()
    return {"id": site.desk.start(request.method, request.rounds, user.name)}


@router.get("/rounds/{identifier}")
def get_rounds(site: Site, user: Viewer, identifier: str) -> RoundReport:
    """The newest report about a run."""
    return site.state.rounds.get(identifier)


@router.delete("/rounds/{identifier}", status_code=202)
def stop_rounds(site: Site, user: Reviewer, identifier: str) -> RoundReport:
    """Ask the hub to stop a run; the round at work is given up."""
    site.desk.stop(identifier, user.name)
    return site.state.rounds.get(identifier)


@router.post("/pause")
def pause(site: Site, user: Admin, request: PauseRequest) -> dict[str, bool]:
    """Take no part in rounds, or take part again."""
    with site.state.database.transaction():
        site.state.settings.paused = request.paused
        site.state.audit.append("paused" if request.paused else "resumed", user.name, "rounds")
    return {"paused": request.paused}


@router.get("/plan")
def get_plan(site: Site, user: Viewer) -> dict[str, Any]:
    """The whole plan, its hash, and who approved it here and when (``null``: nobody)."""
    return {**_plan(site).as_json(), "sha256": _plan(site).sha256, "approved": _approval(site)}


@router.post("/plan")
def approve_plan(site: Site, user: Admin, request: ApprovalRequest) -> dict[str, Any]:
    """Approve the plan that this site holds, or take the approval back."""
    plan, consent = _plan(site), Consent(site.state.database)
    if request.approved:
        consent.approve(plan, request.sha256, user.name)
    else:
        consent.withdraw(plan, user.name)
    return {"sha256": plan.sha256, "approved": _approval(site)}


def _plan(site: SiteContext) -> Plan:
    if site.plan is None:
        raise Conflict("this site has no plan", "start the site with --plan FILE, the plan of its kit")
    return site.plan


def _approval(site: SiteContext) -> dict[str, str] | None:
    approval = Consent(site.state.database).of(site.plan) if site.plan is not None else None
    return None if approval is None else asdict(approval)


@router.get("/audit")
def audit(
    site: Site,
    user: Admin,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> dict[str, Any]:
    """What came in from the federation and what went out, in order; ``head`` is the newest entry's hash."""
    head = site.state.audit.head()
    entries = [entry.as_json() for entry in site.state.audit.list(after, limit)]
    return {"entries": entries, "count": head.entries, "head": head.head}


# -- the courier -------------------------------------------------------------------------------


@router.get("/courier/requests")
def courier_requests(site: Site, courier: Courier, wait: Annotated[float, Query(ge=0, le=60)] = 0.0) -> dict[str, Any]:
    """New requests of this site's users; waits up to ``wait`` seconds for the first."""
    found = {
        "site": site.site_name,
        "plan_sha256": site.plan.sha256 if site.plan is not None else None,
        "requests": site.desk.fetch(wait),
    }
    if site.plan is None or site.plan.method.name not in GOSSIP:
        return found
    return {**found, "lent": door_of(site).lent(), "examples": site.participant.examples()}


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
    return Response(door_of(site).train(data), media_type=PAYLOAD)


@router.post("/offer")
def offer(site: Site, courier: Courier, data: Payload) -> Response:
    """Payload of kind ``aggregate`` in, the gate's decision out."""
    return Response(door_of(site).offer(data), media_type="application/json")


@router.post("/evaluate")
def evaluate(site: Site, courier: Courier, data: Payload) -> Response:
    """The gate's view on a payload, which is not kept."""
    return Response(door_of(site).evaluate(data), media_type="application/json")


@router.post("/leaving", status_code=204, response_class=Response)
def leaving(
    site: Site,
    courier: Courier,
    data: Payload,
    step: Annotated[str, Query(pattern="^(keys|shares|mask|agree|reveal)$")],
    run: Annotated[str, Query(max_length=64)],
    number: Annotated[int, Query(ge=0, alias="round")],
    sites: Annotated[str, Query(max_length=2**16, pattern="^[A-Za-z0-9_,-]*$")] = "",
) -> None:
    """Note what the courier is about to send for a secure sum with other sites; it leaves only after a 204."""
    door_of(site).leaving(step, run, number, [name for name in sites.split(",") if name], data)


def door_of(site: SiteContext) -> Door:
    """The door of a site, through which its courier just came."""
    site.desk.seen()
    return Door(site.participant, site.state.database, site.plan)
