"""The running site, as a dependency of routes; the caller's role comes from :mod:`.roles`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from monailabel_app.app_context import Site, current_site
from monailabel_app.routes.roles import Admin, Annotator, Reviewer, Viewer

__all__ = ["Admin", "Annotator", "CurrentSite", "Reviewer", "Viewer"]


async def _site() -> Site:  # async: a plain function would cost a thread change
    return current_site()


CurrentSite = Annotated[Site, Depends(_site)]
