"""``/statistics``: whether the site saves its annotators work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monailabel_app.learning.statistics import statistics
from monailabel_app.routes.roles import Site, Viewer

__all__ = ["router"]

router = APIRouter(prefix="/statistics", tags=["Statistics"])


@router.get("")
def get_statistics(site: Site, user: Viewer) -> dict[str, Any]:
    """Corrections over time; Dice of the masks shown, seconds and clicks per case, by version."""
    return statistics(site.state.corrections.list())
