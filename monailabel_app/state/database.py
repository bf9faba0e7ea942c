"""The site's records: one sqlite file in WAL mode, opened by the server and by the learner.

Shared: one connection per process behind a re-entrant lock, so a transaction is never interleaved
with another thread's statements. Writers of two processes wait for each other inside sqlite
(``busy_timeout``). Migrations are numbered files ``migrations/NNN_*.sql``, applied in order, each in
one transaction with the version it leads to.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from monailabel_app.errors import StateError

__all__ = ["Database"]

_BUSY_MS = 20_000


class Database:
    """A migrated sqlite database.

    Args:
        path: the database file; created when absent, its folder must exist.

    Raises:
        StateError: the file is no database, is from a newer version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        with _as_state_error():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate()

    def close(self) -> None:
        """Close the connection; the database can be opened again by another object."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside are stored together or not at all; nests.

        Raises:
            StateError: sqlite refused (disk full, damaged file, locked for too long).
        """
        with self._lock, _as_state_error():
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; returns the row id of an insert, else the number of changed rows."""
        with self._lock, _as_state_error():
            cursor = self._connection.execute(sql, parameters)
            return int(cursor.lastrowid or 0) if sql.lstrip()[:6].upper() == "INSERT" else cursor.rowcount

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock, _as_state_error():
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, or ``None``."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def _migrate(self) -> None:
        scripts = _migrations()
        with self.transaction():
            (current,) = self._connection.execute("PRAGMA user_version").fetchone()
            if current > len(scripts):
                raise StateError(
                    f"the site's records have version {current}; this program knows versions up to {len(scripts)}",
                    "start the newer version of the program that wrote them",
                )
            for number, script in enumerate(scripts[current:], start=current + 1):
                for statement in _statements(script):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {number}")


def _migrations() -> list[str]:
    """Texts of the migrations in order; the n-th file (from 1) leads to version n."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    for number, file in enumerate(files, start=1):
        if int(file.name[:3]) != number:
            raise StateError(f"migration {file.name} is out of order: expected number {number:03d}")
    return [file.read_text(encoding="utf-8") for file in files]


def _statements(script: str) -> Iterator[str]:
    """Single statements of a script: ``executescript`` would commit the open transaction."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


@contextmanager
def _as_state_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StateError(
            f"the site's records cannot be read or written: {error}",
            "check free disk space and the rights on the state folder, then start the site again",
        ) from error
