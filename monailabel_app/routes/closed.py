"""Stock addresses that this site does not open, each with the reason and the way to go instead.

``/reload`` drops MONAI Label's app under running requests, ``/proxy`` fetches what a caller names,
``/logs`` and ``/model`` hand out and overwrite server files, batch inference, scoring and whole-slide
inference start processes beside the site's own locks and records.
"""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from monailabel_app.routes.errors import error_response

__all__ = ["StockRest"]

_CLOSED: tuple[tuple[str, int, str, str], ...] = (
    ("/reload", 403, "the app is not reloaded while it serves", "stop the site and start it again"),
    ("/proxy", 404, "this site has no DICOMweb proxy", "put images into the studies folder as NIfTI or NRRD"),
    ("/logs", 404, "logs are not served", "read the log where the site was started"),
    ("/model", 403, "model files are not exchanged this way", "GET /versions lists versions; /learning makes them"),
    ("/batch", 404, "batch inference is not offered", "POST /infer/{model}?image=ID for each case"),
    ("/scoring", 404, "scoring is not offered", "GET /versions/{id}/report has the scores of each version"),
    ("/infer/wsi", 404, "whole-slide images are not served here", "POST /infer/{model}?image=ID"),
)
_SERVED = re.compile(r"^/($|docs$|favicon\.ico$|static/|ohif(/|$))")
_ADD_SLASH = re.compile(r"^/(info|auth|session|datastore|train)$")
_DROP_SLASH = re.compile(r"^/(learning|versions|corrections|federation|federation/rounds)/$")


class StockRest:
    """What is left of MONAI Label's own app below ours: its pages, and nothing that acts.

    Args:
        app: MONAI Label's ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if _ADD_SLASH.match(path) or _DROP_SLASH.match(path):
            target = f"{path}/" if _ADD_SLASH.match(path) else path.rstrip("/")
            query = scope.get("query_string", b"").decode("latin-1")
            await RedirectResponse(f"{target}?{query}" if query else target)(scope, receive, send)
            return
        if _SERVED.match(path) and method in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        for prefix, status, detail, hint in _CLOSED:
            if path == prefix or path.startswith((prefix + "/", prefix + "_")):
                name = "Forbidden" if status == 403 else "NotFound"
                await error_response(status, name, detail, hint)(scope, receive, send)
                return
        await error_response(404, "NotFound", f"there is no {method} {path[:120]}")(scope, receive, send)
