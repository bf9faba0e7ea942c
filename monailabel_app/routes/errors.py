"""Every error of the site as JSON ``{error, detail, hint}`` with a fitting status."""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fed_backend.errors import FedSegError, PayloadError, PlanError, RoundBusyError
from monailabel_app.errors import SiteError

__all__ = ["add_error_handlers", "error_response", "status_of"]

logger = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[FedSegError], int], ...] = (
    (PayloadError, 422),
    (PlanError, 422),
    (RoundBusyError, 409),
)

_FULL = (errno.ENOSPC, errno.EDQUOT)

_HINTS = {
    401: "log in first: POST /auth/token",
    404: "see /docs for what this site offers",
    405: "see /docs for the methods of this address",
    413: "send a smaller file",
    422: "correct the named field",
}


def status_of(error: FedSegError) -> int:
    """The HTTP status that an error of ours becomes."""
    if isinstance(error, SiteError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def error_response(
    status: int, error: str, detail: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """One error reply; the hint falls back to a general one for the status."""
    body = {"error": error, "detail": detail, "hint": hint or _HINTS.get(status, "")}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def known_error(error: FedSegError) -> JSONResponse:
    """Reply for an error that was raised on purpose."""
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return error_response(status, type(error).__name__, error.detail, error.hint, headers)


def unknown_error(error: BaseException) -> JSONResponse:
    """Reply for anything else: a full disk by name; otherwise a reference, and the cause in the log only."""
    if isinstance(error, OSError) and error.errno in _FULL:
        logger.error("a request failed: the disk is full")
        hint = "free disk space there, then try again"
        return error_response(507, "InsufficientStorage", "the disk of the site is full", hint)
    reference = secrets.token_hex(4)
    logger.error("request failed, reference %s", reference, exc_info=error)
    return error_response(
        500,
        "InternalError",
        f"the site failed on this request (reference {reference})",
        "try again; if it stays, the site's log has the cause under this reference",
    )


def add_error_handlers(app: FastAPI) -> None:
    """Install the handlers on ``app`` (ours, and MONAI Label's below it)."""

    async def on_known(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, FedSegError)
        return known_error(error)

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        name = HTTPStatus(error.status_code).phrase.replace(" ", "")
        return error_response(error.status_code, name, str(error.detail), headers=error.headers)

    async def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        parts = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        return error_response(422, "ValidationError", "; ".join(parts))

    async def on_unknown(request: Request, error: Exception) -> JSONResponse:
        return unknown_error(error)

    app.add_exception_handler(FedSegError, on_known)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_unknown)
