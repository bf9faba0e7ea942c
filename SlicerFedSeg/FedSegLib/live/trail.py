"""Which marks belong to which step, so that undo and redo move the points on the screen, too.

A mark is a point as the person placed it: structure, inside or outside, and where in the world (mm). The site counts
steps up even for undo; here steps are a list with a cursor, as a person thinks of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

World = tuple[float, float, float]

_SAME_PLACE = 1e-3
"""Millimetres: a point that the scene gives back lies where it was put but for rounding."""


def same_place(one: World, two: World) -> bool:
    """True when two positions are those of one point."""
    return math.dist(one, two) < _SAME_PLACE


@dataclass(frozen=True)
class Mark:
    """One point of a structure."""

    label: str
    inside: bool
    world: World


class Trail:
    """The steps of one session and their marks."""

    def __init__(self) -> None:
        self._steps: list[tuple[Mark, ...]] = []
        self._cursor = 0
        self._pending: list[Mark] = []

    def place(self, marks: list[Mark]) -> None:
        """Points were placed; their step is not answered yet."""
        self._pending += marks

    def answered(self, marks: tuple[Mark, ...] = ()) -> None:
        """One more step is done; what was undone is gone for good."""
        self._steps = [*self._steps[: self._cursor], marks]
        self._cursor += 1
        self._pending = [mark for mark in self._pending if mark not in marks]

    def refused(self, marks: tuple[Mark, ...]) -> None:
        """The points of a step that failed are taken away."""
        self._pending = [mark for mark in self._pending if mark not in marks]

    def back(self) -> None:
        """One step was undone."""
        self._cursor = max(0, self._cursor - 1)

    def forth(self) -> None:
        """One step was done again."""
        self._cursor = min(len(self._steps), self._cursor + 1)

    def clear(self) -> None:
        """A new session, or the person wiped the points away."""
        self._steps, self._cursor, self._pending = [], 0, []

    def shown(self, label: str) -> list[Mark]:
        """Marks of a structure that stand now."""
        done = [mark for step in self._steps[: self._cursor] for mark in step]
        return [mark for mark in [*done, *self._pending] if mark.label == label]
