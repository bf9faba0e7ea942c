"""Who may speak: TLS 1.3 with the certificates that provisioning and joining made, at both ends.

A certificate of the federation carries the site's name as common name and as DNS name. A sender
checks that the peer which answers is the one it addressed, whatever host it was reached at; a
receiver takes the sender's name from the certificate. Nothing here can be switched off.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from fed_backend.errors import ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, KEY, ROOT
from fed_backend.flare.kit import Kit

__all__ = ["client_session", "name_in", "server_context"]

_LOOK_S = 0.25  # how soon a call that is over ends
_PART, _TAKE_S = 2**16, 20.0  # bytes that are sent at once, and how long a peer may take to take them


def server_context(kit: Kit) -> ssl.SSLContext:
    """For the gateway: shows this site's certificate, and demands one of the federation.

    Raises:
        ProvisionError: the kit's certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _with_kit(context, kit)


def client_session(kit: Kit, peer: str, over: Callable[[], bool]) -> requests.Session:
    """For calls to one peer: shows this site's certificate, and accepts no other name than the peer's.

    Args:
        kit: this site's kit.
        peer: the peer's name.
        over: asked again and again while bytes are sent or waited for; ``True`` ends the call as a timeout does.

    Raises:
        ProvisionError: the kit's certificate or key cannot be used.
    """
    session = requests.Session()
    session.trust_env = False  # no proxy, no other authorities
    session.verify = str(kit.folder / ROOT)  # the federation's authority alone, also for requests itself
    context = _with_kit(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), kit)
    context.sslsocket_class = _ending(over)
    session.mount("https://", _NamedPeer(context, peer))
    return session


def name_in(certificate: Mapping[str, Any] | None) -> str:
    """The common name of a verified certificate, as :meth:`ssl.SSLSocket.getpeercert` gives it.

    Empty where there is no certificate, or none or several common names in it.
    """
    parts = [part for group in (certificate or {}).get("subject", ()) for part in group]
    names = [str(value) for key, value in parts if key == "commonName"]
    return names[0] if len(names) == 1 else ""


def _with_kit(context: ssl.SSLContext, kit: Kit) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=str(kit.folder / ROOT))
        context.load_cert_chain(kit.folder / CERTIFICATE, kit.folder / KEY)
    except (OSError, ssl.SSLError):
        raise ProvisionError(
            f"the certificate or key in the kit of {kit.name!r} cannot be used", "join again from the invitation"
        ) from None
    return context


def _ending(over: Callable[[], bool]) -> type[ssl.SSLSocket]:
    """Sockets that stop waiting when ``over`` says so.

    A timeout bounds each read only: a peer that answers a byte now and then would never meet it. For all that
    is sent at once, be it a whole payload, urllib3 allows the time of making a connection.
    """

    class Ending(ssl.SSLSocket):
        def recv_into(self, *arguments: Any) -> int:
            return self._waited(lambda: super(Ending, self).recv_into(*arguments), self.gettimeout() or _TAKE_S)

        def send(self, data: Any, flags: int = 0) -> int:  # sendall calls it until all is sent
            return self._waited(lambda: super(Ending, self).send(data[:_PART], flags), _TAKE_S)

        def _waited(self, work: Callable[[], int], limit_s: float) -> int:
            begun, before = time.monotonic(), self.gettimeout()
            self.settimeout(_LOOK_S)
            try:
                while not over():
                    try:
                        return work()
                    except TimeoutError:
                        if time.monotonic() - begun > limit_s:
                            raise
                raise TimeoutError("the call is over")
            finally:
                self.settimeout(before)

    return Ending


class _NamedPeer(HTTPAdapter):
    """Connections to one peer: TLS asks for its name, and the certificate must be for it."""

    def __init__(self, context: ssl.SSLContext, peer: str) -> None:
        self._context, self._peer = context, peer
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context, server_hostname=self._peer)
