"""The site's ASGI app: our routes first, MONAI Label's pages below them.

MONAI Label's endpoints are ``async`` over synchronous work, so one inference stops the whole server,
and several trust names and paths from the caller. Every endpoint that acts is therefore served here
as a plain function (run in a thread) over the same app object; see ``routes/``. ``/openapi.json``
stays a superset of MONAI Label's.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI

from monailabel_app import __version__
from monailabel_app.app_context import Site
from monailabel_app.middleware import Authentication, SafeIds, UploadLimit
from monailabel_app.routes import cases, compare, images, infer, info, interactive, labels, login, session, train
from monailabel_app.routes.closed import StockRest
from monailabel_app.routes.corrections import router as corrections_router
from monailabel_app.routes.errors import add_error_handlers
from monailabel_app.routes.federation import router as federation_router
from monailabel_app.routes.learning import router as learning_router
from monailabel_app.routes.metrics import router as metrics_router
from monailabel_app.routes.peers import router as peers_router
from monailabel_app.routes.statistics import router as statistics_router
from monailabel_app.routes.versions import router as versions_router

__all__ = ["create_app"]

logger = logging.getLogger(__name__)

_THREADS = 100
"""Requests handled at once: long polls and queued inferences must not starve ``/info/``."""


def create_app(site: Site) -> FastAPI:
    """Build the app over a site that is open; MONAI Label's environment must be set.

    Args:
        site: what serves; closed by whoever opened it.
    """
    from monailabel.app import app as stock
    from monailabel.app import lifespan as stock_lifespan

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        async with stock_lifespan(stock):
            yield

    app = FastAPI(
        title="SlicerFedSeg",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    for module in (info, cases, compare, infer, interactive, images, labels, train, session, login):
        app.include_router(module.router)
    for router in (
        learning_router,
        versions_router,
        corrections_router,
        federation_router,
        peers_router,
        statistics_router,
        metrics_router,
    ):
        app.include_router(router)
    site.context.state.metrics_token()  # there before anybody asks
    add_error_handlers(app)
    add_error_handlers(stock)
    app.mount("/", StockRest(stock))
    app.add_middleware(SafeIds)
    app.add_middleware(Authentication, authenticator=site.authenticator)
    app.add_middleware(UploadLimit, limit=site.settings.upload_limit)
    _merge_openapi(app, stock)
    return app


def _merge_openapi(app: FastAPI, stock: FastAPI) -> None:
    """Let ``app.openapi()`` describe MONAI Label's addresses too; ours win."""
    own = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None or "x-stock" not in app.openapi_schema:
            app.openapi_schema = {**_merged(own(), copy.deepcopy(stock.openapi())), "x-stock": "MONAI Label"}
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _merged(schema: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with the addresses, parameters and components that only ``theirs`` has."""
    for path, operations in theirs.get("paths", {}).items():
        for method, operation in operations.items():
            mine = schema["paths"].setdefault(path, {}).setdefault(method, operation)
            known = {(p["in"], p["name"]) for p in mine.get("parameters", [])}
            extra = [p for p in operation.get("parameters", []) if (p["in"], p["name"]) not in known]
            if extra:  # accepted and ignored, e.g. the token that stock routes take from the query
                mine["parameters"] = [*mine.get("parameters", []), *extra]
    for kind, parts in theirs.get("components", {}).items():
        mine = schema.setdefault("components", {}).setdefault(kind, {})
        schema["components"][kind] = {**parts, **mine}
    return schema
