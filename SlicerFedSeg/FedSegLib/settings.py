"""What the module remembers between sessions: servers, CA file, name. Secrets are never among it."""

from __future__ import annotations

import json
from pathlib import Path

from .consent import Store

_MOST_SERVERS = 8


class Settings:
    """Typed access to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def servers(self) -> list[str]:
        """Addresses connected to, newest first."""
        try:
            kept = json.loads(self._store.get("servers") or "[]")
        except ValueError:
            return []
        return [str(item) for item in kept] if isinstance(kept, list) else []

    def remember_server(self, url: str) -> None:
        """Put an address at the head of the history."""
        others = [item for item in self.servers if item != url]
        self._store.set("servers", json.dumps([url, *others][:_MOST_SERVERS]))

    @property
    def ca_file(self) -> Path | None:
        """The hospital's own certificate authority, None for those the computer trusts."""
        kept = self._store.get("ca_file")
        return Path(kept) if kept else None

    @property
    def author(self) -> str:
        """The name that goes with a submitted mask."""
        return self._store.get("author") or ""

    @property
    def tell_effort(self) -> bool:
        """Whether time and clicks go with a submitted mask."""
        return self._store.get("tell_effort") != "no"

    @property
    def segment_on_open(self) -> bool:
        """Whether a case is segmented as soon as it is open."""
        return self._store.get("segment_on_open") == "yes"

    def set_flag(self, key: str, value: bool) -> None:
        """Keep ``tell_effort`` or ``segment_on_open``."""
        self._store.set(key, "yes" if value else "no")

    def text(self, key: str) -> str:
        """A text that was kept with :meth:`set_text`; "" without one."""
        return self._store.get(key) or ""

    def set_text(self, key: str, value: str) -> None:
        """Keep ``ca_file``, ``author``, ``local_python``, ``local_studies`` or ``local_labels``; empty forgets it."""
        if value.strip():
            self._store.set(key, value.strip())
        else:
            self._store.remove(key)
