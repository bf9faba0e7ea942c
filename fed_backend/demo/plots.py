"""Pictures of a report as PNG bytes: Dice per round and site, Dice per stage and site, slices with masks.

Every chart comes in a light and a dark variant with a transparent background; the page shows the one
that fits. Pictures of slices are dark in themselves and come once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fed_backend.demo.results import STAGES, RoundResult, SiteResult

matplotlib.use("Agg")

__all__ = ["DARK", "LIGHT", "Draw", "Theme", "plot_rounds", "plot_slice", "plot_stages"]


@dataclass(frozen=True)
class Theme:
    """Colours of a chart: ``text``, ``faint`` lines, and one per site (safe for colour-blind readers)."""

    name: str
    text: str
    faint: str
    sites: tuple[str, ...]


LIGHT = Theme("light", "#1c2733", "#c9d1da", ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a6d00", "#5b6b7b"))
DARK = Theme("dark", "#e6edf3", "#3b4653", ("#56b4e9", "#ff9f5a", "#2fd3a2", "#e18fc8", "#e5c453", "#a9b6c3"))

Draw = Callable[[Theme], bytes]
"""A chart as a function of its colours; returns a PNG."""

TRUTH_COLOUR = "#ffd23f"
MASK_COLOUR = "#ff5d8f"


def _figure(width: float, height: float, theme: Theme) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=190, layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.faint)
    axes.tick_params(colors=theme.text, length=0, labelsize=9.5)
    axes.grid(axis="y", color=theme.faint, linewidth=0.7, alpha=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(-0.02, 1.0)
    axes.set_ylabel("Dice", color=theme.text, fontsize=10)
    return figure, axes


def _png(figure: Figure, theme: Theme | None = None) -> bytes:
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None and theme is not None:
            for text in legend.get_texts():
                text.set_color(theme.text)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", transparent=theme is not None, metadata={"Software": None})
    return stream.getvalue()


def _colour(theme: Theme, index: int) -> str:
    return theme.sites[index % len(theme.sites)]


def plot_rounds(rounds: Sequence[RoundResult], sites: Sequence[str], theme: Theme) -> bytes:
    """Dice of each round's aggregate on each site's validation cases; a PNG."""
    figure, axes = _figure(5.0, 3.3, theme)
    numbers = [entry.round for entry in rounds]
    for index, site in enumerate(sites):
        values = [entry.dice.get(site) for entry in rounds]
        heights = [np.nan if value is None else value for value in values]
        axes.plot(numbers, heights, "o-", color=_colour(theme, index), linewidth=2, markersize=5, label=site)
    axes.set_xticks(numbers if len(numbers) <= 12 else numbers[:: len(numbers) // 10])
    axes.margins(x=0.06)
    axes.set_xlabel("federated round", color=theme.text, fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9.5)
    return _png(figure, theme)


def plot_stages(sites: Sequence[SiteResult], baseline: float, theme: Theme) -> bytes:
    """Dice on test cases per site: a dot per case and a bar at the mean for each stage; a PNG."""
    figure, axes = _figure(5.0, 3.3, theme)
    offsets = (-0.24, 0.0, 0.24)
    for index, site in enumerate(sites):
        colour = _colour(theme, index)
        means = [site.mean(stage) for stage in STAGES]
        places = [index + offset for offset in offsets]
        axes.plot(places, means, color=colour, linewidth=1.4, alpha=0.55, zorder=2)
        for place, stage, mean in zip(places, STAGES, means, strict=True):
            values = list(site.dice[stage].values())
            axes.scatter([place] * len(values), values, s=14, color=colour, alpha=0.45, linewidths=0, zorder=3)
            axes.plot([place - 0.075, place + 0.075], [mean, mean], color=colour, linewidth=3.2, zorder=4)
            label = f"{mean:.2f}".removeprefix("0")
            axes.annotate(
                label, (place, max([mean, *values])), (0, 5), textcoords="offset points",
                ha="center", fontsize=8.5, color=theme.text,
            )  # fmt: skip
    axes.axhline(baseline, color=theme.text, linewidth=1, linestyle=(0, (4, 3)), alpha=0.7)
    axes.annotate(
        f"best\nthreshold\n{baseline:.2f}", (1.0, baseline), (5, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", fontsize=8.5, color=theme.text,
    )  # fmt: skip
    axes.set_xticks(range(len(sites)), [site.name for site in sites])
    axes.set_xlim(-0.5, len(sites) - 0.5)
    axes.set_xlabel("base · after local learning · after federation", color=theme.text, fontsize=10)
    return _png(figure, theme)


def plot_slice(
    image: npt.NDArray[np.float64],
    aspect: float,
    mask: npt.NDArray[np.bool_] | None = None,
    truth: npt.NDArray[np.bool_] | None = None,
    pixels: int = 320,
) -> bytes:
    """One slice, with a filled mask and the outline of the truth; a PNG.

    Args:
        image: [row, column] intensities 0..1.
        aspect: height of a pixel divided by its width.
        mask: shown filled.
        truth: shown as an outline.
        pixels: width of the picture.
    """
    rows, columns = image.shape
    figure = Figure(figsize=(pixels / 100, pixels / 100 * rows * aspect / columns), dpi=100, facecolor="black")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="bilinear")
    if mask is not None and mask.any():
        tint = np.zeros((*mask.shape, 4))
        tint[mask] = (*matplotlib.colors.to_rgb(MASK_COLOUR), 0.45)
        axes.imshow(tint, aspect="auto", interpolation="nearest")
        axes.contour(mask, levels=[0.5], colors=[MASK_COLOUR], linewidths=1.2)
    if truth is not None and truth.any():
        axes.contour(truth, levels=[0.5], colors=[TRUTH_COLOUR], linewidths=1.6)
    axes.set_axis_off()
    return _png(figure)
