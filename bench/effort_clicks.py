"""A simulated annotator: clicks in the middle of the largest error until the mask is good enough.

The standard measure of interactive segmentation (number of clicks, NoC; Sofiiuk et al. 2021, arXiv
2102.06583, section 4.1), through the very sessions that annotators use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.effort_data import Case, Target
from monailabel_app.imaging.intensity import window_of
from monailabel_app.inference.embeddings.cache import FeatureCache, Found, SliceView
from monailabel_app.inference.embeddings.memory import MemoryStore
from monailabel_app.inference.embeddings.priority import Turns
from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.inference.planes import Plane
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.interactive.session import Session
from monailabel_app.learning.base_check import Answers
from monailabel_app.learning.base_prompts import largest_error, middle
from monailabel_app.learning.dice import dice
from monailabel_app.models.base import Labelmap
from monailabel_app.models.prompting import SlicePrompt

__all__ = ["CAP", "GOALS", "Served", "clicks_needed", "plain_clicks", "session_clicks", "summary"]

CAP = 20
GOALS = (0.80, 0.85, 0.90)


class Served:
    """One version of a model, as a session wants it."""

    name = "sam"

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.image_size = snapshot.image_size
        self._cache = FeatureCache(MemoryStore(), None, Turns())

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def features(self, snapshot: Snapshot, view: SliceView) -> Found:
        return self._cache.features(snapshot, view)


def session_clicks(
    model: Served, schema: dict[str, int], case: Case, target: Target, initial: Labelmap | None = None
) -> list[float]:
    """Dice before the first click and after each, until it is above the highest goal or the cap is reached."""
    window = window_of(case.volume)
    session = Session("bench", "case", case.volume, window, model, schema, target.label, target.axis)
    if initial is not None:
        session.mask[...] = initial
    plane, value = session.plane(target.axis), schema[target.label]
    true = np.ascontiguousarray(plane.upright(case.labels, target.index) == value)
    numbers = _numbers(plane, case.volume.shape, target.index)
    found = [dice(plane.upright(session.mask, target.index) == value, true)]
    while len(found) <= CAP and found[-1] < GOALS[-1]:
        wrong = (plane.upright(session.mask, target.index) == value) ^ true
        row, column = middle(largest_error(wrong, true))
        i, j, k = (int(n) for n in np.unravel_index(numbers[row, column], case.volume.shape))
        kind = "foreground" if true[row, column] else "background"
        session.prompt(PromptRequest.model_validate({"label": target.label, "axis": target.axis, kind: [(i, j, k)]}))
        found.append(dice(plane.upright(session.mask, target.index) == value, true))
    return found


def plain_clicks(one: Answers, schema: dict[str, int], case: Case, target: Target) -> list[float]:
    """The same for a method without a network; it sees the slice as it is."""
    plane = Plane.of(case.volume, target.axis, 256)
    image = window_of(case.volume).unit(np.ascontiguousarray(plane.upright(case.volume.array, target.index)))
    one.look(image if image.ndim == 2 else image.mean(axis=-1, dtype=np.float32))
    true = np.ascontiguousarray(plane.upright(case.labels, target.index) == schema[target.label])
    shown = np.zeros_like(true)
    found, prompt = [dice(shown, true)], SlicePrompt()
    while len(found) <= CAP and found[-1] < GOALS[-1]:
        row, column = middle(largest_error(shown ^ true, true))
        prompt = SlicePrompt((*prompt.points, (column + 0.5, row + 0.5, bool(true[row, column]))))
        shown = one.answer(prompt, first=len(found) == 1)
        found.append(dice(shown, true))
    return found


def clicks_needed(found: Sequence[float], goal: float) -> int | None:
    """Clicks until Dice reaches the goal; ``None`` where it never does."""
    return next((number for number, value in enumerate(found) if value >= goal), None)


def summary(runs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Mean clicks to each goal (a failure counts as the cap), and failures, of several structures."""
    result: dict[str, float] = {"structures": len(runs), "dice_0": float(np.mean([run[0] for run in runs]))}
    for goal in GOALS:
        needed = [clicks_needed(run, goal) for run in runs]
        result[f"clicks_{goal:.2f}"] = float(np.mean([CAP if n is None else n for n in needed]))
        result[f"failures_{goal:.2f}"] = sum(n is None for n in needed)
    return result


def _numbers(plane: Plane, shape: tuple[int, int, int], index: int) -> npt.NDArray[np.int64]:
    """The flat number of the voxel under each pixel of an upright slice."""
    return plane.upright(np.arange(np.prod(shape)).reshape(shape), index)
