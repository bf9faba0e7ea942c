"""One picture per data set and model: Dice of every method, site by site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib as mpl

from bench.federation_rows import Row

mpl.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["draw"]


def draw(rows: Sequence[Row], names: Mapping[str, str], target: Path, title: str) -> None:
    """Draw the test Dice.

    Args:
        rows: of one data set and model.
        names: method -> how it is called, from top to bottom.
        target: PNG to write.
        title: above the picture.
    """
    tests = [row for row in rows if row["part"] == "test"]
    sites = sorted({row["site"] for row in tests})
    colours = dict(zip(sites, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
    figure, axes = plt.subplots(figsize=(8.2, 0.42 * len(names) + 1.4), layout="constrained")
    for place, method in enumerate(names):
        mine = [row for row in tests if row["method"] == method]
        means = {site: fmean(row["dice"] for row in mine if row["site"] == site) for site in sites}
        axes.barh(place, fmean(means.values()), height=0.62, color="#d7dde4", zorder=1)
        for shift, (site, value) in enumerate(means.items()):
            height = place + 0.36 * (shift / max(1, len(sites) - 1) - 0.5)
            axes.plot(value, height, "o", markersize=5, color=colours[site], zorder=3)
    alone = [row["dice"] for row in tests if row["method"] == "local-only"]
    if alone:
        axes.axvline(fmean(alone), color="#555555", linewidth=1, linestyle="--", zorder=2)
    axes.set_yticks(range(len(names)), names.values())
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("Dice on test cases (bar: mean of the sites; dashed: every site alone)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(axis="x", color="#eeeeee", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=colours[site], label=site) for site in sites]  # type: ignore[attr-defined]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(sites)), frameon=False, fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)
    plt.close(figure)
