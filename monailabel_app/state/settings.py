"""Small facts of a site that survive a restart."""

from __future__ import annotations

import json
import secrets
from typing import Any

from monailabel_app.state.database import Database

__all__ = ["StoredSettings"]


class StoredSettings:
    """Key -> JSON value in the site's records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: Any = None) -> Any:
        row = self._database.row("SELECT value FROM settings WHERE key = ?", (key,))
        return default if row is None else json.loads(row["value"])

    def set(self, key: str, value: Any) -> None:
        self._database.execute(
            "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, json.dumps(value)),
        )

    @property
    def site_key(self) -> bytes:
        """Secret of this site, made at first use: assignments cannot be predicted from names."""
        with self._database.transaction():
            key = self.get("site_key")
            if key is None:
                key = secrets.token_hex(32)
                self.set("site_key", key)
        return bytes.fromhex(key)

    @property
    def paused(self) -> bool:
        """Whether this site takes no part in rounds for now."""
        return bool(self.get("paused", False))

    @paused.setter
    def paused(self, value: bool) -> None:
        self.set("paused", bool(value))
