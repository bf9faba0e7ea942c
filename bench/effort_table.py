"""The figures of :mod:`bench.effort` as Markdown."""

from __future__ import annotations

from typing import Any

__all__ = ["table"]

_GOALS = ("0.80", "0.85", "0.90")


def table(found: dict[str, Any]) -> str:
    """Both tables, and how they were made."""
    command = "make bench-effort" + (' ARGS="--full"' if found["full"] else "")
    lines = ["# How many clicks a mask takes", ""]
    lines += [f"`{command}`, seed {found['seed']}, torch {found['torch']}, {found['minutes']} minutes.", ""]
    lines += [
        "## The base",
        "",
        "Mean IoU of single structures at 256 x 256, on pictures that were not trained on.",
        "",
    ]
    lines += ["| pictures | | 1 click | 3 clicks | 5 clicks | box |", "|---|---|---|---|---|---|"]
    for source, methods in found["base"].items():
        for name, scores in methods.items():
            clicks = [f"{scores[f'clicks_{n}']:.3f}" if name != "filled box" else "" for n in (1, 3, 5)]
            lines.append(f"| {source} | {name} | {' | '.join(clicks)} | {scores['box']:.3f} |")
    lines += ["", "## Effort at a site", ""]
    lines += [f"Mean clicks on a slice until Dice reaches the goal, at most 20. Each training: {found['steps']} steps,"]
    lines += ["from the adapter of the training before."]
    lines += ["In brackets: structures that never reached it, counted as 20.", ""]
    lines += ["| site | | structures | Dice before the first click | to 0.80 | to 0.85 | to 0.90 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for site, ways in found["effort"].items():
        for name, row in ways.items():
            cells = [f"{row[f'clicks_{goal}']:.1f} ({row[f'failures_{goal}']:.0f})" for goal in _GOALS]
            start = f"{row['structures']:.0f} | {row['dice_0']:.2f}"
            lines.append(f"| {site} | {name} | {start} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
