"""Pointing at a case in the slice views, as Slicer does it, and what is then to be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import session_peer
import site_peer
from panel_driver import PanelDriver
from site_peer import SitePeer

Voxels = np.ndarray[Any, Any]


def world(ijk: tuple[float, float, float]) -> list[float]:
    return [float(x) for x in (site_peer.AFFINE @ [*ijk, 1])[:3]]


def tap(panel: PanelDriver, ijk: tuple[int, int, int]) -> None:
    """A click in a slice view, with a pointing tool in hand; the mouse stays there."""
    hover(panel, ijk)
    _place(ijk, defined=True)
    hover(panel, ijk)


def hover(panel: PanelDriver, ijk: tuple[int, int, int]) -> None:
    """The mouse moves in a slice view, with a pointing tool in hand: Slicer shows where a click would place a point."""
    _place(ijk, defined=False)
    panel.process()


def _place(ijk: tuple[int, int, int], *, defined: bool) -> None:
    """What vtkSlicerMarkupsWidget does: the active node's preview point moves, or becomes a placed point."""
    import slicer

    selection = slicer.app.applicationLogic().GetSelectionNode()
    node = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    statuses = [node.GetNthControlPointPositionStatus(n) for n in range(node.GetNumberOfControlPoints())]
    preview = node.PositionPreview
    index = statuses.index(preview) if preview in statuses else node.GetControlPointPlacementStartIndex()
    mouse = slicer.vtkMRMLInteractionEventData()
    mouse.SetWorldPosition(world(ijk))
    status = node.PositionDefined if defined else preview
    upright = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    node.GetDisplayNode().UpdateActiveControlPointWorld(index, mouse, upright, "", "", status)


def shown(panel: PanelDriver, name: str) -> Voxels:
    """Voxels [i, j, k] of a structure in the scene."""
    import slicer
    from FedSegLib.scene.segments import segment_mask

    case = panel.widget.controller.casework.case
    segmentation = slicer.mrmlScene.GetNodeByID(case.segmentation)
    key = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    return segment_mask(segmentation, key, slicer.mrmlScene.GetNodeByID(case.volume)).transpose(2, 1, 0)


def settle(panel: PanelDriver) -> None:
    """Wait until every prompt is answered."""
    panel.process()
    panel.until(lambda: not panel.view.live.asking and not panel.widget.controller.busy, "for the answers")


def disc(*ijk: int) -> Voxels:
    return np.asarray(session_peer.disc(site_peer.SHAPE, list(ijk), 2))


def points(panel: PanelDriver) -> int:
    import slicer
    from FedSegLib.scene import Pointer

    case = panel.widget.controller.casework.case
    return int(slicer.mrmlScene.GetNodeByID(case.pointers[Pointer.INCLUDE]).GetNumberOfDefinedControlPoints())


def open_live(panel: PanelDriver, scene: Any, peer: SitePeer) -> PanelDriver:
    """A case is open in three slice views, sam is chosen, and sending was agreed to."""
    for name, offset in {"Axial": world((0, 0, 6))[2], "Sagittal": -200.0, "Coronal": -200.0}.items():
        view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")  # views outlive the scene's content
        if view is None:
            view = scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
            view.SetLayoutName(name)
        view.SetOrientation(name)
        view.SetSliceOffset(offset)
    panel.connect(peer.url)
    panel.open_case()
    panel.choose(panel.ui.modelBox, "sam")
    panel.choose(panel.ui.structureBox, "tumour")
    panel.click(panel.ui.includeButton)
    if panel.ui.consentFrame.visible:
        panel.click(panel.ui.agreeButton)
    settle(panel)
    return panel
