"""What every request passes before a route sees it: size, sender, identifiers.

Plain ASGI, outermost first: :class:`UploadLimit`, :class:`Authentication`, :class:`SafeIds`.
A refusal is answered here, as JSON ``{error, detail, hint}``; the route never runs.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monailabel_app.auth import LOCAL_ADMIN, Authenticator, User
from monailabel_app.errors import SiteError, TooLarge
from monailabel_app.routes.errors import error_response, known_error
from monailabel_app.settings import is_loopback

__all__ = ["Authentication", "SafeIds", "UploadLimit", "check_id"]

_OPEN_PATHS = frozenset({"/auth", "/auth/", "/auth/token", "/", "/docs", "/openapi.json", "/favicon.ico"}) | {
    "/metrics",
    "/health",
}
_COURIER_PATHS = re.compile(r"^/federation/(courier(/.*)?|train|offer|evaluate|leaving|lend|visit)$")
_ID_PARAMETERS = frozenset({"id", "image", "label", "model", "session_id", "strategy", "tag", "version"})
_ID = re.compile(r"^[^/\\\x00-\x1f\x7f]{0,200}$")

COURIER = User("courier", "viewer")
"""Placeholder on the addresses that authenticate the courier's own token themselves."""


def check_id(value: str, what: str) -> str:
    """Return ``value`` if it can be one path component and nothing more.

    Raises:
        SiteError: it is absolute, has a separator, ``..``, or a control character, or is too long.
    """
    if not _ID.match(value) or ".." in value or value == "." or value[:1] == "~":
        raise SiteError(
            f"{what} {value[:60]!r} is not an identifier",
            "use the names that the site lists, without '/', '\\' or '..'",
        )
    return value


class UploadLimit:
    """Refuse a body above ``limit`` bytes, announced or streamed.

    Args:
        app: the next application.
        limit: largest body in bytes.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limit:
            await self._refuse(scope, receive, send)
            return
        meter = _Meter(receive, send, self.limit)
        with suppress(_BodyTooLarge):
            await self.app(scope, meter.receive, meter.send)
        if meter.exceeded and not meter.started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = f"{self.limit / 2**20:.0f} MiB" if self.limit >= 2**20 else f"{self.limit} bytes"
        reply = known_error(
            TooLarge(f"the upload is larger than {size}", "send a smaller file, or raise --upload-limit at the site")
        )
        reply.headers["Connection"] = "close"  # the rest of the body is not read
        await reply(scope, receive, send)


class _BodyTooLarge(Exception):
    """Unwinds the application from inside its read of the body."""


class _Meter:
    """Counts a body as it is read; once over, nothing that the application answers gets out."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send, self._left = receive, send, limit
        self.exceeded = False
        self.started = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.exceeded = True
                raise _BodyTooLarge
        return message

    async def send(self, message: Message) -> None:
        if self.exceeded and not self.started:
            return
        self.started = self.started or message["type"] == "http.response.start"
        await self._send(message)


class Authentication:
    """Put the caller into ``request.state.user``, or answer 401.

    Without users, the site listens on this machine only; then a page of another origin (or a
    rebound host name) in a local browser must not act as the local administrator: 403.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path: str = scope["path"]
        state = scope.setdefault("state", {})
        if _COURIER_PATHS.match(path):
            state["user"] = COURIER
        elif not self.authenticator.enabled:
            if _is_foreign(headers):
                reply = error_response(
                    403,
                    "Forbidden",
                    "this site serves its own machine only",
                    "open it as http://127.0.0.1, or set up users",
                )
                await reply(scope, receive, send)
                return
            state["user"] = LOCAL_ADMIN
        else:
            user = self._bearer(headers)
            if user is None and path not in _OPEN_PATHS and not path.startswith("/static/"):
                reply = error_response(
                    401,
                    "Unauthorised",
                    "no valid token was sent",
                    "POST /auth/token with username and password, then send Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer"},
                )
                await reply(scope, receive, send)
                return
            state["user"] = user
        await self.app(scope, receive, send)

    def _bearer(self, headers: Headers) -> User | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.authenticator.user(token.strip()) if scheme.lower() == "bearer" and token else None


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser page of another origin, or a rebound name, is behind a request."""
    hosts = [headers.get("host", "localhost")]
    if origin := headers.get("origin"):
        hosts.append(urlsplit(origin).netloc)
    return not all(is_loopback(urlsplit(f"//{host}").hostname or "") for host in hosts)


class SafeIds:
    """Answer 400 where a query parameter that names something is not an identifier."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                for name, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
                    if name in _ID_PARAMETERS:
                        check_id(value, name)
            except SiteError as error:
                await known_error(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)
