"""The audit log of a site: everything that came in from a federation and everything that went out.

Append-only, kept with the site's other records, so an entry is stored whole or not at all whatever
kills the site. Each entry holds the SHA-256 of the one before it: whoever changes or removes one must
change all that follow, and then the last hash (the *head*) is another. A head that was noted elsewhere
shows that too. Entries hold hashes, sizes, plan, round, who and when; never tensors, never a case.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from monailabel_app.errors import AuditError, NotFound, StateError
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now

__all__ = ["GENESIS", "AuditLog", "Entry", "Event", "Verified", "read_audit", "verify"]

GENESIS = "0" * 64
"""What the first entry holds in place of the hash of an earlier one."""

Event = Literal[
    "received",
    "sent",
    "refused",
    "protected",
    "masked",
    "revealed",
    "asked",
    "paused",
    "resumed",
    "approved",
    "withdrawn",
    "left",
]
"""``received`` and ``refused``: a payload of the hub; ``sent``: an update or a verdict to it;
``protected``: noise was added to an update, with the epsilon spent so far; ``masked``: an update as it leaves
for a secure sum, with the other sites in it; ``revealed``: shares of secrets that take the masks off that
sum; ``asked``: a user's request to start or stop rounds; ``paused``, ``resumed``, ``approved`` and
``withdrawn`` (a plan), and ``left`` (a federation): an administrator's."""


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Attributes:
        seq: number, from 1 without gaps.
        at: time, ISO 8601 UTC.
        event: what happened.
        who: ``courier``, or the name of the user who acted.
        sha256: of the bytes that moved; ``None`` where none did.
        bytes: how many moved.
        plan_sha256: the plan that this site held.
        federation_round: the run of rounds.
        round: number of the round, from 0.
        note: the kind of request, or the class of the error that refused it.
        previous: hash of the entry before.
        hash: SHA-256 of all the above.
    """

    seq: int
    at: str
    event: str
    who: str
    sha256: str | None
    bytes: int | None
    plan_sha256: str | None
    federation_round: str | None
    round: int | None
    note: str
    previous: str
    hash: str

    def expected_hash(self) -> str:
        """What ``hash`` must be: over the compact JSON list of the other values in the order above."""
        values = [getattr(self, field.name) for field in fields(self) if field.name != "hash"]
        return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return asdict(self)


class Verified(NamedTuple):
    """An unbroken log: how many entries, and the hash of the last one."""

    entries: int
    head: str


class AuditLog:
    """Appends to the log of the site that is open here.

    Args:
        database: the site's records.
        clock: gives the time as ISO 8601.
    """

    def __init__(self, database: Database, clock: Callable[[], str] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def append(
        self,
        event: Event,
        who: str,
        note: str,
        *,
        data: bytes | None = None,
        plan_sha256: str | None = None,
        federation_round: str | None = None,
        round: int | None = None,
    ) -> Entry:
        """Add an entry; ``data`` is the payload that moved, of which the hash and the size are kept.

        Raises:
            StateError: it cannot be stored; what was to be logged must then not happen.
        """
        digest = None if data is None else hashlib.sha256(data).hexdigest()
        size = None if data is None else len(data)
        with self._database.transaction():
            last = self._database.row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            seq, previous = (last["seq"] + 1, last["hash"]) if last else (1, GENESIS)
            facts = (seq, self._clock(), event, who, digest, size, plan_sha256, federation_round, round, note, previous)
            entry = Entry(*facts, hash=Entry(*facts, hash="").expected_hash())
            self._database.execute(
                "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", tuple(asdict(entry).values())
            )
        return entry

    def list(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries with a number above ``after``, in order; at most ``limit``."""
        rows = self._database.rows("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, max(0, limit)))
        return [Entry(**dict(row)) for row in rows]

    def has(self, event: Event, federation_round: str, round: int) -> bool:
        """Whether there is an entry of this event in a round."""
        found = self._database.row(
            "SELECT 1 FROM audit WHERE event = ? AND federation_round = ? AND round = ? LIMIT 1",
            (event, federation_round, round),
        )
        return found is not None

    def head(self) -> Verified:
        """Number and hash of the last entry, without looking at the others."""
        last = self._database.row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        return Verified(last["seq"], last["hash"]) if last else Verified(0, GENESIS)


def read_audit(folder: Path) -> Iterator[Entry]:
    """All entries of a site, read from its state folder without changing anything; it may be running.

    Raises:
        NotFound: no site's state is there.
        StateError: it cannot be read.
    """
    path = folder / "site.sqlite"
    if not path.is_file():
        raise NotFound(f"{folder.name!r} is no state folder of a site", "give the folder that the site runs with")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM audit ORDER BY seq").fetchall()
    except sqlite3.DatabaseError as error:
        raise StateError(f"the site's records cannot be read: {error}", "check the rights on the folder") from error
    for row in rows:
        yield Entry(**dict(row))


def verify(entries: Iterable[Entry], head: str | None = None) -> Verified:
    """Check that nothing in a log was changed, taken out or put in.

    Args:
        entries: all entries in order.
        head: the hash of an entry as noted earlier, elsewhere: it must still be there.

    Raises:
        AuditError: the first entry that does not fit, or ``head`` is not in the log.
    """
    count, last, found = 0, GENESIS, head in (None, GENESIS)
    for entry in entries:
        if entry.seq != count + 1:
            raise AuditError(f"entry {count + 1} is missing: after it comes {entry.seq}")
        if entry.previous != last:
            raise AuditError(f"entry {entry.seq} does not follow the one before it")
        if entry.expected_hash() != entry.hash:
            raise AuditError(f"entry {entry.seq} of {entry.at} was changed after it was written")
        count, last = entry.seq, entry.hash
        found = found or entry.hash == head
    if not found:
        raise AuditError(f"no entry has the noted hash {str(head)[:12]}…: entries were removed or written anew")
    return Verified(count, last)
