"""The sender's end of the line to one peer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from pydantic import BaseModel, ValidationError

from fed_backend.flare.kit import Kit
from fed_backend.gossip.peers import Peer
from fed_backend.gossip.protocol import (
    PLAN,
    PROTOCOL,
    SHA256,
    Announcement,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    VisitState,
    common_headers,
    skew,
)
from fed_backend.gossip.tls import client_session

__all__ = ["PeerClient"]

_Reply = TypeVar("_Reply", bound=BaseModel)

CONNECT_S = 5.0
_READ_S = 20.0  # for the peer to begin its answer, or to go on with it
_HELLO_S = 10.0  # for all of a greeting
_MAX_REPLY = 2**18
_HINT = "it is tried again later"
_DEFAULT_RETRY_S, _MAX_RETRY_S = 5.0, 120.0


class PeerClient:
    """Calls to one peer over one connection; not for several threads at once.

    Args:
        kit: this site's kit.
        peer: whom to call; its address must be known.

    Raises:
        ProvisionError: the kit's certificate cannot be used.
    """

    def __init__(self, kit: Kit, peer: Peer) -> None:
        self.name = peer.name
        self._plan_sha256 = kit.plan.sha256
        host = f"[{peer.host}]" if ":" in peer.host else peer.host
        self._url = f"https://{host}:{peer.port}"
        self._over: Callable[[], bool] = lambda: False
        self._session = client_session(kit, peer.name, lambda: self._over())

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    def hello(self) -> Announcement:
        """Who is there.

        Raises:
            PeerUnreachable, PeerRefused, PeerBusy: see :mod:`.protocol`.
        """
        until = time.monotonic() + _HELLO_S
        said = self._parsed(Announcement, *self._call("GET", "/hello", CONNECT_S, lambda: time.monotonic() > until))
        if said.site != self.name:
            raise PeerRefused(f"{self.name!r} says that it is {said.site[:64]!r}", "ask its administrator")
        return said

    def send(self, number: int, data: bytes, over: Callable[[], bool] = lambda: False) -> VisitState:
        """Send a visit; the same one may be sent again and is the same visit.

        Args:
            number: of the visit.
            data: the payload.
            over: asked while the call lasts; ``True`` ends it, as if the peer were silent.

        Raises:
            PeerUnreachable, PeerRefused, PeerBusy: see :mod:`.protocol`.
        """
        headers = {SHA256: hashlib.sha256(data).hexdigest(), "Content-Type": "application/octet-stream"}
        reply = self._call("PUT", f"/visits/{number}", _READ_S, over, data=data, headers=headers)
        return self._parsed(VisitState, *reply)

    def state(self, number: int, wait_s: float, over: Callable[[], bool] = lambda: False) -> VisitState | None:
        """What became of a visit, after at most ``wait_s`` seconds; ``None`` if the peer does not know it.

        ``over`` is as in :meth:`send`.

        Raises:
            PeerUnreachable, PeerRefused, PeerBusy: see :mod:`.protocol`.
        """
        status, body = self._call("GET", f"/visits/{number}", wait_s + _READ_S, over, params={"wait": f"{wait_s:g}"})
        return None if status == 404 else self._parsed(VisitState, status, body)

    def _call(
        self, method: str, path: str, read_s: float, over: Callable[[], bool], **options: Any
    ) -> tuple[int, bytes]:
        headers = {**common_headers(self._plan_sha256), **options.pop("headers", {})}
        self._over = over
        with self._told():
            response = self._session.request(
                method,
                self._url + path,
                headers=headers,
                timeout=(CONNECT_S, read_s),
                allow_redirects=False,
                stream=True,
                **options,
            )
            with response:
                body = self._body(response)
        self._check(response, body)
        return response.status_code, body

    def _body(self, response: requests.Response) -> bytes:
        """The whole reply, within reason; read to its end, so that the connection serves again."""
        body = b""
        for part in response.iter_content(2**16):
            body += part
            if len(body) > _MAX_REPLY:
                raise PeerRefused(f"the answer of {self.name!r} is longer than {_MAX_REPLY} bytes")
        return body

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the line in our words."""
        try:
            yield
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                detail = f"who answers at the address of {self.name!r} is not {self.name!r} of this federation"
                raise PeerUnreachable(detail, "correct the address: `fedseg peers add`") from None
            raise PeerUnreachable(f"{self.name!r} refuses this site's certificate", _HINT) from None
        except (requests.RequestException, OSError) as error:
            late = isinstance(error, requests.Timeout) or self._over()
            kind = "does not answer in time" if late else "cannot be reached"
            raise PeerUnreachable(f"{self.name!r} {kind}", _HINT) from None

    def _check(self, response: requests.Response, body: bytes) -> None:
        """Refusals as errors; versions first, whatever else the reply says."""
        wrong = skew(response.headers.get(PROTOCOL), response.headers.get(PLAN), self._plan_sha256)
        if wrong is not None and response.status_code < 500:
            raise PeerRefused(*wrong[1:])
        if response.status_code in (429, 503):
            raise PeerBusy(self._words(body)[0], _retry_after(response.headers.get("Retry-After")))
        if response.status_code >= 500:
            raise PeerUnreachable(f"{self.name!r} answered with {response.status_code}", _HINT)
        if response.status_code not in (200, 202, 404):
            raise PeerRefused(*self._words(body))

    def _words(self, body: bytes) -> tuple[str, str]:
        try:
            said = _Refusal.model_validate_json(body)
        except ValidationError:
            return f"{self.name!r} refused without a reason", ""
        return f"{self.name}: {said.detail[:400]}", said.hint[:200]

    def _parsed(self, kind: type[_Reply], status: int, body: bytes) -> _Reply:
        try:
            if status == 404:
                raise ValueError
            return kind.model_validate_json(body)
        except ValueError:
            raise PeerRefused(f"{self.name!r} answered what cannot be read", "compare the releases") from None


class _Refusal(BaseModel):
    detail: str = ""
    hint: str = ""


def _retry_after(text: str | None) -> float:
    """Seconds that a busy peer asks for, within reason."""
    if text is None or not text.isascii() or not text.isdecimal():
        return _DEFAULT_RETRY_S
    return min(float(text[:6]), _MAX_RETRY_S)
