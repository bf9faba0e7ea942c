"""``/sessions``: prompting a model interactively (docs/reference/interactive.md).

Plain functions, run in a thread each; a session belongs to whoever opened it.
"""

from __future__ import annotations

import base64
import time
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.errors import NotFound
from monailabel_app.inference.planes import AXES, axis_names, axis_of
from monailabel_app.interactive.history import box_slices
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.interactive.propagation import Propagation, PropagationStatus
from monailabel_app.interactive.records import Opened
from monailabel_app.interactive.session import Answer
from monailabel_app.interactive.windows import WindowRequest, describe
from monailabel_app.interactive.wire import MEDIA_TYPE, pack, squeeze
from monailabel_app.middleware import check_id
from monailabel_app.routes.access import Annotator, CurrentSite

__all__ = ["router"]

router = APIRouter(prefix="/sessions", tags=["Interactive"])

Accept = Annotated[str, Header()]


class OpenRequest(BaseModel):
    """The body of ``POST /sessions``."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(min_length=1, max_length=200)
    model: str | None = None
    label: str | None = None
    axis: str | int | None = None
    window: WindowRequest = WindowRequest()
    initial: bool = False


class ViewRequest(BaseModel):
    """The body of ``POST /sessions/{session}/view``."""

    model_config = ConfigDict(extra="forbid")

    axis: str | int | None = None
    index: int


class PropagateRequest(BaseModel):
    """The body of ``POST /sessions/{session}/propagate``."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = None
    axis: str | int | None = None
    reach: int = Field(default=1000, ge=1)
    slices: list[int] = Field(default=[], max_length=1000)


@router.post("", status_code=201, summary="Open an interactive session")
def open_session(request: OpenRequest, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """Open a case for prompting; features around its middle are fetched at once."""
    opened = site.interactive.open(
        user.name,
        check_id(request.image, "image"),
        model=request.model,
        label=request.label,
        axis=request.axis,
        window=request.window,
        initial=request.initial,
    )
    return _described(opened)


@router.get("", summary="My interactive sessions")
def list_sessions(site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """The caller's open sessions."""
    return {"sessions": [_described(opened) for opened in site.interactive.sessions(user.name)]}


@router.get("/{session}", summary="One interactive session")
def get_session(session: str, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """A session of the caller's."""
    return _described(site.interactive.find(session, user.name))


@router.delete("/{session}", summary="Close an interactive session")
def close_session(session: str, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """End a session; its prompts and its mask stay recorded."""
    opened = site.interactive.find(session, user.name)
    site.interactive.close(opened)
    return {"session": opened.session.id, "closed": True}


@router.post("/{session}/prompts", summary="Prompt a model", response_model=None)
def prompt(session: str, request: PromptRequest, site: CurrentSite, user: Annotator, accept: Accept = "") -> Response:
    """Take points, a box, scribbles or a mask; answer with the changed box."""
    start = time.perf_counter()
    opened = site.interactive.find(session, user.name)
    return _reply(opened, site.interactive.prompt(opened, request), accept, start)


@router.post("/{session}/undo", summary="Take a step back", response_model=None)
def undo(session: str, site: CurrentSite, user: Annotator, accept: Accept = "") -> Response:
    """Undo the last step; answer with the changed box."""
    start = time.perf_counter()
    opened = site.interactive.find(session, user.name)
    return _reply(opened, site.interactive.undo(opened), accept, start)


@router.post("/{session}/redo", summary="Do an undone step again", response_model=None)
def redo(session: str, site: CurrentSite, user: Annotator, accept: Accept = "") -> Response:
    """Redo the last undone step; answer with the changed box."""
    start = time.perf_counter()
    opened = site.interactive.find(session, user.name)
    return _reply(opened, site.interactive.undo(opened, redo=True), accept, start)


@router.post("/{session}/view", summary="Say which slice is looked at")
def view(session: str, request: ViewRequest, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """Fetch features ahead around a slice; ``warm`` tells whether a click on it would find them."""
    opened = site.interactive.find(session, user.name)
    axis = opened.session.axis if request.axis is None else axis_of(opened.session.volume, request.axis)
    return {"warm": site.interactive.look(opened, axis, request.index)}


@router.get("/{session}/mask", summary="The session's whole mask", response_model=None)
def mask(session: str, site: CurrentSite, user: Annotator, accept: Accept = "") -> Response:
    """The box around everything labelled, as after an edit."""
    start = time.perf_counter()
    opened = site.interactive.find(session, user.name)
    with opened.session.lock:
        labels = opened.session.mask
        bounds = []
        for axis in range(3):
            where = np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis)))
            bounds.append((int(where[0]), int(where[-1])) if where.size else None)
        answer = Answer(opened.session.step, None, opened.session.version, axis=opened.session.axis)
        i, j, k = bounds
        if i is not None and j is not None and k is not None:
            answer.box = (i[0], j[0], k[0], i[1], j[1], k[1])
    return _reply(opened, answer, accept, start)


@router.get("/{session}/changes", summary="What changed since a step", response_model=None)
def changes(
    session: str, site: CurrentSite, user: Annotator, since: Annotated[int, Query(ge=0)], accept: Accept = ""
) -> Response:
    """The box around everything that changed after step ``since``, for instance by a propagation."""
    start = time.perf_counter()
    opened = site.interactive.find(session, user.name)
    with opened.session.lock:
        box = opened.session.changed_since(since)
        answer = Answer(opened.session.step, box, opened.session.version, axis=opened.session.axis)
    return _reply(opened, answer, accept, start)


@router.post("/{session}/propagate", status_code=202, summary="From prompted slices to a volume")
def start_propagation(session: str, request: PropagateRequest, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """Carry a label's masks on from its prompted slices; answers at once."""
    opened = site.interactive.find(session, user.name)
    axis = opened.session.axis if request.axis is None else axis_of(opened.session.volume, request.axis)
    work = site.interactive.propagate(opened, request.label, axis, request.reach, request.slices)
    return _progress(work.status)


@router.get("/{session}/propagate", summary="How far the propagation is")
def get_propagation(session: str, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """State and slices of the propagation that runs, or ran last."""
    return _progress(_work(site.interactive.find(session, user.name)).status)


@router.delete("/{session}/propagate", summary="Cancel the propagation")
def cancel_propagation(session: str, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """Stop after the slice it works on; what it found is kept as one step."""
    work = _work(site.interactive.find(session, user.name))
    work.cancel()
    work.wait(10.0)
    return _progress(work.status)


def _work(opened: Opened) -> Propagation:
    if opened.work is None:
        raise NotFound("nothing was propagated in this session", "POST to this address to start")
    return opened.work


def _progress(status: PropagationStatus) -> dict[str, Any]:
    return {**asdict(status), "axis": AXES[status.axis]}


def _described(opened: Opened) -> dict[str, Any]:
    session = opened.session
    names = axis_names(session.volume)
    return {
        "session": session.id,
        "image": session.case,
        "model": opened.engine.name,
        "version": session.version,
        "labels": session.labels,
        "label": session.label,
        "shape": list(session.volume.shape),
        "axis": AXES[session.axis],
        "axes": {name: {"axis": AXES[axis], "slices": session.volume.shape[axis]} for name, axis in names.items()},
        "window": describe(session.window),
        "step": session.step,
        "undo": session.history.can_undo,
        "redo": session.history.can_redo,
    }


def _reply(opened: Opened, answer: Answer, accept: str, start: float) -> Response:
    session = opened.session
    packed = answer.packed
    if answer.box is not None and packed is None:
        with session.lock:
            packed = squeeze(session.mask[box_slices(answer.box)])
    low_high = [answer.box[answer.axis], answer.box[answer.axis + 3]] if answer.box else answer.slices
    answer.milliseconds["total"] = (time.perf_counter() - start) * 1e3
    header = {
        "session": session.id,
        "step": answer.step,
        "version": answer.version,
        "box": answer.box,
        "axis": AXES[answer.axis],
        "slices": low_high,
        "score": None if answer.score is None else round(answer.score, 4),
        "features": answer.sources,
        "milliseconds": {stage: round(spent, 3) for stage, spent in answer.milliseconds.items()},
        "window": describe(session.window),
        "undo": session.history.can_undo,
        "redo": session.history.can_redo,
    }
    if "application/json" in accept:
        body = base64.b64encode(packed or b"").decode() if answer.box else None
        return JSONResponse({**header, "voxels": body})
    return Response(pack(header, packed if answer.box else None), media_type=MEDIA_TYPE)
