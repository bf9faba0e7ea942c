"""``GET /info/``: what MONAI Label's clients ask first, and often.

Answered on the event loop, without touching the image folder, a model lock, or the records: counts
are kept, the champion is a small file. Every change of thread would wait for the interpreter lock
that an inference holds, so there is none, and it stays quick while one runs.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from monailabel.interfaces.utils.app import app_instance

from monailabel_app import __version__
from monailabel_app.app_context import Site
from monailabel_app.auth import User
from monailabel_app.errors import SiteError
from monailabel_app.routes.access import CurrentSite, Viewer

__all__ = ["router"]

router = APIRouter(prefix="/info", tags=["App"])


@router.get("/", summary="Get App Info")
async def info(site: CurrentSite, user: Viewer) -> dict[str, Any]:
    """MONAI Label's description of the app, and ``fedseg``: this site's own part."""
    described: dict[str, Any] = app_instance().info()
    return {**described, "fedseg": site_info(site, user)}


def site_info(site: Site, user: User) -> dict[str, Any]:
    """Version, label schema with colours, champions, federation, and the caller's role."""
    return {
        "version": __version__,
        "site": site.name,
        "labels": dict(site.labels),
        "colors": site.colors,
        "codes": site.codes,
        "models": {model: {"champion": _champion(site, model)} for model in site.models},
        "federation": site.context.plan is not None,
        "role": user.role,
        "user": user.name,
    }


def _champion(site: Site, model: str) -> str | None:
    try:
        return site.context.state.versions(model).champion()
    except SiteError:  # a damaged pointer must not hide the site; GET /versions says what is wrong
        return None
