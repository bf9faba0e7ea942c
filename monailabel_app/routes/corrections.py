"""``/corrections``: the masks that annotators submitted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app.routes.roles import Reviewer, Site, Viewer
from monailabel_app.state.corrections import Correction

__all__ = ["router"]

router = APIRouter(prefix="/corrections", tags=["Corrections"])

_SHOWN = (
    "id",
    "case",
    "author",
    "submitted_at",
    "seconds",
    "model_shown",
    "version_shown",
    "dice_shown",
    "part",
    "annotated",
    "prompts",
    "image_sha256",
    "mask_sha256",
)


@router.get("")
def list_corrections(site: Site, user: Viewer, case: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """All corrections, oldest first. Of each case one is ``used``: the chosen, else the newest."""
    used = site.state.corrections.used()
    found = [c for c in site.state.corrections.list() if case in (None, c.case)]
    return {"corrections": [{**_summary(c), "used": c.id in used} for c in found]}


@router.get("/{correction}")
def get_correction(site: Site, user: Viewer, correction: str) -> dict[str, Any]:
    """One correction with the prompts that led to it."""
    found = site.state.corrections.get(correction)
    return {**_summary(found), "prompt_list": site.state.prompts.of_correction(found.id)}


@router.post("/{correction}/choose")
def choose_correction(site: Site, user: Reviewer, correction: str) -> dict[str, Any]:
    """Let this correction count instead of newer ones of its case, until the case is submitted again."""
    return {**_summary(site.state.corrections.choose(correction, user.name)), "used": True}


def _summary(correction: Correction) -> dict[str, Any]:
    return {name: getattr(correction, name) for name in _SHOWN}
