"""Large files over HTTP(S): progress, going on after an interruption, a digest, no half file.

What has come lies in ``<file>.part`` with the server's validator (ETag or date) in
``<file>.part.from``; the next attempt, in this process or a later one, asks for the rest
(RFC 9110, sections 13.1.5 and 14) and starts over where the server's file has changed or it cannot
send ranges. Only a file whose digest is right gets the final name.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout

from monailabel_app.errors import Conflict, StateError, Unavailable

__all__ = ["Received", "download", "file_digest"]

Received = Callable[[int, int | None], None]
"""(bytes here, bytes in all or ``None``)"""

_CHUNK = 2**16
_TIMEOUT_S = (10, 60)
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


def download(
    url: str,
    target: Path,
    *,
    digest: str,
    received: Received = lambda here, total: None,
    attempts: int = 5,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file; nothing happens where it is there already with the right digest.

    Args:
        url: ``https://``, or ``http://`` as the digest is checked in any case.
        target: file to write; its folder is made.
        digest: ``sha256:<hex>`` or ``md5:<hex>``.
        received: called as bytes come in.
        attempts: in a row that bring nothing before giving up.
        wait: sleeps for some seconds between attempts.

    Raises:
        Unavailable: the server does not answer, refuses, or sent another file than expected.
        StateError: the file cannot be written.
        Conflict: another process is fetching it.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise Unavailable(f"{url!r} is no address to download from", "give an https:// address")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and _is(target, digest):
            return
        with FileLock(f"{target}.lock", timeout=0):
            _fetch(url, target, digest, received, attempts, wait)
    except Timeout:
        raise Conflict(f"{target.name} is being downloaded already", "wait until the other process is done") from None
    except requests.RequestException as error:
        raise Unavailable(
            f"{urlsplit(url).netloc} did not send {target.name}: {type(error).__name__}",
            "check the connection and proxy (HTTPS_PROXY), then start again: what has come is kept",
        ) from None
    except OSError as error:
        raise StateError(
            f"{target.name} cannot be written: {error.strerror}",
            "free some space or choose another folder; what has come is kept",
        ) from None


def file_digest(path: Path, method: str = "sha256") -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, method).hexdigest()


def _is(path: Path, digest: str) -> bool:
    method, _, expected = digest.partition(":")
    return file_digest(path, method) == expected.lower()


def _fetch(
    url: str, target: Path, digest: str, received: Received, attempts: int, wait: Callable[[float], None]
) -> None:
    part = target.with_name(f"{target.name}.part")
    origin = target.with_name(f"{target.name}.part.from")
    failed = 0
    while True:
        here = part.stat().st_size if part.is_file() else 0
        try:
            _rest(url, part, origin, received)
            break
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            moved = part.is_file() and part.stat().st_size > here
            failed = 0 if moved else failed + 1
            if failed >= attempts or (status is not None and status not in _AGAIN):
                raise
            wait(min(30.0, 2.0**failed / 2))
    origin.unlink(missing_ok=True)
    if not _is(part, digest):
        part.unlink()
        raise Unavailable(
            f"what {urlsplit(url).netloc} sent as {target.name} has another digest than {digest}",
            "the file was damaged or replaced on its way; try again, and if it stays so do not use it",
        )
    os.replace(part, target)


def _rest(url: str, part: Path, origin: Path, received: Received) -> None:
    """Ask for what is missing and append it; for all of it where the server says so."""
    here = part.stat().st_size if part.is_file() else 0
    validator = origin.read_text() if origin.is_file() else ""
    headers = {"Accept-Encoding": "identity"}
    if here and validator:
        headers |= {"Range": f"bytes={here}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as reply:
        if reply.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            raise requests.ConnectionError("the part here is longer than the server's file")
        reply.raise_for_status()
        goes_on = reply.headers.get("Content-Range", "").startswith(f"bytes {here}-") and reply.status_code == 206
        if not goes_on:
            here = 0
        length = reply.headers.get("Content-Length")
        total = here + int(length) if length and length.isdigit() else None
        etag = reply.headers.get("ETag", "")
        origin.write_text(etag if etag and not etag.startswith("W/") else reply.headers.get("Last-Modified", ""))
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in reply.iter_content(_CHUNK):
                file.write(chunk)
                here += len(chunk)
                received(here, total)
    if total is not None and here < total:
        raise requests.ConnectionError(f"the connection ended after {here} of {total} bytes")
