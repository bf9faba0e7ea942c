"""``POST /activelearning/{strategy}``: which case to look at next."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from monailabel.interfaces.utils.app import app_instance

from monailabel_app.errors import NotFound
from monailabel_app.routes.access import CurrentSite, Viewer

__all__ = ["router"]

router = APIRouter(prefix="/activelearning", tags=["ActiveLearning"])


@router.post("/{strategy}", summary="Run Active Learning strategy to get next sample")
def next_case(
    strategy: str, site: CurrentSite, user: Viewer, params: Annotated[dict[str, Any] | None, Body()] = None
) -> dict[str, Any]:
    """The next case without a correction as ``{"id", "name", ...}``, or ``{}`` where none is left.

    The image's place on the server is not told: clients fetch it from ``/datastore/image``.

    Raises:
        NotFound: no such strategy.
    """
    app = app_instance()
    known = app.info()["strategies"]
    if strategy not in known:
        raise NotFound(f"there is no strategy {strategy[:40]!r}", f"use one of: {', '.join(known)}")
    site.datastore.rescan()
    sample = app.next_sample({**(params or {}), "strategy": strategy})
    if not sample:
        return {}
    details = {key: value for key, value in site.datastore.get_image_info(sample["id"]).items() if key != "path"}
    return {**details, **{key: value for key, value in sample.items() if key != "path"}}
