"""Dice of an adapter on a correction: the champion is not evaluated again for every challenger."""

from __future__ import annotations

import json
from collections.abc import Mapping

from monailabel_app.state.database import Database

__all__ = ["Scores"]


class Scores:
    """Measured Dice per (adapter content, correction)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, adapter_sha256: str, correction: str) -> dict[str, float] | None:
        """Label -> Dice, or ``None`` where it was not measured."""
        row = self._database.row(
            "SELECT dice FROM scores WHERE adapter_sha256 = ? AND correction = ?", (adapter_sha256, correction)
        )
        return None if row is None else json.loads(row["dice"])

    def put(self, adapter_sha256: str, correction: str, dice: Mapping[str, float]) -> None:
        """Keep a measurement; measuring again gives the same."""
        self._database.execute(
            "INSERT OR REPLACE INTO scores (adapter_sha256, correction, dice) VALUES (?, ?, ?)",
            (adapter_sha256, correction, json.dumps(dict(dice))),
        )
