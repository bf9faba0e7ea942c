"""What a courier knows of its peers: when each was last seen, and when it is worth calling again.

A peer that cannot be reached is left alone for a while that doubles with every failure (with jitter,
so that sites which lost the same peer do not call it at the same moment); it is heard again the moment
it calls itself. ``last_seen`` survives a restart in the kit's run folder.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fed_backend.flare.kit import write_json_atomic

__all__ = ["Roster", "backoff"]

FIRST_S, MOST_S = 2.0, 600.0
_STORE_EVERY_S = 10.0


def backoff(failures: int, rng: random.Random) -> float:
    """Seconds to leave a peer alone: 2 s doubled with each failure in a row, at most 10 minutes, times 0.5..1.5."""
    return min(MOST_S, FIRST_S * 2.0 ** min(failures - 1, 20)) * (0.5 + rng.random())


@dataclass
class _Contact:
    state: str = "unknown"
    last_seen: str | None = None
    detail: str = ""
    failures: int = 0
    not_before: float = 0.0
    examples: int = 0
    sent: int = 0
    received: int = 0


class Roster:
    """Peers by name; safe to use from several threads.

    Args:
        file: where ``last_seen`` is kept.
        clock: monotonic seconds.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._rng = random.Random()  # noqa: S311 - spreads calls in time
        self._contacts: dict[str, _Contact] = {}
        self._stored_at = -_STORE_EVERY_S
        for name, seen in _read(file).items():
            self._contacts[name] = _Contact(last_seen=seen)

    def seen(self, name: str, detail: str = "", examples: int | None = None) -> None:
        """A peer answered or called; ``detail`` says what the two do not agree about, if anything."""
        with self._lock:
            contact = self._contact(name)
            contact.state = "refused" if detail else "reachable"
            contact.detail, contact.last_seen = detail[:500], datetime.now(UTC).isoformat(timespec="seconds")
            contact.failures, contact.not_before = 0, 0.0
            if examples is not None:
                contact.examples = examples

    def failed(self, name: str, detail: str) -> None:
        """A peer could not be reached."""
        with self._lock:
            contact = self._contact(name)
            contact.state, contact.detail = "unreachable", detail[:500]
            contact.failures += 1
            contact.not_before = self._clock() + backoff(contact.failures, self._rng)

    def count(self, name: str, *, sent: int = 0, received: int = 0) -> None:
        """A visit to or from a peer took place."""
        with self._lock:
            contact = self._contact(name)
            contact.sent += sent
            contact.received += received

    def worth_calling(self, names: Iterable[str]) -> list[str]:
        """Those that are not left alone for now, by name."""
        with self._lock:
            now = self._clock()
            return sorted(name for name in names if self._contact(name).not_before <= now)

    def examples(self, names: Iterable[str]) -> dict[str, int]:
        """Name -> corrected cases, as each peer last said; 0 where it has not."""
        with self._lock:
            return {name: self._contact(name).examples for name in names}

    def report(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The listed peers as ``POST /federation/courier/peers`` takes them."""
        keys = ("state", "last_seen", "detail", "sent", "received")
        with self._lock:
            return [{"name": n, **{key: getattr(self._contact(n), key) for key in keys}} for n in sorted(names)]

    def store(self, *, now: bool = False) -> None:
        """Keep ``last_seen``, at most every ten seconds unless ``now``."""
        with self._lock:
            if not now and self._clock() - self._stored_at < _STORE_EVERY_S:
                return
            self._stored_at = self._clock()
            seen = {name: c.last_seen for name, c in self._contacts.items() if c.last_seen}
        write_json_atomic(self._file, seen)

    def _contact(self, name: str) -> _Contact:
        return self._contacts.setdefault(name, _Contact())


def _read(file: Path) -> dict[str, str]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in stored.items()} if isinstance(stored, dict) else {}
