"""HTTP to one server: time limits, verified TLS, a sign-in token, cancel, and errors in words.

Design note
    *Threads.* A transport may be used by several lanes: every thread has its own ``requests.Session``. The token is
    replaced as a whole (one attribute), everything else is fixed.

    *Cancel.* Python cannot interrupt a blocked read, so each session's connections are remembered, and cancelling shuts
    their sockets down; the blocked read then ends at once with an error, which is reported as Cancelled.

    *Time.* Connecting may take 5 s; a read may wait as long as the call's own limit (``wait``), counted anew for each
    block. A reply that is longer than ``limit`` bytes, or shorter than it announced, is refused.

    *Not followed.* Redirects: a mask must not end up on a server that nobody consented to. ``.netrc``: nobody signed in
    with it. Proxies of the environment are used for other computers, never for this one.

``requests`` comes with Slicer; it is imported on first use so that opening the module costs nothing.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .address import Address
from .cancel import CancelSwitch
from .errors import FedSegError, ProtocolError, TimedOut, TlsRefused, Unreachable, refused_class
from .language import tr as _

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 5.0
QUICK_SECONDS = 15.0
_BLOCK = 1 << 18
_JSON_LIMIT = 64 << 20


@dataclass(frozen=True)
class Reply:
    """A reply with a status below 400; ``body`` is empty when it was written to a file."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Upload:
    """A file to send as a multipart part."""

    field: str
    filename: str
    path: Path


class Transport:
    """Requests to one server.

    Args:
        address: the server.
        ca_file: certificates of the hospital's own authority (PEM); None for those the computer trusts.
    """

    def __init__(self, address: Address, *, ca_file: Path | None = None) -> None:
        self.address = address
        self._ca_file = ca_file
        self._token: str | None = None
        self._local = threading.local()

    def use_token(self, token: str | None) -> None:
        """Send this bearer token from now on; None signs out."""
        self._token = token

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json_body: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        upload: Upload | None = None,
        wait: float = QUICK_SECONDS,
        limit: int = _JSON_LIMIT,
        sink: IO[bytes] | None = None,
        cancel: CancelSwitch | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Reply:
        """Ask the server and read the whole reply.

        Args:
            path: below the address, already quoted, starting with "/".
            query, json_body, form, upload: what to send.
            wait: seconds the server may stay silent.
            limit: most bytes of the reply.
            sink: file that takes the body of a good reply instead of memory.
            cancel: switch that ends the request at once.
            progress: called with bytes read and, if announced, bytes in all.

        Raises:
            FedSegError: Unreachable, TlsRefused, TimedOut, Refused (by status), ProtocolError or Cancelled.
        """
        arguments: dict[str, Any] = {"params": query, "timeout": (CONNECT_SECONDS, wait)}
        if json_body is not None:
            arguments["json"] = json_body
        if form is not None:
            arguments["data"] = form
        if upload is not None:
            content = upload.path.read_bytes()
            arguments["files"] = {upload.field: (upload.filename, content, "application/octet-stream")}
        switch = cancel or CancelSwitch()
        session = self._session()
        session.switch = switch
        with switch.tearing_down(session.shut_down):
            try:
                with session.requests.request(
                    method,
                    self.address.url + path,
                    stream=True,
                    allow_redirects=False,
                    auth=self._authorise,
                    **arguments,
                ) as response:
                    good = response.status_code < 300
                    body = _read(response, limit, sink if good else None, switch, progress)
                    if good:
                        return Reply(response.status_code, response.headers, body)
                    raise _refusal(response.status_code, response.headers, body)
            except FedSegError:
                raise
            except Exception as error:  # requests, urllib3 and socket errors, some unwrapped by requests
                switch.check()
                raise self._in_words(error, wait) from error

    def _authorise(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            prepared.headers["Authorization"] = f"Bearer {self._token}"
        return prepared

    def _session(self) -> _Session:
        session: _Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session(self.address.loopback, self._ca_file)
            self._local.session = session
        return session

    def _in_words(self, error: Exception, wait: float) -> FedSegError:
        import requests

        where = self.address.url
        if isinstance(error, requests.exceptions.SSLError):
            return _tls_in_words(where, str(error))
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return TimedOut(
                _("{where} did not answer within {seconds:g} s.").format(where=where, seconds=CONNECT_SECONDS),
                _("Is the address right? A firewall?"),
            )
        if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error).lower():
            return TimedOut(
                _("{where} stayed silent for {wait:g} s.").format(where=where, wait=wait),
                _("The site may be busy. Try again in a while."),
            )
        if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
            return Unreachable(_("{where} cannot be used as an address.").format(where=where), _("Check the address."))
        if isinstance(error, OSError) and "CA certificate" in str(error):
            return TlsRefused(_("The CA file cannot be read."), _("Choose another file in the settings, or none."))
        if isinstance(error, requests.exceptions.ChunkedEncodingError) or "Read" in type(error).__name__:
            return ProtocolError(
                _("The connection to {where} broke off within the reply.").format(where=where), _("Try again.")
            )
        return Unreachable(
            _("Nothing answers at {where}.").format(where=where),
            _("Check the address and the port, and that the site server runs."),
        )


class _Session:
    """One thread's ``requests.Session`` and its open connections."""

    def __init__(self, loopback: bool, ca_file: Path | None) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.connection import HTTPConnection, HTTPSConnection
        from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

        connections: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self.switch = CancelSwitch()
        session = self

        class Remembered(HTTPConnection):
            def connect(self) -> None:
                connections.add(self)
                super().connect()
                session.switch.check()  # cancelled while there was no socket yet to shut down

        class RememberedTls(HTTPSConnection):
            def connect(self) -> None:
                connections.add(self)
                super().connect()
                session.switch.check()

        class Pool(HTTPConnectionPool):
            ConnectionCls = Remembered

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = RememberedTls

        self._connections = connections
        self.requests = requests.Session()
        self.requests.trust_env = not loopback
        self.requests.verify = True if ca_file is None else str(ca_file)
        for prefix in ("http://", "https://"):
            adapter = HTTPAdapter()
            adapter.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}
            self.requests.mount(prefix, adapter)

    def shut_down(self) -> None:
        """End every read and write of this session's sockets; from any thread."""
        for connection in list(self._connections):
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _read(
    response: requests.Response,
    limit: int,
    sink: IO[bytes] | None,
    cancel: CancelSwitch,
    progress: Callable[[int, int | None], None] | None,
) -> bytes:
    announced = response.headers.get("Content-Length", "")
    total = int(announced) if announced.isdigit() and "Content-Encoding" not in response.headers else None
    if total is not None and total > limit:
        raise ProtocolError(
            _("The reply has {total} bytes; {limit} are the most accepted.").format(total=total, limit=limit)
        )
    blocks: list[bytes] = []
    count = 0
    for block in response.iter_content(_BLOCK):
        cancel.check()
        count += len(block)
        if count > limit:
            raise ProtocolError(_("The reply is longer than {limit} bytes, the most accepted.").format(limit=limit))
        if sink is not None:
            sink.write(block)
        else:
            blocks.append(block)
        if progress is not None:
            progress(count, total)
    if total is not None and count != total:
        raise ProtocolError(
            _("The reply was cut short: {count} of {total} bytes.").format(count=count, total=total), _("Try again.")
        )
    return b"".join(blocks)


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> FedSegError:
    if status < 400:
        target = headers.get("Location", _("another address"))
        return refused_class(status)(
            _("The server points to {target}.").format(target=target), _("Use that address if you trust it.")
        )
    try:
        values = json.loads(body)
    except ValueError:
        values = None
    values = values if isinstance(values, dict) else {}
    detail = values.get("detail")
    words = detail if isinstance(detail, str) and detail.strip() else _plain_words(status)
    hint = values.get("hint")
    name = values.get("error")
    return refused_class(status)(
        words,
        hint if isinstance(hint, str) and hint else _plain_hint(status),
        status=status,
        name=name if isinstance(name, str) else "",
    )


def _plain_words(status: int) -> str:
    words = {
        401: _("The site asks you to sign in."),
        403: _("Your role does not allow this."),
        404: _("The site does not know that."),
        413: _("The site finds the upload too large."),
        429: _("The site is busy."),
    }
    return words.get(status, _("The server answered with an error (status {status}).").format(status=status))


def _plain_hint(status: int) -> str:
    if status == 401:
        return _("Enter your user name and password.")
    if status == 403:
        return _("Ask the person who runs the site for the right.")
    return _("Try again; if it stays, tell the person who runs the site.") if status >= 500 or status == 429 else ""


def _tls_in_words(where: str, reason: str) -> FedSegError:
    lower = reason.lower()
    if "wrong_version_number" in lower or "record layer" in lower or "packet length" in lower:
        return TlsRefused(
            _("{where} does not speak TLS.").format(where=where),
            _("The server may be meant to be reached with http://."),
        )
    why = _("its certificate cannot be verified")
    for sign, words in (
        ("self-signed", _("its certificate is signed by itself")),
        ("self signed", _("its certificate is signed by itself")),
        ("hostname mismatch", _("its certificate is for another name")),
        ("doesn't match", _("its certificate is for another name")),
        ("expired", _("its certificate has expired")),
        ("unable to get local issuer", _("its certificate comes from an authority this computer does not know")),
    ):
        if sign in lower:
            why = words
            break
    return TlsRefused(
        _("{where} could not prove who it is: {why}. Nothing was sent.").format(where=where, why=why),
        _("If your hospital has its own certificate authority, choose its CA file in the settings."),
    )
