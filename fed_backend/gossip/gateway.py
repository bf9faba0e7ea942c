"""The peer gateway: what peers may ask of this site, and how each request is checked.

Everything that can be refused without the body is refused first; a body is written to disk while it
is read, and counts only if its length and its SHA-256 are what was announced. A peer that stalls,
breaks off or sends rubbish leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fed_backend.errors import FedSegError, PayloadError
from fed_backend.gossip.inbox import Inbox, Ticket
from fed_backend.gossip.protocol import (
    MAX_WAIT_S,
    MOST_EXCHANGES,
    PLAN,
    PROTOCOL,
    SHA256,
    Announcement,
    PeerBusy,
    VisitState,
    common_headers,
    skew,
)
from fed_backend.methods.gcml import GCML
from fed_backend.payload import read_header
from fed_backend.plan import Plan

__all__ = ["PEER", "Host", "check_body", "gateway_app"]

logger = logging.getLogger(__name__)

_STALL_S = 15.0  # a peer that sends nothing for this long has gone
_STORE_BYTES = 2**20  # of a body, received while what came before is stored
_FULL_S = 60.0  # a full disk is seldom emptied sooner
PEER = "fedseg.peer"
"""Where the server puts the name in the certificate of whoever asks: a key of the ASGI scope."""
_DIGEST = re.compile(r"^[0-9a-f]{64}$")


class Host:
    """The site behind a gateway, as its peers see it.

    Args:
        site: its name.
        plan: the plan it holds.
        inbox: takes visits.
        is_peer: whether a name is that of a peer.
        seen: called with the name of each peer that calls, and with why it is refused (or nothing).
        examples: corrected cases of the site.
    """

    def __init__(
        self,
        site: str,
        plan: Plan,
        inbox: Inbox,
        is_peer: Callable[[str], bool],
        seen: Callable[[str, str], None] = lambda name, refused: None,
        examples: Callable[[], int] = lambda: 0,
    ) -> None:
        self.site, self.plan, self.inbox = site, plan, inbox
        self.plan_sha256 = plan.sha256
        self.is_peer, self.seen, self.examples = is_peer, seen, examples


class _Refused(Exception):
    """Unwinds a handler into a refusal."""

    def __init__(self, status: int, detail: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint, self.retry_after_s = status, detail, hint, retry_after_s


def gateway_app(host: Host) -> ASGIApp:
    """The gateway's application; the peer's name comes from the connection."""
    within_s = GCML(host.plan).settings.deadline_s  # by then its sender has given a visit up

    async def hello(request: Request) -> Response:
        said = Announcement(site=host.site, plan_sha256=host.plan_sha256, examples=host.examples())
        return JSONResponse(said.model_dump())

    async def put_visit(request: Request) -> Response:
        sender, number = request.scope[PEER], _number(request)
        digest, length = _announced(request, host.plan)
        begun = _admit(host.inbox, sender, number, digest)
        if isinstance(begun, VisitState):
            await _drain(request, host.plan.max_payload_bytes, within_s)
            return JSONResponse(begun.model_dump(), 200 if begun.over else 202)
        try:
            await _receive(request, begun, length, within_s)
            check_body(begun.file, host.plan, sender, number)
        except BaseException as error:
            host.inbox.abandon(begun)
            if isinstance(error, OSError):
                logger.error("a visit cannot be stored: %s", error.strerror)
                raise _Refused(503, "the visit cannot be stored", "ask again later", _FULL_S) from None
            raise
        return JSONResponse(host.inbox.accept(begun).model_dump(), 202)

    async def get_visit(request: Request) -> Response:
        sender, number = request.scope[PEER], _number(request)
        try:
            wait = min(max(float(request.query_params.get("wait", "0")), 0.0), MAX_WAIT_S)
        except ValueError:
            raise _Refused(422, "wait is no number of seconds") from None
        state = await run_in_threadpool(host.inbox.state, sender, number, wait)
        if state is None:
            raise _Refused(404, f"visit {number} of {sender!r} is not known here", "send it again")
        return JSONResponse(state.model_dump())

    async def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, _Refused)
        if error.status != 404:
            logger.warning("%s of %s is refused: %s", request.method, request.scope.get(PEER, "?"), error.detail)
            host.seen(request.scope[PEER], error.detail if error.status in (409, 426) else "")
        if error.status not in (403, 408, 411, 413):
            await _drain(request, host.plan.max_payload_bytes, within_s)
        headers = {} if error.retry_after_s is None else {"Retry-After": f"{error.retry_after_s:.0f}"}
        body = {"error": "Refused", "detail": error.detail, "hint": error.hint}
        return JSONResponse(body, error.status, headers)

    async def on_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FedSegError)
        return await on_refused(request, _Refused(422, error.detail, error.hint))

    async def on_gone(request: Request, error: Exception) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    routes = [
        Route("/hello", hello, methods=["GET"]),
        Route("/visits/{number}", put_visit, methods=["PUT"]),
        Route("/visits/{number}", get_visit, methods=["GET"]),
    ]
    handlers: dict[Any, Any] = {_Refused: on_refused, FedSegError: on_error, ClientDisconnect: on_gone}
    return _Checked(Starlette(routes=routes, exception_handlers=handlers), host, on_refused)


class _Checked:
    """What every request must show before it is routed, and what every reply carries."""

    def __init__(self, app: ASGIApp, host: Host, refuse: Callable[[Request, Exception], Any]) -> None:
        self._app, self._host, self._refuse = app, host, refuse
        self._headers = [(k.lower().encode(), v.encode()) for k, v in common_headers(host.plan_sha256).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        request = Request(scope, receive)
        refused = self._refusal(request)
        if refused is None:
            self._host.seen(scope[PEER], "")
            await self._app(scope, receive, with_headers)
        else:
            response = await self._refuse(request, refused)
            await response(scope, receive, with_headers)

    def _refusal(self, request: Request) -> _Refused | None:
        name = request.scope[PEER]
        if not self._host.is_peer(name):
            return _Refused(403, f"{name!r} is no peer of this site", "ask its administrator: `fedseg peers add`")
        wrong = skew(request.headers.get(PROTOCOL), request.headers.get(PLAN), self._host.plan_sha256)
        return None if wrong is None else _Refused(*wrong)


# --- parts of a visit ----------------------------------------------------------------------


def _number(request: Request) -> int:
    text = str(request.path_params["number"])
    if not text.isascii() or not text.isdecimal() or int(text[:20]) >= MOST_EXCHANGES or len(text) > 20:
        raise _Refused(422, f"{text[:40]!r} is no number of a visit")
    return int(text)


def _announced(request: Request, plan: Plan) -> tuple[str, int]:
    digest, length = request.headers.get(SHA256, ""), request.headers.get("content-length", "")
    if not length.isascii() or not length.isdecimal():
        raise _Refused(411, "the visit does not announce its length")
    if len(length) > 18 or int(length) > plan.max_payload_bytes:
        raise _Refused(413, f"the visit has {length[:20]} bytes; the plan allows {plan.max_payload_bytes}")
    if not _DIGEST.match(digest):
        raise _Refused(422, "the visit does not announce its SHA-256")
    return digest, int(length)


def _admit(inbox: Inbox, sender: str, number: int, digest: str) -> VisitState | Ticket:
    try:
        return inbox.admit(sender, number, digest)
    except PeerBusy as busy:
        raise _Refused(503, busy.detail, "ask again later", busy.retry_after_s) from None


async def _chunks(request: Request, within_s: float) -> AsyncIterator[bytes]:
    """The body, as long as some of it comes every few seconds, and all of it in time."""
    now = asyncio.get_running_loop().time
    until = now() + within_s
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(min(until, now() + _STALL_S)):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            missing = f"nothing came for {_STALL_S:g} s" if now() < until else f"not all came within {within_s:g} s"
            raise _Refused(408, missing, "send it again") from None
        yield chunk


async def _receive(request: Request, ticket: Ticket, length: int, within_s: float) -> None:
    """Write the body to the ticket's file; hashing and writing go on while more is received."""
    hasher = hashlib.sha256()
    received, parts, held = 0, list[bytes](), 0
    with open(ticket.file, "xb") as file:

        def store(some: list[bytes]) -> None:
            for part in some:
                hasher.update(part)
                file.write(part)

        storing: asyncio.Future[None] | None = None
        try:
            async for chunk in _chunks(request, within_s):
                parts.append(chunk)
                received, held = received + len(chunk), held + len(chunk)
                if held >= _STORE_BYTES:
                    if storing is not None:
                        await storing
                    storing = asyncio.ensure_future(run_in_threadpool(store, parts))
                    parts, held = [], 0
        finally:  # the file is closed, and perhaps deleted, only after the last write
            if storing is not None:
                await asyncio.shield(storing)
        store(parts)
    if received != length or hasher.hexdigest() != ticket.sha256:
        raise _Refused(422, f"the visit's {received} bytes are not those that were announced", "send it again")


async def _drain(request: Request, most: int, within_s: float) -> None:
    """Read what a refused peer still sends, so that it can read the refusal."""
    try:
        async for chunk in _chunks(request, within_s):
            if (most := most - len(chunk)) < 0:
                return
    except (ClientDisconnect, _Refused, RuntimeError):
        return


def check_body(file: Path, plan: Plan, sender: str, number: int) -> None:
    """Refuse a payload that is not this sender's own visit; the site checks everything else.

    Raises:
        PayloadError: no payload, or its header names another plan, site or number.
    """
    header = read_header(file)
    expected = {
        "kind": (header.kind, "update"),
        "plan": (header.plan_sha256, plan.sha256),
        "method": (header.method, plan.method.name),
        "run": (header.federation_round, "gossip"),
        "site": (header.site, sender),
        "number": (header.round, number),
    }
    for what, (got, wanted) in expected.items():
        if got != wanted:
            raise PayloadError(
                f"the visit has {what} {str(got)[:64]!r}, and it came from {sender!r} as {str(wanted)[:64]!r}",
                "every site sends its own model, under the plan that both hold",
            )
