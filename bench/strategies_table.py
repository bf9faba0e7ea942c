"""The strategies benchmark's table and picture, from its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "draw", "write_table"]

COLOURS = {"first": "#5b6b7b", "random": "#0072b2", "uncertainty": "#d55e00", "diversity": "#009e73"}
"""Strategies that are compared; the fifth of the product needs a federation."""

Row = dict[str, Any]


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as JSON and the table beside it; each replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, text in (
        (path, json.dumps({"curve": list(rows)}, indent=1) + "\n"),
        (path.with_suffix(".md"), table(rows)),
    ):
        temporary = target.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)


def table(rows: Sequence[Row]) -> str:
    """Mean Dice per k and strategy, and its difference to ``random``; over sites and seeds with every k."""
    lines = [
        "# Which patients to correct first",
        "",
        "U-Net on glioma MRI of four hospitals, base trained at the other three; `make bench-strategies`. Mean Dice",
        "on the site's test patients after learning from the base on the k patients that a strategy asked for: mean",
        "over cells (site, seed); in brackets the mean difference to `random` in the same cells, and its range.",
        "",
        "| k | cells | " + " | ".join(COLOURS) + " |",
        "|" + "---|" * (2 + len(COLOURS)),
    ]
    whole = _whole(rows)
    start = _base(whole)
    if start:
        lines.append(f"| 0 | {len(start)} sites |" + f" {fmean(start.values()):.3f} |" * len(COLOURS))
    for k in _ks(whole):
        drawn = _cells(whole, "random", k)
        cells = []
        for strategy in COLOURS:
            found = _cells(whole, strategy, k)
            apart = [found[cell] - drawn[cell] for cell in found if cell in drawn]
            text = f"{fmean(found.values()):.3f}" if found else "-"
            if strategy != "random" and apart:
                text += f" ({fmean(apart):+.3f}; {min(apart):+.3f} to {max(apart):+.3f})"
            cells.append(text)
        lines.append(f"| {k} | {len(drawn)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_by_site(rows), ""])


def draw(rows: Sequence[Row], path: Path) -> None:
    """Dice against the number of corrections: all sites, then each; lines are means, bars the range over seeds."""
    sites = sorted(_base(rows))
    figure = Figure(figsize=(12, 3.4), dpi=130, layout="constrained")
    axes = figure.subplots(1, 1 + len(sites))
    _panel(axes[0], _whole(rows), "all sites", bars=False)
    for panel, site in zip(axes[1:], sites, strict=True):
        _panel(panel, [row for row in rows if row["site"] == site], f"site {site}", bars=True)
    axes[0].set_ylabel("Dice on test patients")
    axes[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _panel(axes: Axes, rows: Sequence[Row], title: str, *, bars: bool) -> None:
    ks = _ks(rows)
    start = fmean(_base(rows).values())
    for shift, (strategy, colour) in enumerate(COLOURS.items()):
        known = [(k, list(values)) for k in ks if (values := _cells(rows, strategy, k).values())]
        found = [values for _, values in known]
        at = [0.0, *(k + 0.08 * (shift - 1.5) for k, _ in known)]
        means = [start, *map(fmean, found)]
        axes.plot(at, means, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=strategy)
        if bars:
            axes.vlines(at[1:], list(map(min, found)), list(map(max, found)), color=colour, linewidth=1)
    axes.axhline(start, color="#c9d1da", linewidth=1, zorder=0)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("corrected patients")
    axes.set_xticks([0, *ks])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _by_site(rows: Sequence[Row]) -> list[str]:
    """Mean over seeds per site: what one site sees."""
    ks = _ks(rows)
    lines = [
        "Per site, mean over seeds:",
        "",
        "| site | strategy | " + " | ".join(f"k = {k}" for k in (0, *ks)) + " |",
        "|" + "---|" * (3 + len(ks)),
    ]
    for site, start in sorted(_base(rows).items()):
        here = [row for row in rows if row["site"] == site]
        for strategy in COLOURS:
            found = [_cells(here, strategy, k).values() for k in ks]
            texts = [f"{fmean(values):.3f}" if values else "-" for values in found]
            lines.append(f"| {site} | {strategy} | {start:.3f} | {' | '.join(texts)} |")
    return lines


def _whole(rows: Sequence[Row]) -> list[Row]:
    """Rows of those (site, seed) that have every k of every strategy, so that means are over the same cells."""
    want = len(COLOURS) * len(_ks(rows))
    cells = [(row["site"], row["seed"]) for row in rows if row["k"]]
    whole = {cell for cell in cells if cells.count(cell) == want}
    sites = {site for site, _ in whole}
    return [row for row in rows if (row["site"] in sites if row["k"] == 0 else (row["site"], row["seed"]) in whole)]


def _ks(rows: Sequence[Row]) -> list[int]:
    return sorted({row["k"] for row in rows if row["k"]})


def _base(rows: Sequence[Row]) -> dict[str, float]:
    return {row["site"]: row["dice"] for row in rows if row["k"] == 0}


def _cells(rows: Sequence[Row], strategy: str, k: int) -> dict[tuple[str, int], float]:
    found = [row for row in rows if row["k"] == k and row.get("strategy") == strategy]
    return {(row["site"], row["seed"]): row["dice"] for row in found}
