"""The rows of the federation benchmark: one file, to which several processes may add."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock

__all__ = ["Outcome", "Row", "Setting", "add", "done", "read", "rows_of"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all methods have in common: every model takes ``rounds * steps`` gradient steps at every site."""

    dataset: str
    model: str
    rounds: int
    steps: int
    seed: int
    precision: str = "float32"


@dataclass
class Outcome:
    """Scores by (row's method, site, part), those of the validation cases one by one, and what they cost by site."""

    dice: dict[tuple[str, str, str], float] = field(default_factory=dict)
    cases: dict[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    bytes_up: Counter[str] = field(default_factory=Counter)
    bytes_down: Counter[str] = field(default_factory=Counter)
    steps: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def validated(self, method: str, site: str, scores: Mapping[str, float]) -> None:
        """Case -> Dice of what serves, on the site's validation cases."""
        self.dice[method, site, "val"] = fmean(scores.values())
        self.cases[method, site] = {case: round(dice, 4) for case, dice in scores.items()}


def read(path: Path) -> list[Row]:
    """The rows so far; none without the file."""
    return list(json.loads(path.read_text())) if path.is_file() else []


def add(path: Path, rows: Sequence[Row]) -> list[Row]:
    """Add rows to the file, in place of earlier ones of the same; returns all. An interruption leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        known = sorted({_key(row): row for row in (*read(path), *rows)}.values(), key=_key)
        temporary = path.with_suffix(".tmp")
        temporary.write_text("[\n" + ",\n".join(json.dumps(row) for row in known) + "\n]\n")
        os.replace(temporary, path)
    return known


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("dataset", "model", "method", "seed", "part", "site"))


def done(rows: Sequence[Row], setting: Setting, method: str, part: str) -> bool:
    """Whether a step was finished before."""
    key = (setting.dataset, setting.model, method, setting.seed, part)
    return any((row["dataset"], row["model"], row["method"], row["seed"], row["part"]) == key for row in rows)


def rows_of(setting: Setting, outcome: Outcome) -> list[Row]:
    """One row per score of an outcome."""
    return [
        {
            "dataset": setting.dataset,
            "model": setting.model,
            "method": name,
            "seed": setting.seed,
            "site": site,
            "part": part,
            "dice": round(dice, 4),
            "bytes_up": outcome.bytes_up.get(site, 0),
            "bytes_down": outcome.bytes_down.get(site, 0),
            "seconds": round(outcome.seconds, 1),
            "steps": outcome.steps.get(site, 0),
            "precision": setting.precision,
            **({"cases": dict(outcome.cases[name, site])} if part == "val" else {}),
        }
        for (name, site, part), dice in sorted(outcome.dice.items())
    ]
