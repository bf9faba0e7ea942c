"""Scores of open cases for active learning: computed by the learner, read by the server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from monailabel_app.state.database import Database

__all__ = ["Acquisition", "CaseValue"]


@dataclass(frozen=True)
class CaseValue:
    """What is known of a case.

    Attributes:
        uncertainty: 0 (sure) to 1.
        features: a description of the image; all cases of a site have equally many numbers.
        disagreement: 0 to 1, between the version that was asked and ``rival``; ``None`` without one.
        rival: a version that a federation offered, or the site's own where a federated one serves.
    """

    uncertainty: float
    features: tuple[float, ...]
    disagreement: float | None = None
    rival: str | None = None


class Acquisition:
    """Values per (version, case)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, version: str, case: str, value: CaseValue) -> None:
        """Keep what a version thinks of a case; values of other versions of the case are forgotten."""
        with self._database.transaction():
            self._database.execute('DELETE FROM acquisition WHERE "case" = ?', (case,))
            self._database.execute(
                'INSERT INTO acquisition (version, "case", uncertainty, features, disagreement, rival) '
                "VALUES (?, ?, ?, ?, ?, ?)",
                (version, case, value.uncertainty, json.dumps(list(value.features)), value.disagreement, value.rival),
            )

    def of_version(self, version: str) -> dict[str, CaseValue]:
        """Case -> what this version thinks of it."""
        rows = self._database.rows("SELECT * FROM acquisition WHERE version = ?", (version,))
        return {row["case"]: _value(row) for row in rows}

    def features(self) -> dict[str, Sequence[float]]:
        """Case -> description, whichever version made it; it depends on the image alone."""
        rows = self._database.rows('SELECT "case", features FROM acquisition')
        return {row["case"]: tuple(json.loads(row["features"])) for row in rows}


def _value(row: sqlite3.Row) -> CaseValue:
    features = tuple(json.loads(row["features"]))
    return CaseValue(row["uncertainty"], features, row["disagreement"], row["rival"])
