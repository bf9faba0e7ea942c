"""Points and a box that the person places in the slice views, and the voxels that they mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import slicer
import vtk

from ..errors import PromptOutside
from ..grid import Array, Grid
from ..language import tr as _
from ..live.trail import World, same_place
from ..protocol import Ijk
from .segments import follow
from .volumes import as_array, find_node, ijk_to_ras

ToIjk = Callable[[Any], Array]


class Pointer(Enum):
    """What the next clicks in a slice view place."""

    INCLUDE = "include"
    EXCLUDE = "exclude"
    BOX = "box"
    LASSO = "lasso"
    SCRIBBLE_IN = "scribble"
    SCRIBBLE_OUT = "erase by scribble"


SCRIBBLES = frozenset({Pointer.SCRIBBLE_IN, Pointer.SCRIBBLE_OUT})
"""Painted with the Segment Editor; the others are placed as markups."""


def point_node(name: str, color: tuple[float, float, float]) -> str:
    """A node for points of one kind; returns its id."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*color)
    display.SetPointLabelsVisibility(False)
    return str(node.GetID())


def box_node(name: str) -> str:
    """A node for a box; returns its id."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetFillOpacity(0.05)
    node.GetDisplayNode().SetPropertiesLabelVisibility(False)
    return str(node.GetID())


def lasso_node(name: str) -> str:
    """A node for a closed outline; returns its id."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", name)
    node.SetCurveTypeToLinear()
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    return str(node.GetID())


def scribble_node(name: str, volume: Any) -> str:
    """A segmentation to paint strokes in, inside and outside the structure; returns its id."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    follow(node, volume)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("draw", "draw", (0.1, 0.8, 0.2))
    node.GetSegmentation().AddEmptySegment("erase", "erase", (0.9, 0.15, 0.1))
    return str(node.GetID())


def defined_points(node_id: str) -> list[World]:
    """World positions of the points that are placed (not the one under the mouse)."""
    node = find_node(node_id, _("The case's points"))
    return [_position(node, index) for index in _defined(node)]


def _defined(node: Any) -> list[int]:
    """Indices of the points that are placed. While a person places points, one under the mouse is among them: it may
    have any index, is the next one to be placed, and must be left alone."""
    found = range(node.GetNumberOfControlPoints())
    return [index for index in found if node.GetNthControlPointPositionStatus(index) == node.PositionDefined]


def _position(node: Any, index: int) -> World:
    x, y, z = node.GetNthControlPointPositionWorld(index)
    return float(x), float(y), float(z)


def show_points(node_id: str, wanted: list[World]) -> None:
    """Make the node hold exactly these points; those that stand already are left alone."""
    node = find_node(node_id, _("The case's points"))
    present = _defined(node)
    same = 0
    while same < min(len(present), len(wanted)) and same_place(_position(node, present[same]), wanted[same]):
        same += 1
    for index in reversed(present[same:]):
        node.RemoveNthControlPoint(index)
    for world in wanted[same:]:
        node.AddControlPointWorld(*world)
    for index in _defined(node):
        node.SetNthControlPointLocked(index, True)  # a prompt that was sent is undone, not dragged


def to_voxel(world: tuple[float, float, float], to_ijk: ToIjk, grid: Grid, what: str) -> Ijk:
    """The voxel at a world position; PromptOutside when it is not in the image."""
    i, j, k = (math.floor(x + 0.5) for x in to_ijk(world))
    if not grid.holds((i, j, k)):
        raise PromptOutside(_("{what} lies outside the image.").format(what=what), _("Click inside the image."))
    return i, j, k


def world_to_ijk(volume: Any) -> ToIjk:
    """A function from a world position (mm) to continuous voxel coordinates of the volume."""
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), general)
    inverse = np.linalg.inv(as_array(ijk_to_ras(volume)))

    def to_ijk(world: Any) -> Array:
        ras = general.TransformPoint(*world)
        return np.asarray((inverse @ np.array([*ras, 1.0]))[:3])

    return to_ijk


def read_points(node_id: str, to_ijk: ToIjk, grid: Grid) -> tuple[Ijk, ...]:
    """The node's points as voxels; PromptOutside when one is not in the image."""
    node = find_node(node_id, _("The case's points"))
    points = []
    for position in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(position) != node.PositionDefined:
            continue
        i, j, k = (math.floor(x + 0.5) for x in to_ijk(node.GetNthControlPointPositionWorld(position)))
        if not grid.holds((i, j, k)):
            raise PromptOutside(
                _("Point {position} of '{name}' lies outside the image.").format(
                    position=position + 1, name=node.GetName()
                ),
                _("Delete it or move it inside."),
            )
        points.append((i, j, k))
    return tuple(points)


def read_box(node_id: str, to_ijk: ToIjk, grid: Grid) -> tuple[int, int, int, int, int, int] | None:
    """The voxels inside the box, both corners included; None without a box."""
    node = find_node(node_id, _("The case's box"))
    half = np.array(node.GetSize()) / 2.0
    if not half.any():
        return None
    to_world = as_array(node.GetObjectToWorldMatrix())
    signs = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    corners = np.array([to_ijk((to_world @ np.array([*(np.array(s) * half), 1.0]))[:3]) for s in signs])
    low = [max(0, math.floor(x + 0.5)) for x in corners.min(axis=0)]
    high = [min(n - 1, math.ceil(x - 0.5)) for x, n in zip(corners.max(axis=0), grid.shape, strict=True)]
    outside = corners.max(axis=0) < -0.5
    outside |= corners.min(axis=0) > np.array(grid.shape) - 0.5
    if outside.any():
        raise PromptOutside(_("The box lies outside the image."), _("Draw it again, over the image."))
    i0, j0, k0 = (min(a, n - 1) for a, n in zip(low, grid.shape, strict=True))
    i1, j1, k1 = (max(a, b) for a, b in zip((i0, j0, k0), high, strict=True))
    return i0, j0, k0, i1, j1, k1
