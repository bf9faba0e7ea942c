"""Files that survive kill -9: written aside, flushed to disk, then renamed into place."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from monailabel_app.errors import NotFound, StateError

__all__ = [
    "TEMPORARY",
    "clean_temporaries",
    "create_folder",
    "file_errors",
    "fsync_folder",
    "inside",
    "sha256_of",
    "utc_now",
    "write_atomic",
]

TEMPORARY = ".tmp-"
"""Prefix of names that are never read and may be deleted by the owner of the folder."""


def utc_now() -> str:
    """Now as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sha256_of(path: Path) -> str:
    """Hex digest of a file.

    Raises:
        StateError: the file cannot be read.
    """
    with file_errors(f"file {path.name}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data``: a reader sees the old or the new content, never a part.

    Raises:
        StateError: the disk refuses; ``path`` is as it was.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        with file_errors(path.name):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def create_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Create the folder ``path`` with what ``fill`` writes into it, complete or not at all.

    Raises:
        StateError: the disk refuses, or ``path`` exists.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        with file_errors(path.name):
            temporary.mkdir(parents=True)
            fill(temporary)
            for file in temporary.iterdir():
                _fsync_file(file)
            fsync_folder(temporary)
            temporary.rename(path)
            fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clean_temporaries(folder: Path) -> None:
    """Delete what an interrupted writer left in ``folder``; only its owner may call this."""
    for entry in folder.glob(f"{TEMPORARY}*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def inside(root: Path, name: str, what: str) -> Path:
    """``root / name``, which must lie inside ``root`` after following links.

    Raises:
        NotFound: it does not (``..``, absolute, a link to elsewhere).
    """
    try:
        path = (root / name).resolve()
        if path != root.resolve() and path.is_relative_to(root.resolve()):
            return path
    except (OSError, ValueError):  # name too long, or with a NUL
        pass
    raise NotFound(f"there is no {what} {name[:80]!r}")


@contextmanager
def file_errors(what: str) -> Iterator[None]:
    """Turn ``OSError`` into a ``StateError`` that names ``what`` and no path."""
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{what} cannot be read or written: {error.strerror or type(error).__name__}",
            "check free disk space and the rights on the state folder",
        ) from error
