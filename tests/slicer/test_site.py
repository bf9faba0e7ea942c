"""L5: the panel with a real site server, where FEDSEG_SITE_URL names one that runs (the full test run starts one).

The site must ask for no sign-in, or FEDSEG_SITE_USER and FEDSEG_SITE_PASSWORD must open it, and it must have a case
left to correct.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from panel_driver import PanelDriver

URL = os.environ.get("FEDSEG_SITE_URL", "")

pytestmark = pytest.mark.skipif(not URL, reason="FEDSEG_SITE_URL names no running site")


def reach(panel: PanelDriver) -> None:
    """Connect, and sign in where the site asks for it."""
    panel.connect(URL)
    if panel.view.phase.name == "SIGN_IN":
        panel.type(panel.ui.userEdit, os.environ["FEDSEG_SITE_USER"])
        panel.type(panel.ui.passwordEdit, os.environ["FEDSEG_SITE_PASSWORD"])
        panel.click(panel.ui.signInButton)
        panel.until(lambda: panel.view.phase.name == "READY", "for the sign-in")


@pytest.mark.timeout(300)
def test_connect_next_case_segment_and_submit(panel: PanelDriver, scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panel_driver.PATIENCE_SECONDS", 120.0)  # a real model on a busy computer
    reach(panel)
    assert not panel.view.site.stock
    panel.click(panel.ui.nextButton)
    panel.until(lambda: panel.view.phase.name in ("OPEN", "READY"), "for the case")
    assert panel.view.phase.name == "OPEN", panel.says
    panel.segment()
    panel.shoot("30-real-segmented")
    _paint(panel, scene)
    panel.click(panel.ui.submitButton)
    if panel.ui.consentFrame.visible:
        panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.view.phase.name == "OPEN", "for the receipt")
    assert "is submitted" in panel.says
    panel.shoot("31-real-submitted")
    panel.until(lambda: panel.view.learning is not None and panel.view.federation is not None, "for the site's state")


@pytest.mark.timeout(300)
def test_live_prompts_undo_and_propagation(panel: PanelDriver, scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from FedSegLib.scene import Pointer

    monkeypatch.setattr("panel_driver.PATIENCE_SECONDS", 120.0)
    reach(panel)
    model = next((model.name for model in panel.view.site.models if model.prompts), None)
    if model is None:
        pytest.skip("the site has no model that takes points")
    panel.open_case()
    panel.choose(panel.ui.modelBox, model)
    panel.click(panel.ui.includeButton)
    if panel.ui.consentFrame.visible:
        panel.click(panel.ui.agreeButton)
    case = panel.widget.controller.casework.case
    bounds = [0.0] * 6
    scene.GetNodeByID(case.volume).GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    scene.GetNodeByID(case.pointers[Pointer.INCLUDE]).AddControlPointWorld(*middle)
    _settle(panel)
    assert panel.view.case.answered_by, panel.says
    canvas = panel.widget.controller.live._canvas
    prompted = int((canvas.labels() > 0).sum())
    assert prompted
    panel.shoot("33-real-prompted")
    panel.click(panel.ui.propagateButton)
    panel.until(lambda: not panel.view.live.propagating, "for the propagation")
    _settle(panel)
    assert int((canvas.labels() > 0).sum()) >= prompted
    while panel.ui.undoButton.enabled:
        panel.click(panel.ui.undoButton)
        _settle(panel)
    assert not canvas.labels().any()


def _settle(panel: PanelDriver) -> None:
    panel.process()
    panel.until(lambda: not panel.view.live.asking and not panel.widget.controller.busy, "for the answers")


@pytest.mark.timeout(300)
def test_learning_is_started_and_stopped(panel: PanelDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panel_driver.PATIENCE_SECONDS", 120.0)
    reach(panel)
    panel.until(lambda: panel.view.learning is not None, "for the learner's state")
    if panel.view.learning.running:
        pytest.skip("the site is learning already")
    panel.click(panel.ui.learnButton)
    panel.until(lambda: panel.view.learning.running or panel.says, "for the start")
    if panel.says:  # the case submitted above may have been put among the validation cases
        assert panel.ui.hintLabel.text
        return
    panel.shoot("32-real-learning")
    panel.click(panel.ui.stopLearningButton)
    panel.until(lambda: not panel.view.learning.running, "for the stop")
    assert "stopped" in panel.ui.learningLabel.text


def _paint(panel: PanelDriver, scene: Any) -> None:
    """Mark a small block, so that the mask is never empty, as the Segment Editor would."""
    import numpy as np
    import slicer

    case = panel.widget.controller.casework.case
    segmentation = scene.GetNodeByID(case.segmentation)
    volume = scene.GetNodeByID(case.volume)
    first = panel.view.site.schema.names[0]
    key = segmentation.GetSegmentation().GetSegmentIdBySegmentName(first)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, key, volume)
    mask = (np.asarray(mask) != 0).astype(np.uint8)
    k, j, i = (n // 2 for n in mask.shape)
    mask[max(0, k - 1) : k + 1, j - 2 : j + 2, i - 2 : i + 2] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, key, volume)


@pytest.mark.timeout(300)
def test_a_volume_of_the_scene_is_sent_submitted_and_edited_again(
    panel: PanelDriver, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import slicer

    monkeypatch.setattr("panel_driver.PATIENCE_SECONDS", 120.0)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "from DICOM")
    voxels = np.random.default_rng(3).normal(100, 12, (9, 30, 26)).astype(np.int16)
    voxels[2:6, 8:18, 6:14] += 90
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    node.SetSpacing(0.8, 0.8, 4.0)
    reach(panel)
    panel.ui.volumeSection.collapsed = False
    panel.ui.volumeBox.setCurrentNode(node)
    panel.click(panel.ui.sendVolumeButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.view.case is not None and panel.view.case.id == "from-DICOM", f"for it: {panel.says}")
    panel.segment()
    _paint(panel, scene)
    painted = panel.widget.controller.live._canvas.labels()
    assert painted.any()
    panel.click(panel.ui.submitButton)
    if panel.ui.consentFrame.visible:
        panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.view.case.submitted, "for the receipt")
    panel.until(lambda: "from-DICOM" in [row.id for row in panel.view.cases if row.finished], "for the work list")
    panel.widget.controller.casework.open_case("from-DICOM")
    panel.until(lambda: panel.view.phase.name == "OPEN" and panel.view.case.reopened, "for the case")
    assert np.array_equal(panel.widget.controller.live._canvas.labels(), painted)
