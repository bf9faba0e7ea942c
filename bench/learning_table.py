"""The learning benchmark's summary figures and table, from its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from monailabel_app.learning.recipe import SMALLER

__all__ = ["summarise", "write_table"]

METHODS = ("naive", "ungated", "gated", "scratch")
TOLERANCE = 0.01

Row = dict[str, Any]


def summarise(curve: Iterable[Row]) -> dict[str, Any]:
    """The goals' figures.

    ``below_base``: share of (setting, model, site, seed, k) cells below k = 0 by more than 0.01, per method.
    ``kept_by_gate``: of the gain of the best ungated method at k = 4, the share that the gate keeps, per setting and
    model; only where something is gained.
    """
    rows = list(curve)
    base = {_where(row): row["dice"] for row in rows if row["k"] == 0}
    below: dict[str, float] = {}
    for method in METHODS:
        changes = [row["dice"] - base[_where(row)] for row in rows if row["method"] == method and row["k"]]
        if changes:
            below[method] = round(fmean(change < -TOLERANCE for change in changes), 4)
    kept: dict[str, float] = {}
    for setting, model in sorted({(row["setting"], row["model"]) for row in rows}):
        gains = {
            method: fmean(changes)
            for method in METHODS
            if (
                changes := [
                    row["dice"] - base[_where(row)]
                    for row in rows
                    if (row["setting"], row["model"], row["method"], row["k"]) == (setting, model, method, 4)
                ]
            )
        }
        best = max((gain for method, gain in gains.items() if method != "gated"), default=0.0)
        if best > 0 and "gated" in gains:
            kept[f"{setting} {model}"] = round(gains["gated"] / best, 2)
    seconds = [sum(row["seconds"].values()) for row in rows if "seconds" in row and row["model"] == "unet"]
    return {
        "below_base": below,
        "kept_by_gate": kept,
        "seconds_train_and_gate": {"unet": round(median(seconds), 1)} if seconds else {},
    }


def write_table(record: dict[str, Any], path: Path) -> None:
    """Write the rows with their summary as JSON, and the table beside it; replaced as a whole."""
    record = {**record, **summarise(record["curve"])}
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, text in ((path, json.dumps(record, indent=1) + "\n"), (path.with_suffix(".md"), table(record))):
        temporary = target.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)


def table(record: dict[str, Any]) -> str:
    """Mean change of Dice against k = 0 and its worst cell, per setting, k and method."""
    rows: list[Row] = record["curve"]
    base = {_where(row): row["dice"] for row in rows if row["k"] == 0}
    lines = [
        "# Learning from few corrections",
        "",
        "Base trained at the other sites (four hospitals' glioma MRI, or five imaging domains of nuclei);",
        "`make bench-learning`. Change of the mean Dice on the site's test cases against the base: mean over cells",
        "(site, seed), worst cell in brackets. Promoted: by the gate; in brackets, of these as the smaller step.",
        "",
        "| setting | model | k | cells | Dice at k = 0 | " + " | ".join(METHODS) + " | promoted |",
        "|---|---|---|---|---|" + "---|" * len(METHODS) + "---|",
    ]
    for setting, model, k in sorted({(row["setting"], row["model"], row["k"]) for row in rows if row["k"]}):
        here = [row for row in rows if (row["setting"], row["model"], row["k"]) == (setting, model, k)]
        gated = [row for row in here if row["method"] == "gated"]
        start = fmean(base[_where(row)] for row in gated)
        cells = [_change([row for row in here if row["method"] == method], base) for method in METHODS]
        passed = [row for row in gated if row["promoted"]]
        promoted = f"{len(passed)} of {len(gated)} ({sum(row.get('kept') == SMALLER for row in passed)})"
        lines.append(
            f"| {setting} | {model} | {k} | {len(gated)} | {start:.3f} | " + " | ".join(cells) + f" | {promoted} |"
        )
    shares = ", ".join(f"{name} {share:.0%}" for name, share in record["below_base"].items())
    lines += ["", f"Cells below k = 0 by more than {TOLERANCE}: {shares}."]
    precisions = sorted({row["precision"] for row in rows if row["k"]})
    lines += ["", f"Networks computed in {' and '.join(precisions)}; weights, optimiser and losses are float32."]
    if record["kept_by_gate"]:
        kept = ", ".join(f"{name} {share:.0%}" for name, share in record["kept_by_gate"].items())
        lines += ["", f"Of the best ungated method's gain at k = 4 the gate keeps: {kept}."]
    lines += [*_live(record), ""]
    return "\n".join(lines)


def _live(record: dict[str, Any]) -> list[str]:
    """The table of `make bench-live`, where it ran."""
    if "live" not in record:
        return []
    lines = [
        "",
        "From the submission of a fourth patient until the gate has decided, at a running site: `make bench-live`.",
        "",
    ]
    lines += ["| model | seconds | of which | promoted | a click before | meanwhile |", "|---|---|---|---|---|---|"]
    for model, row in record["live"].items():
        phases = ", ".join(f"{name} {seconds}" for name, seconds in row["phases"].items() if seconds >= 0.1)
        clicks = f"{row['click_idle_ms']} ms | {row['click_learning_ms']} ms"
        lines.append(f"| {model} | {row['seconds']} | {phases} | {'yes' if row['promoted'] else 'no'} | {clicks} |")
    return lines


def _change(rows: list[Row], base: dict[tuple[Any, ...], float]) -> str:
    if not rows:
        return "-"
    changes = [row["dice"] - base[_where(row)] for row in rows]
    return f"{fmean(changes):+.3f} ({min(changes):+.3f})"


def _where(row: Row) -> tuple[Any, ...]:
    return (row["setting"], row["model"], row["site"], row["seed"])
