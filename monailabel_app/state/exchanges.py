"""What a federation asked of this site and what was answered: repeats are served, replays refused.

Requests and replies are files named by their digest in ``exchange/``; the newest runs keep theirs,
the records of all are kept. Names from a payload are never used as paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fed_backend.errors import ReplayError
from monailabel_app.errors import StateError
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now, write_atomic

__all__ = ["Exchange", "Exchanges"]

_KEEP_FILES = 16
_VISIT = "visit/"
"""Before a sender's name: what visits of peers are recorded under. No run of a hub contains a slash."""

ExchangeKind = Literal["train", "offer"]


@dataclass(frozen=True)
class Exchange:
    """One accepted request of a federation; ``job`` does its work."""

    number: int
    kind: ExchangeKind
    federation_round: str
    round: int
    request_sha256: str
    job: int | None


class Exchanges:
    """Requests accepted by this site, in order.

    Args:
        database: the site's records.
        folder: where payloads are kept, created when absent.
        clock: gives the time as ISO 8601.
    """

    def __init__(self, database: Database, folder: Path, clock: Callable[[], str] = utc_now) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def accept(self, kind: ExchangeKind, federation_round: str, round: int, data: bytes) -> Exchange:
        """The exchange of a request: a new one, or the one that had exactly these bytes.

        Raises:
            ReplayError: another payload was accepted for this round, the run has moved on to a
                later round, or another run began after this one.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._database.transaction():
            known = self._find(kind, federation_round, round)
            if known is not None:
                if known.request_sha256 != digest:
                    raise ReplayError(
                        f"another payload was already accepted for round {round} of run {federation_round!r}",
                        "the hub must not change what it sent; start a new run",
                    )
                return known
            self._refuse_old(kind, federation_round, round)
            self.keep(data)
            self._database.execute(
                "INSERT INTO exchanges (kind, federation_round, round, request_sha256, at) VALUES (?, ?, ?, ?, ?)",
                (kind, federation_round, round, digest, self._clock()),
            )
        found = self._find(kind, federation_round, round)
        assert found is not None
        return found

    def accept_visit(self, sender: str, number: int, data: bytes) -> Exchange:
        """The exchange of a visiting model; visits of one sender are numbered upwards.

        Raises:
            ReplayError: this sender's visit ``number`` had other bytes, or a later one was here.
        """
        run, digest = _VISIT + sender, hashlib.sha256(data).hexdigest()
        with self._database.transaction():
            known = self._find("offer", run, number)
            if known is not None and known.request_sha256 == digest:
                return known
            row = self._database.row("SELECT MAX(round) AS last FROM exchanges WHERE federation_round = ?", (run,))
            if row is not None and row["last"] is not None and row["last"] >= number:
                raise ReplayError(
                    f"visit {number} of {sender!r} comes after its visit {row['last']}",
                    "each visit of a sender needs a higher number than the one before",
                )
            self.keep(data)
            self._database.execute(
                "INSERT INTO exchanges (kind, federation_round, round, request_sha256, at) VALUES (?, ?, ?, ?, ?)",
                ("offer", run, number, digest, self._clock()),
            )
        found = self._find("offer", run, number)
        assert found is not None
        return found

    def forget(self, digest: str) -> None:
        """Delete a stored payload; the record that it was here stays."""
        (self._folder / digest).unlink(missing_ok=True)

    def set_job(self, exchange: Exchange, job: int) -> None:
        """Note which job does the work of an exchange."""
        self._database.execute("UPDATE exchanges SET job = ? WHERE number = ?", (job, exchange.number))

    def keep(self, data: bytes) -> str:
        """Store a payload; returns the digest it can be read back by."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        if path.is_file():
            path.touch()
        else:
            write_atomic(path, data)
            self._prune()
        return digest

    def read(self, digest: str) -> bytes:
        """A stored payload.

        Raises:
            StateError: it is no longer kept, or is damaged.
        """
        try:
            data = (self._folder / digest).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != digest:
            raise StateError(
                f"payload {digest[:12]}… of an earlier round is no longer kept", "start a new federated run"
            )
        return data

    def _find(self, kind: str, federation_round: str, round: int) -> Exchange | None:
        row = self._database.row(
            "SELECT number, kind, federation_round, round, request_sha256, job FROM exchanges "
            "WHERE kind = ? AND federation_round = ? AND round = ?",
            (kind, federation_round, round),
        )
        return Exchange(**dict(row)) if row else None

    def _refuse_old(self, kind: str, federation_round: str, round: int) -> None:
        latest = self._database.row(
            "SELECT federation_round, round FROM exchanges WHERE kind = ? AND federation_round NOT LIKE ? "
            "ORDER BY number DESC LIMIT 1",
            (kind, _VISIT + "%"),
        )
        if latest is None:
            return
        if latest["federation_round"] == federation_round:
            if latest["round"] > round:
                raise ReplayError(f"run {federation_round!r} is at round {latest['round']}, not at {round}")
        elif self._database.row(
            "SELECT 1 FROM exchanges WHERE federation_round = ? AND kind = ?", (federation_round, kind)
        ):
            raise ReplayError(
                f"run {federation_round!r} ended when run {latest['federation_round']!r} began", "start a new run"
            )

    def _prune(self) -> None:
        """Delete all but the newest payloads; the records stay."""
        files = sorted((f for f in self._folder.iterdir() if len(f.name) == 64), key=lambda f: f.stat().st_mtime_ns)
        for file in files[:-_KEEP_FILES]:
            file.unlink(missing_ok=True)
