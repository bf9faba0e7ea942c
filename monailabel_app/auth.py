"""Who is calling: users in a file, opaque tokens, and one local administrator without a file.

The file is JSON, ``{name: {"role": ..., "password_hash": ...}}`` with argon2id hashes; it is read
again when it changes, so a removed user is locked out at once. Tokens are random, kept as SHA-256
digests in memory only, and expire; a restart asks everybody to log in again.

Shared between threads: the tables below, under one lock that is never held while hashing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from monailabel_app.errors import SiteError, Unauthorised

__all__ = ["LOCAL_ADMIN", "ROLES", "Authenticator", "User", "read_users", "role_at_least", "write_user"]

Role = Literal["viewer", "annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "annotator", "reviewer", "admin")
"""Weakest first: each role may do what the ones before it may."""

_FAILURES = 5
_FAILURE_WINDOW_S = 60.0
_USER_NAME_MAX = 64


@dataclass(frozen=True)
class User:
    """A caller. ``role`` is one of :data:`ROLES`."""

    name: str
    role: Role


LOCAL_ADMIN = User("local", "admin")
"""The one user of a site without a users file, which listens on its own machine only."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    password_hash: str


_USERS = TypeAdapter(dict[str, _Entry])


def role_at_least(role: str, needed: Role) -> bool:
    """Whether ``role`` allows what ``needed`` allows; an unknown role allows nothing."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def read_users(path: Path) -> dict[str, _Entry]:
    """Read a users file.

    Raises:
        SiteError: missing, not JSON, or not of the described form.
    """
    hint = "make the file with `fedseg site user FILE NAME --role ROLE`"
    try:
        return _USERS.validate_json(path.read_bytes())
    except OSError as error:
        raise SiteError(f"users file {path.name!r} cannot be read: {error.strerror}", hint) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SiteError(f"users file {path.name!r} is not valid: {where}: {first['msg']}", hint) from None


def write_user(path: Path, name: str, role: Role, password: str) -> None:
    """Add or replace one user; the file is replaced as a whole and readable by its owner only.

    Raises:
        SiteError: an unusable name or password, or a file that is there but not a users file.
    """
    if not name or len(name) > _USER_NAME_MAX or not name.isprintable() or name != name.strip():
        raise SiteError(f"user name {name!r} is not usable", "use 1 to 64 printable characters")
    if len(password) < 8:
        raise SiteError(f"the password has {len(password)} characters", "use at least 8")
    users = read_users(path) if path.exists() else {}
    users[name] = _Entry(role=role, password_hash=PasswordHasher().hash(password))
    text = json.dumps({key: entry.model_dump() for key, entry in sorted(users.items())}, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


@dataclass
class _Token:
    name: str
    expires: float


class Authenticator:
    """Issues tokens for passwords and finds the user of a token.

    Args:
        path: users file; ``None`` makes every caller the local administrator.
        lifetime_s: seconds until a token expires.
        clock: monotonic seconds.

    Raises:
        SiteError: the file cannot be used, or names no administrator.
    """

    def __init__(
        self, path: Path | None, lifetime_s: float = 12 * 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self.lifetime_s = lifetime_s
        self._clock = clock
        self._hasher = PasswordHasher()
        self._decoy = self._hasher.hash(secrets.token_hex(8)) if path else ""
        self._lock = threading.Lock()
        self._hashing = threading.Semaphore(2)  # each verification takes 64 MiB
        self._tokens: dict[str, _Token] = {}
        self._failures: dict[str, list[float]] = {}
        self._users: dict[str, _Entry] = {}
        self._stamp: tuple[int, int] | None = None
        if path is not None:
            self._users, self._stamp = read_users(path), _stamp(path)
            if not any(entry.role == "admin" for entry in self._users.values()):
                raise SiteError(
                    f"users file {path.name!r} names no admin", f"run `fedseg site user {path.name} NAME --role admin`"
                )

    @property
    def enabled(self) -> bool:
        """Whether callers must log in."""
        return self._path is not None

    def login(self, name: str, password: str) -> str:
        """Check a password and return a new token.

        Raises:
            Unauthorised: unknown user or wrong password (not told apart), or too many failures.
        """
        now = self._clock()
        key = name[:_USER_NAME_MAX]
        with self._lock:
            recent = [t for t in self._failures.get(key, []) if now - t < _FAILURE_WINDOW_S]
            if len(recent) >= _FAILURES:
                raise Unauthorised(
                    f"too many failed logins for this user in {_FAILURE_WINDOW_S:.0f} s",
                    "wait a minute, then try again",
                )
            self._failures[key] = [*recent, now]  # counted before hashing, so that parallel guesses count too
            if len(self._failures) > 10_000:
                self._failures = {key: self._failures[key]}
        entry = self._read().get(name)
        if not self._verify(entry.password_hash if entry else self._decoy, password) or entry is None:
            raise Unauthorised("user name or password is wrong", "ask the site's administrator for access")
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._failures.pop(key, None)
            self._tokens = {k: t for k, t in self._tokens.items() if t.expires > now}
            self._tokens[_digest(token)] = _Token(name, now + self.lifetime_s)
        return token

    def user(self, token: str) -> User | None:
        """The user a token belongs to; ``None`` if unknown, expired, or no longer in the file."""
        with self._lock:
            record = self._tokens.get(_digest(token))
        if record is None or record.expires <= self._clock():
            return None
        entry = self._read().get(record.name)
        return User(record.name, entry.role) if entry else None

    def _verify(self, password_hash: str, password: str) -> bool:
        with self._hashing:
            try:
                return self._hasher.verify(password_hash, password)
            except (VerificationError, InvalidHashError):
                return False

    def _read(self) -> dict[str, _Entry]:
        """The users as the file has them now; the last good ones while it is being edited."""
        assert self._path is not None
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            try:
                users = read_users(self._path)
            except SiteError:
                return self._users if stamp is not None else {}
            with self._lock:
                self._users, self._stamp = users, stamp
        return self._users


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
