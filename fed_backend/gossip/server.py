"""The server of the peer gateway: HTTPS that hears only peers with a certificate of the federation."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fed_backend.errors import FederationError
from fed_backend.flare.kit import Kit
from fed_backend.gossip.gateway import PEER, Host, gateway_app
from fed_backend.gossip.tls import name_in, server_context

__all__ = ["Gateway", "listening"]

_QUIET_S = 20.0  # a connection without a request for this long is closed
_MOST_CONNECTIONS = 64


class _PeerConnection(H11Protocol):
    """A connection whose requests carry the name in the peer's certificate."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner, name = self.app, name_in(transport.get_extra_info("peercert"))

        async def named(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, PEER: name}, receive, send)

        self.app = named
        self.loop.call_later(_QUIET_S, self._close_if_quiet)

    def _close_if_quiet(self) -> None:
        if self.cycle is None and self.transport is not None:
            self.transport.close()


class Gateway:
    """The server of one site, in a thread of its own.

    Args:
        kit: the site's kit.
        address: host and port to listen at; port 0 picks a free one.
        host: the site behind it.

    Attributes:
        port: the TCP port that it listens at.

    Raises:
        FederationError: the address cannot be used.
        ProvisionError: the kit's certificate cannot be used.
    """

    def __init__(self, kit: Kit, address: tuple[str, int], host: Host) -> None:
        context = server_context(kit)
        self._socket = _bound(address)
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            gateway_app(host),
            http=_PeerConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            ssl_context_factory=lambda *_: context,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def start(self, timeout_s: float = 20.0) -> None:
        """Serve; returns once connections are taken.

        Raises:
            FederationError: it does not start.
        """
        self._thread.start()
        deadline = time.monotonic() + timeout_s
        while not self._server.started:
            if not self.alive or time.monotonic() > deadline:
                raise FederationError("the peer gateway does not start", "the courier's log says why")
            self._thread.join(0.02)

    def stop(self) -> None:
        """Take no more connections, and end those that are open."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(10)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


def listening(host: str, port: int, family: int = socket.AF_INET) -> socket.socket:
    """A socket whose connections do not wait for more to send.

    Only where the protocol is named does asyncio turn Nagle's algorithm off; it delays each reply by 40 ms.

    Raises:
        OSError: the address cannot be used.
    """
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # there it would let two servers share the port
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(64)
    except OSError:
        door.close()
        raise
    return door


def _bound(address: tuple[str, int]) -> socket.socket:
    host, port = address
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return listening(host, port, family)
    except OSError as error:
        raise FederationError(
            f"the peer gateway cannot listen at {host}:{port}: {error.strerror or error}",
            "another program may use the port: `fedseg peers listen`",
        ) from None
