"""The learning benchmark's picture: every cell's change against the base, by number of corrections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.learning_data import NUCLEI

__all__ = ["draw"]

COLOURS = {"naive": "#d95f02", "ungated": "#7f8b99", "gated": "#0072b2"}
"""Models from scratch are far below and only in the table."""
TITLES = {
    "lgg": "glioma MRI",
    "lgg-policy-wide": "outlines 2 px wider",
    "lgg-policy-tight": "outlines 2 px tighter",
    NUCLEI: "nuclei, new domain",
}

Row = dict[str, Any]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw one panel per setting and model; a dot is a (site, seed), a line the mean.

    Args:
        rows: of all methods; those of k = 0 hold the base.
        path: PNG to write.
    """
    panels = sorted({(row["setting"], row["model"]) for row in rows if row["k"]}, key=_order)
    counts = [len(_ks(_of(rows, panel))) for panel in panels]
    figure = Figure(figsize=(1.6 + 1.05 * sum(counts) + 0.5 * len(panels), 3.9), dpi=120, layout="constrained")
    axes = figure.subplots(1, len(panels), width_ratios=[0.6 + count for count in counts], squeeze=False)[0]
    alike = [place for place, (setting, _) in zip(axes, panels, strict=True) if setting != NUCLEI]
    for place in alike[1:]:
        place.sharey(alike[0])
    for place, panel in zip(axes, panels, strict=True):
        _panel(place, _of(rows, panel))
        place.set_title(f"{TITLES[panel[0]]}\n{panel[1]}", fontsize=9)
    axes[0].set_ylabel("change of Dice against the base", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(COLOURS), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    base = {(row["site"], row["seed"]): row["dice"] for row in rows if row["k"] == 0}
    ks = _ks(rows)
    axes.axhline(0, color="#333333", linewidth=1, zorder=1.5)
    for shift, (method, colour) in enumerate(COLOURS.items()):
        for group, k in enumerate(ks):
            changes = [
                row["dice"] - base[row["site"], row["seed"]] for row in rows if (row["method"], row["k"]) == (method, k)
            ]
            at = group + 0.27 * (shift - 1)
            axes.plot([at] * len(changes), changes, "o", color=colour, alpha=0.45, markersize=4, markeredgewidth=0)
            name = method if group == 0 else None
            axes.plot([at - 0.11, at + 0.11], [fmean(changes)] * 2, color=colour, linewidth=2.5, label=name)
    axes.set_xticks(range(len(ks)), [f"{k}" for k in ks])
    axes.set_xlim(-0.6, len(ks) - 0.4)
    axes.set_xlabel("corrected cases", fontsize=9)
    axes.grid(axis="y", color="#eeeeee", zorder=0)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _order(panel: tuple[str, str]) -> tuple[int, str]:
    setting, model = panel
    return list(TITLES).index(setting), "" if model == "unet" else model


def _of(rows: Sequence[Row], panel: tuple[str, str]) -> list[Row]:
    return [row for row in rows if (row["setting"], row["model"]) == panel]


def _ks(rows: Sequence[Row]) -> list[int]:
    return sorted({row["k"] for row in rows if row["k"]})
