"""The figures of ``GET /statistics`` as a picture: no name of a case or a person is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from monailabel_app.learning.statistics import UNAIDED

__all__ = ["plot"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a6d00", "#5b6b7b")
_LEGEND = 8

Row = Mapping[str, Any]


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Draw corrections over time, and per correction the Dice of the mask shown, the seconds and the clicks.

    Args:
        found: what :func:`.statistics.statistics` gives.
        path: PNG to write; replaced.

    Raises:
        OSError: it cannot be written.
    """
    figure = Figure(figsize=(11, 6.4), dpi=130, layout="constrained")
    (time, dice), (seconds, clicks) = figure.subplots(2, 2)
    _over_time(time, found["days"])
    versions = [row["version"] for row in found["versions"]]
    _per_case(dice, found["cases"], versions, "dice_shown", "Dice of the mask shown with the mask submitted")
    _per_case(seconds, found["cases"], versions, "seconds", "seconds per case")
    _per_case(clicks, found["cases"], versions, "clicks", "clicks per case")
    dice.set_ylim(-0.02, 1.02)
    for axes in (seconds, clicks):
        axes.set_ylim(bottom=0)
    if clicks.collections:
        clicks.legend(fontsize=8, frameon=False, loc="best", title="version shown (line: mean)", title_fontsize=8)
    figure.suptitle(found["summary"], fontsize=10, wrap=True)
    figure.savefig(path, format="png", metadata={"Software": None})


def _over_time(axes: Axes, days: Sequence[Row]) -> None:
    axes.set_title("corrections, in all", fontsize=10)
    at = [date2num(date.fromisoformat(row["day"])) for row in days]
    axes.step(at, [row["total"] for row in days], where="post", color=_COLOURS[0], linewidth=1.8)
    axes.plot(at, [row["total"] for row in days], "o", color=_COLOURS[0], markersize=4)
    axes.set_ylim(bottom=0)
    axes.xaxis_date()
    axes.tick_params(axis="x", labelrotation=20, labelsize=8)
    _bare(axes)


def _per_case(axes: Axes, cases: Sequence[Row], versions: Sequence[str], key: str, title: str) -> None:
    """One dot per correction in order of submission, a line at each version's mean."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("correction", fontsize=9)
    for index, version in enumerate(versions):
        points = [
            (number, case[key])
            for number, case in enumerate(cases, start=1)
            if (case["version_shown"] or UNAIDED) == version and case[key] is not None
        ]
        if not points:
            continue
        colour = _COLOURS[index % len(_COLOURS)]
        at, values = zip(*points, strict=True)
        name = "no mask" if version == UNAIDED else version
        hidden = index < len(versions) - _LEGEND
        axes.scatter(at, values, s=16, color=colour, alpha=0.75, label="_" if hidden else name)
        axes.hlines(sum(values) / len(values), min(at) - 0.4, max(at) + 0.4, color=colour, linewidth=1.6)
    axes.set_xlim(0.4, max(len(cases), 1) + 0.6)
    _bare(axes)


def _bare(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#c9d1da", linewidth=0.6)
    axes.set_axisbelow(True)
