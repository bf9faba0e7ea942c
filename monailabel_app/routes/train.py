"""``/train/``: MONAI Label's training interface over the site's learner.

Stock clients start, poll and stop a task. Here a task is a learning job: it fine-tunes the champion
on the corrections and the gate decides whether the result serves.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.app_context import Site
from monailabel_app.errors import Conflict, NotFound, SiteError
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.learner import request_learning
from monailabel_app.routes.access import CurrentSite, Reviewer, Viewer
from monailabel_app.routes.forms import parse_model

__all__ = ["router"]

router = APIRouter(prefix="/train", tags=["Train"])

_STATUS = {
    "queued": "SUBMITTED",
    "running": "RUNNING",
    "gating": "RUNNING",
    "done": "DONE",
    "failed": "ERROR",
    "cancelled": "STOPPED",
}
_SYNC_LIMIT_S = 3600.0


class Busy(SiteError):
    """Raised when a training is asked for while one runs; stock clients know the status."""

    status = 429


class TrainParams(BaseModel):
    """What is used of a stock training request; the rest (device, epochs, ...) is ignored.

    Attributes:
        steps: gradient steps; the site's or plan's when left out.
        seed: seed of the training.
    """

    model_config = ConfigDict(extra="ignore")

    steps: int | None = Field(default=None, ge=1, le=100_000)
    seed: int | None = Field(default=None, ge=0, lt=2**31)


@router.get("/", summary="Get Status of Training Task", response_model=None)
def status(
    site: CurrentSite, user: Viewer, all: bool = False, check_if_running: bool = False
) -> dict[str, Any] | list[dict[str, Any]]:
    """The newest task; 404 where there is none, or none is running if only that was asked.

    Raises:
        NotFound: see above.
    """
    if check_if_running:
        running = _active(site)
        if not running:
            raise NotFound("no training is running", "POST /train/{model} starts one")
        return _task(running[0])
    job = site.context.state.jobs.latest("learn")
    if job is None:
        raise NotFound("there was no training yet", "POST /train/{model} starts one")
    return [_task(job)] if all else _task(job)


@router.post("/", summary="Run All Training Tasks", include_in_schema=False, deprecated=True)
def run_all(
    site: CurrentSite, user: Reviewer, params: Annotated[dict[str, Any] | None, Body()] = None, run_sync: bool = False
) -> dict[str, Any]:
    """Queue a task for every model that has its own entry in ``params``, or for all."""
    result = {}
    for model in site.models:
        own = (params or {}).get(model)
        task = _start(site, model, own if isinstance(own, dict) else params, user.name, run_sync)
        result[model] = {"result": task, "detail": None}
    return result


@router.post("/{model}", summary="Run Training Task for specific model")
def run(
    model: str,
    site: CurrentSite,
    user: Reviewer,
    params: Annotated[dict[str, Any] | None, Body()] = None,
    run_sync: bool = False,
    enqueue: bool = False,
) -> dict[str, Any]:
    """Queue a task.

    Raises:
        NotFound: no such model.
        Busy: a training runs, and ``enqueue`` was not asked for.
        Conflict: nothing to learn from yet.
    """
    site.context.model(model)
    running = _active(site)
    if running and not enqueue:
        raise Busy(f"a training is running already ({running[0].id})", "wait for it, stop it, or add ?enqueue=true")
    return _start(site, model, params, user.name, run_sync)


@router.delete("/", summary="Stop Training Task", response_model=None)
def stop(site: CurrentSite, user: Reviewer) -> dict[str, Any] | None:
    """Cancel the training; ``null`` where none runs."""
    stopped: Job | None = None
    for job in _active(site):
        try:
            stopped = stopped or site.context.state.jobs.cancel(job.number)
        except Conflict:  # it ended in between
            continue
    return _task(stopped) if stopped else None


def _start(site: Site, model: str, params: dict[str, Any] | None, author: str, run_sync: bool) -> dict[str, Any]:
    wanted = parse_model(TrainParams, params or {}, "body")
    job = request_learning(site.context, model, wanted.steps, wanted.seed, author)
    if run_sync:
        job = site.context.state.jobs.wait(job.number, _SYNC_LIMIT_S)
    return _task(job)


def _active(site: Site) -> list[Job]:
    return [job for job in site.context.state.jobs.active() if job.kind == "learn"]


def _task(job: Job) -> dict[str, Any]:
    """A job in the form of MONAI Label's tasks."""
    task = {
        "id": job.id,
        "status": "STOPPED" if job.cancel else _STATUS[job.state],
        "request": {"model": job.model, **{key: value for key, value in job.params.items() if value is not None}},
        "start_ts": _stamp(job.started_at or job.created_at),
        "details": [job.message],
        "progress": job.progress,
    }
    if job.finished_at:
        task["end_ts"] = _stamp(job.finished_at)
    return task


def _stamp(iso: str) -> str:
    return iso[:19].replace("T", " ")
