"""L2: a volume of the scene becomes a case of the site, after asking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import site_peer
from case_desk import add_transform, affine_of, paint, segmentation_of
from FedSegLib.adopting import case_name
from panel_driver import PanelDriver
from site_peer import SitePeer
from volume_files import read_nrrd


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("2: AX T1 (post)", "2-AX-T1-post"), ("../x", "x"), ("???", ""), ("a" * 200, "a" * 80), ("Läsion", "L-sion")],
)
def test_names_are_made_fit_for_sites(name: str, wanted: str) -> None:
    assert case_name(name) == wanted


@pytest.fixture
def loaded(panel: PanelDriver, peer: SitePeer, scene: Any) -> PanelDriver:
    """A DICOM-like volume is in the scene, and chosen in the panel."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "5: DOE^JANE AX")
    slicer.util.updateVolumeFromArray(node, site_peer.image().transpose(2, 1, 0).copy())
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(site_peer.AFFINE))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.840.1")
    panel.connect(peer.url)
    panel.ui.volumeSection.collapsed = False
    panel.ui.volumeBox.setCurrentNode(node)
    return panel


def test_voxels_leave_only_after_a_yes_and_without_dicom_fields(loaded: PanelDriver, peer: SitePeer) -> None:
    loaded.type(loaded.ui.nameEdit, "study 7")
    loaded.click(loaded.ui.sendVolumeButton)
    assert "voxels of this volume" in loaded.ui.consentLabel.text
    assert "'study-7'" in loaded.ui.consentLabel.text
    loaded.shoot("11-consent-image")
    loaded.click(loaded.ui.declineButton)
    assert peer.count("PUT", "/datastore/image") == 0
    loaded.click(loaded.ui.sendVolumeButton)
    loaded.click(loaded.ui.agreeButton)
    loaded.until(lambda: loaded.view.case is not None and loaded.view.case.id == "study-7", "for the case")
    sent = peer.wait_for("PUT", "/datastore/image")[0]
    assert sent.query == {"image": "study-7"}
    content = sent.form["file"]
    voxels, affine = read_nrrd(content)
    assert np.array_equal(voxels, site_peer.image())
    assert np.allclose(affine, site_peer.AFFINE, atol=1e-9)
    assert not any(secret in content for secret in (b"DOE", b"1.2.840"))
    assert loaded.temporary_files() == []
    assert not loaded.view.consented  # the yes was for this image, not for masks


def test_an_adopted_volume_is_worked_on_and_stays_in_the_scene(loaded: PanelDriver, peer: SitePeer, scene: Any) -> None:
    loaded.click(loaded.ui.sendVolumeButton)
    loaded.click(loaded.ui.agreeButton)
    loaded.until(lambda: loaded.view.case is not None, "for the case")
    assert loaded.view.case.id == "5-DOE-JANE-AX"  # shown in the question before
    loaded.segment()
    loaded.click(loaded.ui.submitButton)
    loaded.click(loaded.ui.agreeButton)
    loaded.until(lambda: "is submitted" in loaded.says, "for the receipt")
    assert np.array_equal(read_nrrd(peer.wait_for("PUT", "/datastore/label")[0].form["label"])[0], site_peer.mask())
    loaded.open_case()
    assert scene.GetFirstNodeByName("5: DOE^JANE AX") is not None
    assert scene.GetFirstNodeByName("5-DOE-JANE-AX segmentation") is None


def test_what_is_painted_on_a_volume_under_a_transform_is_submitted_in_its_own_space(
    loaded: PanelDriver, peer: SitePeer, scene: Any
) -> None:
    move = affine_of("oblique")
    volume = loaded.ui.volumeBox.currentNode()
    volume.SetAndObserveTransformNodeID(add_transform(scene, move).GetID())
    loaded.click(loaded.ui.sendVolumeButton)
    loaded.click(loaded.ui.agreeButton)
    loaded.until(lambda: loaded.view.case is not None, "for the case")
    painted = np.zeros(site_peer.SHAPE, bool)
    painted[2:5, 3:7, 2:4] = True
    segmentation = segmentation_of(scene, loaded.widget.controller.casework.case)
    key = segmentation.GetSegmentation().GetSegmentIdBySegmentName("edema")
    paint(segmentation, key, painted, move @ site_peer.AFFINE)  # where the views show the image
    loaded.click(loaded.ui.submitButton)
    loaded.click(loaded.ui.agreeButton)
    loaded.until(lambda: "is submitted" in loaded.says, "for the receipt")
    voxels, affine = read_nrrd(peer.wait_for("PUT", "/datastore/label")[0].form["label"])
    assert np.array_equal(voxels, site_peer.LABELS["edema"] * painted)
    assert np.allclose(affine, site_peer.AFFINE, atol=1e-9)


def test_a_name_that_is_taken_is_told(loaded: PanelDriver, peer: SitePeer) -> None:
    peer.refuse("PUT", "/datastore/image", 409, detail="There is an image 'x' already.", hint="Use another id.")
    loaded.click(loaded.ui.sendVolumeButton)
    loaded.click(loaded.ui.agreeButton)
    loaded.until(lambda: loaded.says == "There is an image 'x' already. Use another id.", "for the refusal")
    assert loaded.view.phase.name == "READY"


def test_without_a_volume_nothing_is_asked(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.ui.volumeSection.collapsed = False
    panel.click(panel.ui.sendVolumeButton)
    assert "No volume is chosen" in panel.says
    assert not panel.ui.consentFrame.visible
