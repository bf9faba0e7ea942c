"""L2: scribbles, and Slicer's Segment Editor beside them: one thing holds the mouse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import site_peer
from case_desk import segmentation_of
from live_case import settle, shown
from panel_driver import PanelDriver
from site_peer import SitePeer


def brush_of(panel: PanelDriver) -> Any:
    """The invisible editor that scribbles are painted with."""
    return next(section for section in panel.widget.sections if section.FORM == "Segment")._brush._editor


@pytest.mark.parametrize(("button", "segment", "positive"), [("scribble", "draw", True), ("erase", "erase", False)])
def test_a_scribble_is_painted_with_slicers_brush(
    live: PanelDriver, scene: Any, peer: SitePeer, button: str, segment: str, positive: bool
) -> None:
    import slicer

    live.click(getattr(live.ui, f"{button}Button"))
    editor = brush_of(live)
    assert editor.activeEffect().name == "Paint"
    assert editor.currentSegmentID() == segment
    painted = np.zeros(site_peer.SHAPE, np.uint8)
    painted[4:9, 7, 6] = 1
    case = live.widget.controller.casework.case
    stroke, volume = scene.GetNodeByID(case.scribbles), scene.GetNodeByID(case.volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(painted.transpose(2, 1, 0).copy(), stroke, segment, volume)
    settle(live)
    sent = json.loads(peer.wait_for("POST", "/sessions/s1/prompts")[0].body)["scribbles"]
    assert [(one["box"], one["positive"]) for one in sent] == [([4, 7, 6, 8, 7, 6], positive)]
    assert shown(live, "tumour").any() == positive
    live.click(getattr(live.ui, f"{button}Button"))
    assert editor.activeEffect() is None


def test_the_segment_editor_works_on_the_open_case(live: PanelDriver) -> None:
    case = live.widget.controller.casework.case
    live.ui.editorSection.collapsed = False
    assert live.ui.editor.segmentationNode().GetID() == case.segmentation
    assert live.ui.editor.sourceVolumeNode().GetID() == case.volume
    live.ui.editor.setActiveEffectByName("Draw")
    live.click(live.ui.includeButton)
    live.click(live.ui.includeButton)
    assert live.ui.editor.activeEffect() is None  # one thing holds the mouse
    live.click(live.ui.disconnectButton)
    assert live.ui.editor.segmentationNode() is None


def test_an_effect_of_the_segment_editor_takes_the_mouse_from_the_scribbles(live: PanelDriver) -> None:
    live.click(live.ui.scribbleButton)
    live.ui.editor.setActiveEffectByName("Draw")
    assert not live.ui.scribbleButton.checked
    assert brush_of(live).activeEffect() is None
    assert live.ui.editor.activeEffect().name == "Draw"
    live.click(live.ui.scribbleButton)
    assert live.ui.editor.activeEffect() is None
    assert brush_of(live).activeEffect().name == "Paint"


def test_an_effect_taken_while_consent_is_asked_for_is_laid_down(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.choose(panel.ui.modelBox, "sam")
    panel.click(panel.ui.scribbleButton)
    panel.ui.editor.setActiveEffectByName("Draw")
    panel.click(panel.ui.agreeButton)
    assert panel.ui.editor.activeEffect() is None
    assert brush_of(panel).activeEffect().name == "Paint"


def test_editor_and_scribbles_work_again_after_the_scene_was_closed(live: PanelDriver, scene: Any) -> None:
    live.click(live.ui.scribbleButton)
    scene.Clear(0)
    live.process()
    live.open_case()
    case = live.widget.controller.casework.case
    assert live.ui.editor.segmentationNode() is segmentation_of(scene, case)
    assert live.ui.editor.sourceVolumeNode().GetID() == case.volume
    live.click(live.ui.scribbleButton)
    assert brush_of(live).segmentationNode().GetID() == case.scribbles
    assert brush_of(live).activeEffect().name == "Paint"
    live.ui.editor.setActiveEffectByName("Draw")
    assert live.ui.editor.activeEffect().name == "Draw"
    assert not live.ui.scribbleButton.checked
