"""Who may open the page: only who has the address that was printed at the start.

Every request needs the token: in the address (``?secret=``) for the page itself, which then sets a cookie, and in
that cookie for everything else, the WebSocket included. Another user of the computer, and another page in the same
browser (the cookie is SameSite=Strict, and belongs to this host name), has neither.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

_PAGES = ("/", "/index.html")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """Lets in requests that bring the token.

    Args:
        token: what opens the page.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def install(self, application: web.Application) -> None:
        """Stand before every route of the application (before it starts)."""
        application.middlewares.append(self._middleware())

    def _middleware(self) -> Any:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._check(request, handler)

        return check

    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        cookie = f"fedseg-seat-{request.url.port}"
        asked = request.query.get("secret", "")
        page = request.path in _PAGES
        if self._right(request.cookies.get(cookie, "")):
            if page and not self._right(asked):  # reloaded: the page takes the token out of the address
                raise web.HTTPFound(f"/index.html?secret={self._token}")
            return await handler(request)
        if not page or not self._right(asked):
            return web.Response(status=403, text="Open the whole address that was printed when the seat was started.\n")
        answer = web.HTTPFound(f"/index.html?secret={self._token}")
        answer.set_cookie(cookie, self._token, httponly=True, samesite="Strict")
        raise answer

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())
