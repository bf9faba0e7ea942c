"""Painting and erasing structures by hand, and taking strokes back.

Strokes change the case's own segmentation in the scene; FedSegLib notices that by itself and tells the site with the
next prompt. Here only the strokes since the last other change can be taken back; earlier ones are steps of the site's
session by then, and its undo covers them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from FedSegLib.grid import Array, Box, changed_box
from FedSegLib.scene import SceneCase
from FedSegLib.scene.segments import case_labels, layout_stamp, named_segments, write_box
from trame_slicer.core import SegmentationEditor
from trame_slicer.segmentation import SegmentationEffectErase, SegmentationEffectPaint
from trame_slicer.segmentation.paint_effect_parameters import BrushDiameterMode

PAINT, ERASE = "paint", "erase"


@dataclass(frozen=True)
class Stroke:
    """Labels [k, j, i] within a box, before and after."""

    box: Box
    before: Array
    after: Array


class Strokes:
    """What was painted on one case since anything else changed its labels.

    Args:
        case: the open case. changed: called after every stroke, also one taken back.
    """

    def __init__(self, case: SceneCase, changed: Callable[[], None]) -> None:
        self._case = case
        self._changed = changed
        self._done: list[Stroke] = []
        self._undone: list[Stroke] = []
        self._stamp: tuple[int, ...] = ()

    @property
    def can_undo(self) -> bool:
        """True when the last change of the labels was a stroke."""
        return bool(self._done) and self._current

    @property
    def can_redo(self) -> bool:
        """True when the last change of the labels was that a stroke was taken back."""
        return bool(self._undone) and self._current

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within this, a stroke is applied."""
        if not self._current:
            self._done.clear()
        before = self._labels()
        yield
        after = self._labels()
        box = changed_box(before, after)
        if box is not None:
            self._done.append(Stroke(box, before[box].copy(), after[box].copy()))
            self._undone.clear()
            self._settle()

    def undo(self) -> None:
        """Take the last stroke back."""
        stroke = self._done.pop()
        self._write(stroke.box, stroke.before)
        self._undone.append(stroke)
        self._settle()

    def redo(self) -> None:
        """Apply the stroke that was taken back last."""
        stroke = self._undone.pop()
        self._write(stroke.box, stroke.after)
        self._done.append(stroke)
        self._settle()

    @property
    def _current(self) -> bool:
        return self._stamp == self._now()

    def _settle(self) -> None:
        self._stamp = self._now()
        self._changed()

    def _now(self) -> tuple[int, ...]:
        segmentation = slicer.mrmlScene.GetNodeByID(self._case.segmentation)
        return () if segmentation is None else layout_stamp(segmentation, self._case.schema)

    def _labels(self) -> Array:
        find = slicer.mrmlScene.GetNodeByID
        return case_labels(find(self._case.segmentation), find(self._case.volume), self._case.schema)

    def _write(self, box: Box, labels: Array) -> None:
        find = slicer.mrmlScene.GetNodeByID
        everything = np.ones(labels.shape, bool)
        write_box(find(self._case.segmentation), find(self._case.volume), self._case.schema, box, labels, everything)


class _Paint(SegmentationEffectPaint):  # type: ignore[misc]
    """trame-slicer's brush; every stroke is recorded."""

    strokes: Strokes | None = None

    def paint_glyph_at_world_coordinates(self, polydata: Any, paint_coordinates_world: Any) -> None:
        if self.strokes is not None:
            with self.strokes.recording():
                super().paint_glyph_at_world_coordinates(polydata, paint_coordinates_world)


class _Erase(SegmentationEffectErase):  # type: ignore[misc]
    """trame-slicer's eraser; every stroke is recorded."""

    strokes: Strokes | None = None

    def paint_glyph_at_world_coordinates(self, polydata: Any, paint_coordinates_world: Any) -> None:
        if self.strokes is not None:
            with self.strokes.recording():
                super().paint_glyph_at_world_coordinates(polydata, paint_coordinates_world)


_EFFECTS: dict[str, type[Any]] = {PAINT: _Paint, ERASE: _Erase}


class Brush:
    """The paint brush and the eraser of the page.

    Args:
        editor: trame-slicer's. changed: called after every stroke.
    """

    def __init__(self, editor: SegmentationEditor, changed: Callable[[], None]) -> None:
        self._editor = editor
        self._changed = changed
        self._case: SceneCase | None = None
        self.kind = ""
        """What is in hand: "paint", "erase", or "" for neither."""
        self.strokes: Strokes | None = None
        """Of the open case; None without one."""

    def open(self, case: SceneCase | None) -> None:
        """Another case (or none) is open now."""
        if case is self._case:
            return
        self.lay_down()
        self._case = case
        self.strokes = None if case is None else Strokes(case, self._changed)
        if case is None:
            self._editor.clear()
            return
        find = slicer.mrmlScene.GetNodeByID
        self._editor.set_active_segmentation(find(case.segmentation), find(case.volume))

    def take(self, kind: str, structure: str, diameter: float) -> None:
        """Paint or erase a structure with the left mouse button, on the slice under the mouse.

        Args:
            kind: "paint" or "erase". diameter: millimetres.
        """
        if self._case is None:
            return
        segmentation = slicer.mrmlScene.GetNodeByID(self._case.segmentation)
        segments = dict(named_segments(segmentation, self._case.schema, add_missing=True))
        self._editor.set_active_segment_id(segments[structure])
        effect = self._editor.set_active_effect_type(_EFFECTS[kind])
        effect.strokes = self.strokes
        effect.set_use_sphere_brush(False)
        effect.set_brush_diameter(diameter, BrushDiameterMode.Absolute)
        self.kind = kind

    def lay_down(self) -> None:
        """Give the mouse back."""
        if self.kind:
            self.kind = ""
            self._editor.deactivate_effect()
