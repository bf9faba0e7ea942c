"""The open case as something to prompt on: what was placed, where, on which slices; and voxels changed in place.

All calls belong to the GUI thread. Labels are arrays [k, j, i] of the schema's values; world positions are RAS mm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from ..errors import CaseGone, PromptOutside
from ..grid import Array
from ..grid import Box as Slices
from ..language import tr as _
from ..live.drawing import Box, fill_outline
from ..live.trail import Mark, World
from ..protocol import Ijk
from .case import SceneCase, case_nodes
from .pointers import Pointer, defined_points, read_box, show_points, to_voxel, world_to_ijk
from .segments import case_labels, layout_stamp, segment_mask, write_box
from .views import view_axis
from .volumes import find_node, volume_grid

_KINDS = {Pointer.INCLUDE: True, Pointer.EXCLUDE: False}
_STROKES = {"draw": True, "erase": False}


class Canvas:
    """A case that is prompted. Tells when something was placed, until :meth:`close`.

    Args:
        case: the open case.
        placed: called with what was placed: a point or a stroke (shapes end with the mouse mode).
    """

    def __init__(self, case: SceneCase, placed: Callable[[Pointer], None]) -> None:
        self._case = case
        self._quiet = False
        self._observed: list[tuple[Any, int]] = []

        def tell(pointer: Pointer) -> Callable[[Any, Any], None]:
            return lambda caller, event: None if self._quiet else placed(pointer)

        defined = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
        for pointer in _KINDS:
            self._observe(find_node(case.pointers[pointer], _("The case's points")), defined, tell(pointer))
        strokes = find_node(case.scribbles, _("The case's scribbles")).GetSegmentation()
        self._observe(strokes, strokes.SourceRepresentationModified, tell(Pointer.SCRIBBLE_IN))

    def _observe(self, target: Any, event: int, call: Callable[[Any, Any], None]) -> None:
        self._observed.append((target, target.AddObserver(event, call)))

    def close(self) -> None:
        """Listen no more."""
        for target, tag in self._observed:
            target.RemoveObserver(tag)
        self._observed = []

    # ---- what was placed

    def points(self) -> list[tuple[bool, list[World]]]:
        """For inside and outside: positions of the points, in the scene's order."""
        return [(inside, defined_points(self._case.pointers[pointer])) for pointer, inside in _KINDS.items()]

    def show_marks(self, marks: list[Mark]) -> None:
        """Show exactly these points."""
        self._quiet = True
        try:
            for pointer, inside in _KINDS.items():
                show_points(self._case.pointers[pointer], [mark.world for mark in marks if mark.inside is inside])
        except CaseGone:
            pass  # a point list that was deleted shows nothing
        finally:
            self._quiet = False

    def voxel(self, world: World) -> Ijk:
        """The voxel at a position.

        Raises:
            PromptOutside: it is not in the image.
        """
        volume = case_nodes(self._case)[0]
        return to_voxel(world, world_to_ijk(volume), volume_grid(volume), _("The point"))

    def axis(self, world: World) -> str:
        """The image axis ("i", "j", "k") that the slice view through this position is across; "" without a view."""
        volume = case_nodes(self._case)[0]
        return view_axis(volume, world)

    def box(self) -> tuple[Box, str] | None:
        """The box drawn, on the one slice it was drawn on, and that slice's axis; None without one."""
        volume = case_nodes(self._case)[0]
        node = find_node(self._case.pointers[Pointer.BOX], _("The case's box"))
        box = read_box(self._case.pointers[Pointer.BOX], world_to_ijk(volume), volume_grid(volume))
        if box is None:
            return None
        center = [0.0, 0.0, 0.0]
        node.GetCenterWorld(center)
        axis = view_axis(volume, (center[0], center[1], center[2]))
        flat = list(box)
        if axis:
            at = "ijk".index(axis)
            flat[at] = flat[at + 3] = self.voxel((center[0], center[1], center[2]))[at]
        return (flat[0], flat[1], flat[2], flat[3], flat[4], flat[5]), axis

    def outline(self) -> tuple[Array, str] | None:
        """Voxels inside the lasso, and the axis of its slice; None without one.

        Raises:
            PromptOutside: it encloses nothing of the image.
        """
        volume = case_nodes(self._case)[0]
        corners = defined_points(self._case.pointers[Pointer.LASSO])
        if not corners:
            return None
        middle = np.mean(corners, axis=0)
        axis = view_axis(volume, (float(middle[0]), float(middle[1]), float(middle[2]))) or "k"
        to_ijk = world_to_ijk(volume)
        grid = volume_grid(volume)
        return fill_outline([list(to_ijk(corner)) for corner in corners], "ijk".index(axis), grid.shape), axis

    def strokes(self) -> tuple[list[tuple[Array, bool]], str]:
        """Voxels painted as scribbles (inside or outside), and the axis of the view they were painted in."""
        volume = case_nodes(self._case)[0]
        node = find_node(self._case.scribbles, _("The case's scribbles"))
        found = [(mask, inside) for key, inside in _STROKES.items() if (mask := segment_mask(node, key, volume)).any()]
        if not found:
            return [], ""
        k, j, i = (float(places.mean()) for places in np.nonzero(found[0][0]))
        return found, view_axis(volume, _to_world(volume, (i, j, k)))

    def clear_shapes(self) -> None:
        """Remove the box, the lasso and the scribbles; the points stay."""
        self._quiet = True
        try:
            for pointer in (Pointer.BOX, Pointer.LASSO):
                node = slicer.mrmlScene.GetNodeByID(self._case.pointers[pointer])
                if node is not None:
                    node.RemoveAllControlPoints()
            strokes = slicer.mrmlScene.GetNodeByID(self._case.scribbles)
            if strokes is not None:
                for key in _STROKES:
                    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(strokes, key)
        finally:
            self._quiet = False

    # ---- voxels

    def labels(self) -> Array:
        """A copy of the case's labels."""
        volume, segmentation = case_nodes(self._case)
        return case_labels(segmentation, volume, self._case.schema)

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever the case's labels were touched."""
        segmentation = case_nodes(self._case)[1]
        return layout_stamp(segmentation, self._case.schema)

    def apply(self, box: Slices, voxels: Array, changed: Array) -> None:
        """Write label values within a box, where ``changed`` says so.

        Raises:
            PromptOutside: the box is not in the image.
        """
        volume, segmentation = case_nodes(self._case)
        if any(span.stop > size for span, size in zip(box, reversed(volume_grid(volume).shape), strict=True)):
            raise PromptOutside(_("The site's answer lies outside the image."), _("Open the case again."))
        write_box(segmentation, volume, self._case.schema, box, voxels, changed)


def _to_world(volume: Any, ijk: tuple[float, float, float]) -> World:
    to_ijk = world_to_ijk(volume)
    # three unit steps give the affine that world_to_ijk inverts, whatever transforms lie between
    origin = np.asarray(to_ijk((0.0, 0.0, 0.0)))
    steps = np.array([np.asarray(to_ijk(unit)) - origin for unit in np.eye(3)]).T
    x, y, z = np.linalg.solve(steps, np.asarray(ijk) - origin)
    return float(x), float(y), float(z)
