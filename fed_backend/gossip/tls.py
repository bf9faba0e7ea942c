"""Who may speak: TLS 1.3 with the certificates that provisioning and joining made, at both ends.

A certificate of the federation carries the site's name as common name and as DNS name. A sender
checks that the peer which answers is the one it addressed, whatever host it was reached at; a
receiver takes the sender's name from the certificate. Nothing here can be switched off.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from fed_backend.errors import ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, KEY, ROOT
from fed_backend.flare.kit import Kit

__all__ = ["client_session", "name_in", "server_context"]


def server_context(kit: Kit) -> ssl.SSLContext:
    """For the gateway: shows this site's certificate, and demands one of the federation.

    Raises:
        ProvisionError: the kit's certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _with_kit(context, kit)


def client_session(kit: Kit, peer: str) -> requests.Session:
    """For calls to one peer: shows this site's certificate, and accepts no other name than the peer's.

    Raises:
        ProvisionError: the kit's certificate or key cannot be used.
    """
    session = requests.Session()
    session.trust_env = False  # no proxy, no other authorities
    session.verify = str(kit.folder / ROOT)  # the federation's authority alone, also for requests itself
    session.mount("https://", _NamedPeer(_with_kit(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), kit), peer))
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


class _NamedPeer(HTTPAdapter):
    """Connections to one peer: TLS asks for its name, and the certificate must be for it."""

    def __init__(self, context: ssl.SSLContext, peer: str) -> None:
        self._context, self._peer = context, peer
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context, server_hostname=self._peer)
