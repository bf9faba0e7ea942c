"""Two masks of one case in Slicer's views: where they differ, side by side, or blended.

Three segmentations are made for it and taken away again: one per mask, in the schema's colours, and one of differences.
"""

from __future__ import annotations

from typing import Any

import slicer

from ..comparing import DIFFERENCE, SIDE_BY_SIDE
from ..grid import Array
from ..language import tr as _
from ..protocol import Label, LabelSchema
from .case import SceneCase, case_nodes
from .segments import add_segment, lay_out

_VIEWS = ("vtkMRMLSliceNodeRed", "vtkMRMLSliceNodeYellow")


class SceneComparison:
    """The nodes of a comparison, and how the views were before it."""

    def __init__(self, case: SceneCase, names: tuple[str, str], one: Array, two: Array, differences: Array) -> None:
        volume, own = case_nodes(case)
        self._own = own.GetID()
        apart = LabelSchema(
            (
                Label(_("only {name}").format(name=names[0]), 1, (41, 120, 219)),
                Label(_("only {name}").format(name=names[1]), 2, (242, 140, 26)),
                Label(_("other structure"), 3, (204, 51, 179)),
            )
        )
        self._nodes = [
            _segmentation(f"{case.name}: {title}", volume, schema, labels)
            for title, schema, labels in (
                (names[0], case.schema, one),
                (names[1], case.schema, two),
                (_("difference"), apart, differences),
            )
        ]
        self._layout = _layout_node()
        self._arrangement = self._layout.GetViewArrangement() if self._layout is not None else None
        self._visible(own, False)

    def show(self, mode: str) -> None:
        """Show one of the MODES."""
        one, two, difference = self._nodes
        beside = mode == SIDE_BY_SIDE
        self._visible(one, mode != DIFFERENCE)
        self._visible(two, mode != DIFFERENCE)
        self._visible(difference, mode == DIFFERENCE)
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


def _segmentation(name: str, volume: Any, schema: LabelSchema, labels: Array) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    for label in schema.labels:
        add_segment(node, label)
    lay_out(node, volume, schema, labels)
    return node


def _layout_node() -> Any:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
