"""L2: two versions on the open case: figures, three ways of showing, taking one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import site_peer
from panel_driver import PanelDriver
from site_peer import SitePeer
from test_panel_versions import version
from volume_files import nrrd


def compare(panel: PanelDriver, peer: SitePeer, scene: Any) -> PanelDriver:
    """unet-0001 marks the canned mask, unet-0002 the same one voxel further along i."""
    peer.versions = [version(1, "accepted"), version(2, "champion")]

    def infer(handler: Any) -> None:
        asked = [item for item in peer.received if item.path == "/infer/unet"][-1]
        name = json.loads(asked.form["params"]).get("version", "unet-0002")
        content = nrrd(site_peer.mask(1 if name == "unet-0002" else 0), site_peer.AFFINE)
        handler.send_mask({"label_names": site_peer.LABELS, "model": "unet", "version": name}, content)

    peer.replies[("POST", "/infer/unet")] = infer
    if scene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None:
        scene.AddNode(_layout())
    panel.connect(peer.url)
    panel.until(lambda: len(panel.view.versions) == 2, "for the versions")
    panel.open_case()
    panel.segment()
    panel.ui.compareSection.collapsed = False
    panel.click(panel.ui.compareButton)
    panel.until(lambda: panel.view.comparison is not None, "for the comparison")
    return panel


@pytest.fixture
def compared(panel: PanelDriver, peer: SitePeer, scene: Any) -> PanelDriver:
    return compare(panel, peer, scene)


def _layout() -> Any:
    import slicer

    return slicer.vtkMRMLLayoutNode()


def visible(scene: Any) -> dict[str, bool]:
    nodes = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    found = [nodes.GetItemAsObject(position) for position in range(nodes.GetNumberOfItems())]
    return {node.GetName().partition(": ")[2] or node.GetName(): bool(node.GetDisplayNode().GetVisibility())
            for node in found if "scribbles" not in node.GetName()}  # fmt: skip


def labels(panel: PanelDriver) -> Any:
    return panel.widget.controller.live._canvas.labels().transpose(2, 1, 0)


def test_the_serving_version_is_compared_with_another_one(compared: PanelDriver, scene: Any) -> None:
    ui = compared.ui
    assert ui.oneBox.currentText == "unet-0002 (personal, serves)"
    assert ui.twoBox.currentText == "unet-0001 (initial)"
    table = ui.structuresTable
    rows = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
    voxel = abs(float(np.linalg.det(site_peer.AFFINE[:3, :3]))) / 1000
    one, two = site_peer.mask(1), site_peer.mask(0)
    for row, (name, value) in zip(rows, site_peer.LABELS.items(), strict=True):
        a, b = one == value, two == value
        overlap = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert row == [name, f"{a.sum() * voxel:.1f} ml", f"{b.sum() * voxel:.1f} ml", f"{overlap:.2f}"]
    compared.shoot("21-compared")


def test_three_ways_of_showing(compared: PanelDriver, scene: Any) -> None:
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement()
    assert visible(scene) == {
        "case-01 segmentation": False, "unet-0002": False, "unet-0001": False, "difference": True,
    }  # fmt: skip
    compared.choose(compared.ui.modeBox, "side by side")
    assert layout.GetViewArrangement() == layout.SlicerLayoutSideBySideView
    assert (visible(scene)["unet-0001"], visible(scene)["difference"]) == (True, False)
    one = scene.GetFirstNodeByName("case-01: unet-0002").GetDisplayNode()
    assert one.GetNthViewNodeID(0) == "vtkMRMLSliceNodeRed"
    compared.choose(compared.ui.modeBox, "blended")
    assert layout.GetViewArrangement() == before
    assert one.GetNumberOfViewNodeIDs() == 0
    compared.click(compared.ui.endButton)
    assert visible(scene) == {"case-01 segmentation": True}
    assert not compared.ui.comparisonPanel.visible


def test_versions_are_compared_in_german_as_in_english(german: PanelDriver, peer: SitePeer, scene: Any) -> None:
    compare(german, peer, scene)
    assert (visible(scene)["Unterschied"], visible(scene)["unet-0001"]) == (True, False)
    apart = scene.GetFirstNodeByName("case-01: Unterschied").GetSegmentation()
    names = [apart.GetNthSegment(at).GetName() for at in range(apart.GetNumberOfSegments())]
    assert names == ["nur unet-0002", "nur unet-0001", "andere Struktur"]
    german.choose(german.ui.modeBox, "nebeneinander")
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == layout.SlicerLayoutSideBySideView
    assert scene.GetFirstNodeByName("case-01: unet-0002").GetDisplayNode().GetNthViewNodeID(0) == "vtkMRMLSliceNodeRed"
    assert not visible(scene)["Unterschied"]


def test_differences_are_where_the_masks_differ(compared: PanelDriver, scene: Any) -> None:
    import slicer
    from FedSegLib.scene.segments import segment_mask

    case = compared.widget.controller.casework.case
    node, volume = scene.GetFirstNodeByName("case-01: difference"), scene.GetNodeByID(case.volume)
    one, two = site_peer.mask(1), site_peer.mask(0)
    wanted = {
        "only unet-0002": (one != 0) & (two == 0),
        "only unet-0001": (one == 0) & (two != 0),
        "other structure": (one != two) & (one != 0) & (two != 0),
    }
    for name, mask in wanted.items():
        key = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        assert np.array_equal(segment_mask(node, key, volume).transpose(2, 1, 0), mask), name
    assert slicer.mrmlScene.IsNodePresent(node)


@pytest.mark.parametrize(("button", "name", "shift"), [("acceptOneButton", "0002", 1), ("acceptTwoButton", "0001", 0)])
def test_one_is_taken(compared: PanelDriver, scene: Any, button: str, name: str, shift: int) -> None:
    compared.click(getattr(compared.ui, button))
    assert np.array_equal(labels(compared), site_peer.mask(shift))
    assert compared.says == f"The mask of unet-{name} is the case's now."
    assert visible(scene) == {"case-01 segmentation": True}
    assert not compared.view.case.submitted


def test_the_same_version_twice_is_not_compared(compared: PanelDriver, peer: SitePeer) -> None:
    compared.click(compared.ui.endButton)
    compared.choose(compared.ui.twoBox, compared.ui.oneBox.currentText)
    asked = peer.count("POST", "/infer/unet")
    compared.click(compared.ui.compareButton)
    assert "same version twice" in compared.says
    assert peer.count("POST", "/infer/unet") == asked


def test_leaving_the_case_ends_the_comparison(compared: PanelDriver, scene: Any) -> None:
    compared.click(compared.ui.disconnectButton)
    assert visible(scene) == {"case-01 segmentation": True}
    assert compared.view.comparison is None
