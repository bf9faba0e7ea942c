"""The courier's calls to its own site server (``/federation/*``), with the courier's token.

Every call has a time limit, follows no redirect, uses no proxy, and reads no more than the plan
allows. The courier never sees an image or a label: these routes carry payloads and figures only.
"""

from __future__ import annotations

import io
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from fed_backend.errors import FederationError
from fed_backend.secure.roster import Context
from fed_backend.tensor_file import Data

__all__ = ["SiteClient", "SiteRefused", "SiteUnreachable"]

CONNECT_S = 5.0
_LEND_S = 120.0  # a large model is read and encoded
_CHUNK = 1 << 20


class SiteUnreachable(FederationError):
    """Raised when the site server does not answer, or answers that it cannot now: it may be restarting."""


class SiteRefused(FederationError):
    """Raised when the site server answers with an error; asking again would not help."""


class SiteClient:
    """HTTP client of one site server.

    Args:
        url: root of the site server, such as ``http://127.0.0.1:8000``.
        token: reads the courier's token; called for every request, as a restarted site may have a new one.
        max_bytes: longest answer that is read.
        ca: certificates (PEM) to trust instead of the public authorities': that of the site's authority, or
            the one that its server shows; read again for every request, as it is renewed with the server's.

    Raises:
        FederationError: ``url`` is no http(s) address, or ``ca`` holds no certificates.
    """

    def __init__(self, url: str, token: Callable[[], str], max_bytes: int, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise FederationError(f"{url!r} is no address of a site server", "give one like http://127.0.0.1:8000")
        self._url = url.rstrip("/")
        self._token = token
        self._max_bytes = max_bytes
        self._ca = ca
        if ca is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
            except OSError:
                raise FederationError(f"{ca.name} holds no certificates that can be read", _CA_HINT) from None

    def wait_for_requests(self, wait_s: float) -> dict[str, Any]:
        """Long poll: what annotators ask of the hub, after at most ``wait_s`` seconds."""
        reply = self._call("GET", "courier/requests", read_s=wait_s + 15, params={"wait": f"{wait_s:g}"})
        return _mapping(reply)

    def answer_request(self, request_id: str, verdict: Mapping[str, Any]) -> None:
        """Hand the hub's verdict to whoever waits for it."""
        self._call("POST", f"courier/requests/{request_id}", read_s=15, json=dict(verdict))

    def post_status(self, status: Mapping[str, Any]) -> None:
        """Store the state of a round at the site."""
        self._call("POST", "courier/status", read_s=15, json=dict(status))

    def progress(self) -> float:
        """Progress of the site's training, 0..1."""
        value = _mapping(self._call("GET", "courier/progress", read_s=5)).get("progress", 0.0)
        return float(value) if isinstance(value, int | float) else 0.0

    def train(self, payload: Data, read_s: float, into: Path) -> None:
        """Let the site train from a payload; blocks until its update is there, in the file ``into``."""
        with _sent(payload) as data, open(into, "wb") as file:
            self._read(self._send("POST", "train", read_s, data=data, headers=_BINARY), file)

    def offer(self, payload: Data, read_s: float) -> dict[str, Any]:
        """Offer an aggregate to the site's gate; blocks until it decided."""
        with _sent(payload) as data:
            return _mapping(self._call("POST", "offer", read_s, data=data, headers=_BINARY))

    def leaving(self, step: str, context: Context, others: Sequence[str], data: bytes) -> None:
        """Tell the site what leaves for a secure sum; what it does not note must not leave."""
        where = {"step": step, "run": context.run, "round": str(context.round), "sites": ",".join(others)}
        self._call("POST", "leaving", read_s=60, data=data, headers=_BINARY, params=where)

    def lend(self, number: int, receiver: str) -> bytes:
        """The site's own model as a payload, for an exchange with one peer."""
        body = io.BytesIO()
        self._read(self._send("POST", "lend", _LEND_S, json={"number": number, "receiver": receiver}), body)
        return body.getvalue()

    def visit(self, payload: Data, sender: str, read_s: float) -> dict[str, Any]:
        """Let a peer's model visit; blocks until the site's gate decided."""
        with _sent(payload) as data:
            return _mapping(self._call("POST", "visit", read_s, data=data, headers=_BINARY, params={"sender": sender}))

    def post_peers(self, peers: Sequence[Mapping[str, Any]]) -> None:
        """Tell the site which peers are seen."""
        self._call("POST", "courier/peers", read_s=15, json={"peers": [dict(peer) for peer in peers]})

    def _call(self, method: str, path: str, read_s: float, **options: Any) -> Any:
        response = self._send(method, path, read_s, **options)
        try:
            with response:
                return response.json() if response.content else {}
        except ValueError:
            raise SiteRefused(f"the site server answered /federation/{path} with no JSON") from None
        except requests.RequestException as error:
            raise _unreachable(error) from None

    def _send(self, method: str, path: str, read_s: float, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._token()}", **options.pop("headers", {})}
        try:
            # A session per call: calls come from several threads, and sessions are not shared safely.
            with requests.Session() as session:
                session.trust_env = False
                session.verify = True if self._ca is None else str(self._ca)
                session.mount(f"{urlsplit(self._url).scheme}://", _InLargeParts())
                response = session.request(
                    method,
                    f"{self._url}/federation/{path}",
                    headers=headers,
                    timeout=(CONNECT_S, read_s),
                    allow_redirects=False,
                    stream=True,
                    **options,
                )
                if response.status_code not in {200, 202, 204}:
                    raise _refused(path, response)
                return response
        except OSError as error:  # also where the file of certificates has gone
            raise _unreachable(error) from None

    def _read(self, response: requests.Response, into: BinaryIO) -> None:
        length = 0
        try:
            with response:
                for part in response.iter_content(_CHUNK):
                    length += len(part)
                    if length > self._max_bytes:
                        raise SiteRefused(f"the site's update is larger than the plan's {self._max_bytes} bytes")
                    into.write(part)
        except requests.RequestException as error:
            raise _unreachable(error) from None


class _InLargeParts(HTTPAdapter):
    """Bodies from files go out a megabyte at a time; by itself urllib3 takes 16 KB."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own certificate may be all that is known
        super().init_poolmanager(*arguments, **options, blocksize=_CHUNK, ssl_context=context)


_CA_HINT = "give the certificate of the site's authority, or the site's own, as PEM: `courier start --site-ca FILE`"
_WHY = re.compile(r"certificate verify failed: (.+?)\.? \(_ssl")
_BINARY = {"Content-Type": "application/octet-stream"}


@contextmanager
def _sent(payload: Data) -> Iterator[bytes | BinaryIO]:
    """A body as it is sent: a file is read while it goes out."""
    if isinstance(payload, bytes):
        yield payload
        return
    with open(payload, "rb") as file:
        yield file


def token_reader(path: Path) -> Callable[[], str]:
    """A function that reads the courier's token from a file each time.

    Raises (when called):
        SiteUnreachable: the file is missing: the site server has not started yet.
    """

    def read() -> str:
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise SiteUnreachable(
                f"the token file {path.name} cannot be read", "start the site server, or correct --token-file"
            ) from None

    return read


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SiteRefused("the site server answered with JSON that is no object")
    return value


def _refused(path: str, response: requests.Response) -> SiteRefused | SiteUnreachable:
    try:
        body = _mapping(response.json())
    except (ValueError, SiteRefused, requests.RequestException):
        body = {}
    if response.status_code in {401, 403}:
        return SiteRefused("the site server refused the courier's token", "restart the courier with --token-file")
    detail = str(body.get("detail") or f"the site server answered /federation/{path} with {response.status_code}")
    # 503: stopping, or its learner is gone; the same request is answered once it is back.
    kind = SiteUnreachable if response.status_code == 503 else SiteRefused
    return kind(detail[:400], str(body.get("hint") or "")[:200])


def _unreachable(error: OSError) -> SiteUnreachable:
    if isinstance(error, requests.exceptions.SSLError):
        return _untrusted(str(error))
    if not isinstance(error, requests.RequestException):
        return SiteUnreachable("the certificates to trust cannot be read", _CA_HINT)
    kind = "did not answer in time" if isinstance(error, requests.Timeout) else "cannot be reached"
    return SiteUnreachable(f"the site server {kind}", "start it with `fedseg site start`")


def _untrusted(said: str) -> SiteUnreachable:
    why = _WHY.search(said)
    if why is None:
        hint = "with https:// in --site-url, the site must be started with --tls-cert and --tls-key"
        return SiteUnreachable("no TLS connection to the site server can be made", hint)
    hint = _CA_HINT
    if "mismatch" in why[1]:
        hint = "in --site-url, name the site server as its certificate does"
    elif "expired" in why[1]:
        hint = "renew it, and start the site with the new one"
    return SiteUnreachable(f"the site server's certificate is not accepted: {why[1]}", hint)
