"""Two masks of one case in Slicer's views: where they differ, side by side, or blended.

Three segmentations are made for it and taken away again: one per mask, in the schema's colours, and one of differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from ..comparing import Structure
from ..grid import Array, dice
from ..protocol import LabelSchema
from .case import SceneCase, case_nodes
from .segments import lay_out
from .volumes import as_array, ijk_to_ras

_DIFFERENCES = (
    ("only", 1, (0.16, 0.47, 0.86)),
    ("only", 2, (0.95, 0.55, 0.10)),
    ("other structure", 3, (0.8, 0.2, 0.7)),
)
_VIEWS = ("vtkMRMLSliceNodeRed", "vtkMRMLSliceNodeYellow")


class SceneComparison:
    """The nodes of a comparison, and how the views were before it."""

    def __init__(self, case: SceneCase, names: tuple[str, str], schema: LabelSchema, one: Array, two: Array) -> None:
        volume, own = case_nodes(case)
        self._own = own.GetID()
        self._nodes = [_segmentation(f"{case.name}: {name}", volume) for name in (*names, "difference")]
        for node, labels in zip(self._nodes, (one, two), strict=False):
            for label in schema.labels:
                node.GetSegmentation().AddEmptySegment(label.name, label.name, [c / 255.0 for c in label.color])
            lay_out(node, volume, schema, labels)
        self._fill_differences(volume, names, one, two)
        self._layout = _layout_node()
        self._arrangement = self._layout.GetViewArrangement() if self._layout is not None else None
        self._visible(own, False)
        self.rows = _rows(volume, schema, one, two)

    def _fill_differences(self, volume: Any, names: tuple[str, str], one: Array, two: Array) -> None:
        node = self._nodes[2]
        parts = ((one != 0) & (two == 0), (one == 0) & (two != 0), (one != two) & (one != 0) & (two != 0))
        for (what, number, color), mask in zip(_DIFFERENCES, parts, strict=True):
            title = f"{what} {names[number - 1]}" if number < 3 else what
            key = node.GetSegmentation().AddEmptySegment("", title, color)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, key, volume)

    def show(self, mode: str) -> None:
        """Show "difference", "side by side" or "blended"."""
        one, two, difference = self._nodes
        beside = mode == "side by side"
        self._visible(one, mode != "difference")
        self._visible(two, mode != "difference")
        self._visible(difference, mode == "difference")
        for node, view in zip((one, two), _VIEWS, strict=True):
            display = node.GetDisplayNode()
            display.RemoveAllViewNodeIDs()
            display.SetOpacity(1.0 if beside else 0.5)
            if beside:
                display.AddViewNodeID(view)
        if self._layout is not None:
            wanted = self._layout.SlicerLayoutSideBySideView if beside else self._arrangement
            self._layout.SetViewArrangement(wanted)
        yellow = slicer.mrmlScene.GetNodeByID(_VIEWS[1])
        if beside and yellow is not None:
            yellow.SetOrientation("Axial")

    def close(self) -> None:
        """Take everything away; the case's own mask is seen again."""
        if self._layout is not None and self._layout.GetViewArrangement() != self._arrangement:
            self._layout.SetViewArrangement(self._arrangement)
            yellow = slicer.mrmlScene.GetNodeByID(_VIEWS[1])
            if yellow is not None:
                yellow.SetOrientation("Sagittal")
        for node in self._nodes:
            if slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        own = slicer.mrmlScene.GetNodeByID(self._own)
        if own is not None:
            self._visible(own, True)

    @staticmethod
    def _visible(node: Any, visible: bool) -> None:
        node.GetDisplayNode().SetVisibility(visible)


def _segmentation(name: str, volume: Any) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node


def _layout_node() -> Any:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _rows(volume: Any, schema: LabelSchema, one: Array, two: Array) -> list[Structure]:
    millilitres = abs(float(np.linalg.det(as_array(ijk_to_ras(volume))[:3, :3]))) / 1000.0
    rows = []
    for label in schema.labels:
        first, second = one == label.value, two == label.value
        sizes = [float(np.count_nonzero(mask)) * millilitres for mask in (first, second)]
        rows.append(Structure(label.name, sizes[0], sizes[1], dice(first, second)))
    return rows
