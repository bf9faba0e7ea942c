"""``/learning``: teach the site from its corrections, watch it, cancel it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.errors import Conflict
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.learner import request_learning
from monailabel_app.learning.policy import Policy
from monailabel_app.learning.rules import site_rule
from monailabel_app.learning.schedule import facts_of, read_policy, save_policy
from monailabel_app.routes.roles import Annotator, Reviewer, Site, Viewer
from monailabel_app.state.context import SiteContext

__all__ = ["learning_status", "router"]

router = APIRouter(prefix="/learning", tags=["Learning"])


class LearnRequest(BaseModel):
    """What to learn; everything has a default."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, max_length=64)
    steps: int | None = Field(default=None, ge=1, le=100_000)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)


class GateSettings(BaseModel):
    """The gate's rule; what is left out stays as it is. See :class:`GateRule`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    margin: float | None = Field(default=None, ge=0, le=1)
    confidence: float | None = Field(default=None, ge=0.5, le=0.999)
    case_floor: float | None = Field(default=None, ge=-1, le=0)
    label_floor: float | None = Field(default=None, ge=-1, le=0)
    surface_limit_mm: float | None = Field(default=None, ge=0, le=1000)
    spread: float | None = Field(default=None, gt=0, le=1)


def learning_status(job: Job | None, default_model: str) -> dict[str, Any]:
    """A learning job as clients see it; ``idle`` where there was none."""
    if job is None:
        return {
            "state": "idle",
            "job": None,
            "model": default_model,
            "progress": 0.0,
            "seconds_left": None,
            "message": "nothing was learned yet",
            "curve": [],
            "result": None,
        }
    keys = ("version", "promoted", "reason", "dice_champion", "dice_challenger")
    return {
        "state": "training" if job.state == "running" else job.state,
        "job": job.id,
        "model": job.model,
        "progress": job.progress,
        "seconds_left": job.seconds_left,
        "message": job.message,
        "curve": job.curve,
        "result": {key: job.result[key] for key in keys} if job.result is not None else None,
    }


@router.get("")
def get_learning(site: Site, user: Viewer) -> dict[str, Any]:
    """The job at work, or the newest one."""
    return learning_status(site.state.jobs.latest("learn"), site.default_model)


@router.post("", status_code=202)
def post_learning(site: Site, user: Annotator, request: LearnRequest | None = None) -> dict[str, Any]:
    """Queue learning from the site's corrections; 409 without any. A job that waits already is the answer."""
    request = request or LearnRequest()
    job = request_learning(site, request.model, request.steps, request.seed, author=user.name)
    return learning_status(job, site.default_model)


@router.delete("")
def delete_learning(site: Site, user: Annotator) -> dict[str, Any]:
    """Cancel all learning that has not ended; 409 where there is none."""
    jobs = [job for job in site.state.jobs.active() if job.kind == "learn"]
    if not jobs:
        raise Conflict("nothing is being learned", "GET /learning shows the last result")
    cancelled = [site.state.jobs.cancel(job.number) for job in jobs]
    return learning_status(cancelled[0], site.default_model)


@router.get("/gate")
def get_gate(site: Site, user: Viewer) -> dict[str, Any]:
    """The rule by which new versions are judged, and on how many cases."""
    return _gate(site)


@router.put("/gate")
def put_gate(site: Site, user: Reviewer, settings: GateSettings) -> dict[str, Any]:
    """Change the rule for versions to come; what was decided stays."""
    with site.state.database.transaction():
        rule = replace(site_rule(site.state), **settings.model_dump(exclude_none=True))
        site.state.settings.set("gate", asdict(rule))
    return _gate(site)


@router.get("/policy")
def get_policy(site: Site, user: Viewer) -> dict[str, Any]:
    """When the site learns by itself, and how many corrections are new."""
    return _policy(site)


@router.put("/policy")
def put_policy(site: Site, user: Reviewer, policy: Policy) -> dict[str, Any]:
    """Let the site learn after so many corrections, when idle, or at night; all left out: by hand only."""
    save_policy(site.state, policy)
    return _policy(site)


def _policy(site: SiteContext) -> dict[str, Any]:
    facts = facts_of(site.state, site.default_model)
    return {"policy": read_policy(site.state).model_dump(), "model": site.default_model, "new_corrections": facts.new}


def _gate(site: SiteContext) -> dict[str, Any]:
    rule = site_rule(site.state)
    parts = site.state.splits.all()
    corrected = {correction.case for correction in site.state.corrections.list()}
    validation = [case for case, part in parts.items() if part == "validation"]
    count = sum(case in corrected for case in validation)
    return {
        "rule": asdict(rule),
        "evidence": "validation cases" if count >= rule.cases_needed else "validation cases and cross-validation",
        "validation_cases": count,
        "cases_needed": rule.cases_needed,
        "to_correct": [case for case in validation if case not in corrected][:20],
        "parts": parts,
    }
