"""Does the site save its annotators work? Figures over its corrections.

Pure. The Dice of the mask shown against the mask submitted says how much had to be changed; seconds are
those that the client reported; clicks are the prompts given for the case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from monailabel_app.state.corrections import Correction

__all__ = ["statistics"]

UNAIDED = "none"
"""Stands for the version where the annotator was shown no mask."""


def statistics(corrections: Sequence[Correction]) -> dict[str, Any]:
    """Figures of a site.

    Args:
        corrections: all, oldest first.

    Returns:
        ``days`` (``{day, corrections, total}``), ``versions`` (per version that was shown, in order of
        first use: cases, mean Dice shown, median seconds, mean clicks, ``None`` where nobody knows),
        ``cases`` (each correction) and ``summary``, one sentence.
    """
    by_version: dict[str, list[Correction]] = {}
    for correction in corrections:
        by_version.setdefault(correction.version_shown or UNAIDED, []).append(correction)
    versions = [{"version": name, **_figures(found)} for name, found in by_version.items()]
    return {
        "days": _days(corrections),
        "versions": versions,
        "cases": [_case(correction) for correction in corrections],
        "summary": _summary(by_version),
    }


def _figures(corrections: Sequence[Correction]) -> dict[str, Any]:
    dice = [c.dice_shown for c in corrections if c.dice_shown is not None]
    seconds = [c.seconds for c in corrections if c.seconds is not None]
    return {
        "model": corrections[0].model_shown,
        "corrections": len(corrections),
        "dice_shown": round(fmean(dice), 4) if dice else None,
        "seconds": round(median(seconds), 1) if seconds else None,
        "clicks": round(fmean(c.prompts for c in corrections), 2),
    }


def _days(corrections: Sequence[Correction]) -> list[dict[str, Any]]:
    counts = Counter(c.submitted_at[:10] for c in corrections)
    total, days = 0, []
    for day in sorted(counts):
        total += counts[day]
        days.append({"day": day, "corrections": counts[day], "total": total})
    return days


def _case(correction: Correction) -> dict[str, Any]:
    keys = ("id", "case", "author", "submitted_at", "version_shown", "dice_shown", "seconds")
    return {**{key: getattr(correction, key) for key in keys}, "clicks": correction.prompts}


def _summary(by_version: dict[str, list[Correction]]) -> str:
    figures = {name: _figures(found) for name, found in by_version.items() if name != UNAIDED}
    shown = {name: found for name, found in figures.items() if found["dice_shown"] is not None}
    if not shown:
        return "No correction started from a mask of this site yet."
    newest, now = list(shown.items())[-1]
    parts = [f"Masks of {newest} agree with what was submitted by Dice {now['dice_shown']:.2f}"]
    first, then = next(iter(shown.items()))
    if first != newest:
        parts.append(f"those of {first} by {then['dice_shown']:.2f}")
    unaided = _figures(by_version[UNAIDED])["seconds"] if UNAIDED in by_version else None
    if unaided is not None and now["seconds"] is not None:
        parts.append(f"a case takes {now['seconds']:.0f} s (median), {unaided:.0f} s without a mask to start from")
    return "; ".join(parts) + "."
