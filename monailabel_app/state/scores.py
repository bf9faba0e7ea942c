"""Agreement of an adapter with a correction: the champion is not measured again for every challenger."""

from __future__ import annotations

import json

from monailabel_app.learning.evaluate import Measured
from monailabel_app.state.database import Database

__all__ = ["Scores"]


class Scores:
    """Measurements per (adapter content, correction)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, adapter_sha256: str, correction: str) -> Measured | None:
        """What was measured, or ``None``."""
        row = self._database.row(
            "SELECT dice, surface FROM scores WHERE adapter_sha256 = ? AND correction = ?",
            (adapter_sha256, correction),
        )
        return None if row is None else Measured(json.loads(row["dice"]), json.loads(row["surface"]))

    def put(self, adapter_sha256: str, correction: str, measured: Measured) -> None:
        """Keep a measurement; measuring again gives the same."""
        self._database.execute(
            "INSERT OR REPLACE INTO scores (adapter_sha256, correction, dice, surface) VALUES (?, ?, ?, ?)",
            (adapter_sha256, correction, json.dumps(measured.dice), json.dumps(measured.surface_mm)),
        )
