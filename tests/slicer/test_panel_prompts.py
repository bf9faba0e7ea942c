"""L2: prompting by clicks: live on a FedSeg site, all at once on a stock server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import site_peer
from case_desk import edit, segmentation_of
from live_case import disc, hover, points, settle, shown, tap, world
from panel_driver import PanelDriver
from site_peer import SitePeer


def test_a_tool_is_taken_only_after_consent(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    assert not panel.ui.promptPanel.visible
    panel.choose(panel.ui.modelBox, "sam")
    panel.click(panel.ui.includeButton)
    assert panel.ui.consentFrame.visible
    assert not panel.ui.includeButton.checked
    panel.click(panel.ui.declineButton)
    assert "Nothing was sent" in panel.says
    assert peer.count("POST", "/sessions") == 0
    panel.click(panel.ui.includeButton)
    panel.click(panel.ui.agreeButton)
    assert panel.ui.includeButton.checked
    peer.wait_for("POST", "/sessions")


def test_a_click_changes_the_mask_at_once(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    tap(live, (8, 9, 4))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6) | disc(8, 9, 4))
    assert "sam-0001" in live.ui.answerLabel.text
    assert live.ui.includeButton.checked  # the tool stays in hand
    live.click(live.ui.excludeButton)
    tap(live, (14, 10, 6))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(8, 9, 4))
    live.shoot("10-live")
    sent = [json.loads(item.body) for item in peer.wait_for("POST", "/sessions/s1/prompts", 3)]
    assert [one.get("foreground", one.get("background")) for one in sent] == [[[14, 10, 6]], [[8, 9, 4]], [[14, 10, 6]]]
    assert {one["label"] for one in sent} == {"tumour"}


def test_clicks_during_an_answer_are_all_served_in_order(live: PanelDriver, peer: SitePeer) -> None:
    gate = peer.hold("POST", "/sessions/s1/prompts")
    for i in (6, 10, 14, 18):
        tap(live, (i, 10, 6))
    live.until(lambda: peer.count("POST", "/sessions/s1/prompts"), "for the request")
    assert not live.ui.submitButton.enabled
    assert live.ui.includeButton.enabled  # the person may go on
    gate.set()
    settle(live)
    sent = [json.loads(item.body)["foreground"] for item in peer.wait_for("POST", "/sessions/s1/prompts", 4)]
    assert sent == [[[i, 10, 6]] for i in (6, 10, 14, 18)]
    assert np.array_equal(shown(live, "tumour"), disc(6, 10, 6) | disc(10, 10, 6) | disc(14, 10, 6) | disc(18, 10, 6))


def test_undo_and_redo_move_mask_and_points_together(live: PanelDriver) -> None:
    assert not live.ui.undoButton.enabled
    tap(live, (14, 10, 6))
    tap(live, (8, 9, 4))
    settle(live)
    live.click(live.ui.undoButton)
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    assert points(live) == 1
    live.click(live.ui.undoButton)
    settle(live)
    assert not shown(live, "tumour").any()
    assert points(live) == 0
    assert not live.ui.undoButton.enabled
    live.click(live.ui.redoButton)
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    assert points(live) == 1
    tap(live, (8, 9, 4))
    settle(live)
    assert not live.ui.redoButton.enabled  # a new step ends what was undone


def test_undo_and_redo_by_key_leave_the_point_under_the_mouse_to_the_next_click(
    live: PanelDriver, peer: SitePeer
) -> None:
    live.widget.enter()
    tap(live, (14, 10, 6))
    settle(live)
    for key, left in (("U", 0), ("Y", 1), ("U", 0), ("Y", 1)):
        hover(live, (10, 10, 6))
        live.key(key)
        settle(live)
        assert points(live) == left
    tap(live, (8, 9, 4))
    settle(live)
    sent = [json.loads(item.body)["foreground"] for item in peer.wait_for("POST", "/sessions/s1/prompts", 2)]
    assert sent == [[[14, 10, 6]], [[8, 9, 4]]]
    assert points(live) == 2
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6) | disc(8, 9, 4))
    live.key("U")
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    assert points(live) == 1


def test_points_that_were_sent_cannot_be_dragged(live: PanelDriver, scene: Any) -> None:
    from FedSegLib.scene import Pointer

    live.widget.enter()
    tap(live, (14, 10, 6))
    settle(live)
    for key in ("U", "Y"):
        live.key(key)
        settle(live)
    hover(live, (10, 10, 6))
    node = scene.GetNodeByID(live.widget.controller.casework.case.pointers[Pointer.INCLUDE])
    count = node.GetNumberOfControlPoints()
    locked = {node.GetNthControlPointPositionStatus(n): node.GetNthControlPointLocked(n) for n in range(count)}
    assert locked == {node.PositionDefined: True, node.PositionPreview: False}


def test_a_click_is_answered_even_if_an_older_point_was_deleted(live: PanelDriver, scene: Any, peer: SitePeer) -> None:
    from FedSegLib.scene import Pointer

    tap(live, (14, 10, 6))
    settle(live)
    scene.GetNodeByID(live.widget.controller.casework.case.pointers[Pointer.INCLUDE]).RemoveNthControlPoint(0)
    tap(live, (8, 9, 4))
    settle(live)
    sent = [json.loads(item.body)["foreground"] for item in peer.wait_for("POST", "/sessions/s1/prompts", 2)]
    assert sent == [[[14, 10, 6]], [[8, 9, 4]]]
    assert points(live) == 2  # as the mask has them


def test_edits_by_hand_reach_the_site_before_the_next_prompt(live: PanelDriver, scene: Any, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    painted = np.zeros(site_peer.SHAPE, bool)
    painted[2:5, 3:6, 2] = True
    case = live.widget.controller.casework.case
    key = segmentation_of(scene, case).GetSegmentation().GetSegmentIdBySegmentName("edema")
    edit(scene, case, key, painted)
    tap(live, (8, 9, 4))
    settle(live)
    assert np.array_equal(shown(live, "edema"), painted)
    session = peer.sessions.open["s1"]
    assert np.array_equal(session.mask == site_peer.LABELS["edema"], painted)
    live.click(live.ui.undoButton)
    settle(live)
    assert np.array_equal(shown(live, "edema"), painted)
    live.click(live.ui.undoButton)  # the edit was a step of its own
    settle(live)
    assert not shown(live, "edema").any()
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))


def test_edits_made_while_the_site_thinks_survive(live: PanelDriver, scene: Any, peer: SitePeer) -> None:
    gate = peer.hold("POST", "/sessions/s1/prompts")
    tap(live, (14, 10, 6))
    live.until(lambda: peer.count("POST", "/sessions/s1/prompts"), "for the request")
    painted = np.zeros(site_peer.SHAPE, bool)
    painted[13:16, 12:15, 6] = True  # partly within the box of the answer
    case = live.widget.controller.casework.case
    key = segmentation_of(scene, case).GetSegmentation().GetSegmentIdBySegmentName("tumour")
    edit(scene, case, key, painted)
    gate.set()
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6) | painted)


def test_a_box_goes_to_the_site_when_it_is_drawn(live: PanelDriver, scene: Any, peer: SitePeer) -> None:
    import slicer
    from FedSegLib.scene import Pointer

    live.click(live.ui.boxButton)
    assert live.ui.boxButton.checked
    node = scene.GetNodeByID(live.widget.controller.casework.case.pointers[Pointer.BOX])
    node.SetCenterWorld(*world((10, 8, 6)))
    node.SetSize(0.9 * 6.8, 0.9 * 4.8, 3.0 * 5)  # Slicer gives a box some depth
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    settle(live)
    assert json.loads(peer.wait_for("POST", "/sessions/s1/prompts")[0].body)["box"] == [7, 6, 6, 13, 10, 6]
    wanted = np.zeros(site_peer.SHAPE, bool)
    wanted[7:14, 6:11, 6] = True
    assert np.array_equal(shown(live, "tumour"), wanted)
    assert not live.ui.boxButton.checked
    assert node.GetNumberOfControlPoints() == 0


def test_a_lasso_marks_what_it_encloses(live: PanelDriver, scene: Any) -> None:
    import slicer
    from FedSegLib.scene import Pointer

    live.click(live.ui.lassoButton)
    node = scene.GetNodeByID(live.widget.controller.casework.case.pointers[Pointer.LASSO])
    for corner in ((5.5, 4.5, 6), (12.5, 4.5, 6), (12.5, 9.5, 6), (5.5, 9.5, 6)):
        node.AddControlPointWorld(*world(corner))
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    settle(live)
    wanted = np.zeros(site_peer.SHAPE, bool)
    wanted[6:13, 5:10, 6] = True
    assert np.array_equal(shown(live, "tumour"), wanted)


def test_escape_ends_a_lasso_without_asking(live: PanelDriver, peer: SitePeer) -> None:
    import slicer

    live.click(live.ui.lassoButton)
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    settle(live)
    assert not live.ui.lassoButton.checked
    assert peer.count("POST", "/sessions/s1/prompts") == 0


def test_prompts_belong_to_the_chosen_structure(live: PanelDriver) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    live.choose(live.ui.structureBox, "edema")
    assert points(live) == 0
    tap(live, (4, 10, 6))
    settle(live)
    assert np.array_equal(shown(live, "edema"), disc(4, 10, 6))
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    live.choose(live.ui.structureBox, "tumour")
    assert points(live) == 1


def test_propagation_shows_progress_and_arrives_as_one_step(live: PanelDriver, peer: SitePeer) -> None:
    assert not live.ui.propagateButton.enabled
    tap(live, (14, 10, 6))
    settle(live)
    live.click(live.ui.propagateButton)
    live.until(lambda: "slices found" in live.ui.propagatingLabel.text, "for the progress")
    assert not live.ui.submitButton.enabled
    live.shoot("10-propagating")
    live.until(lambda: not live.ui.propagatingPanel.visible, "for the end")
    settle(live)
    wanted = disc(14, 10, 5) | disc(14, 10, 6) | disc(14, 10, 7)
    assert np.array_equal(shown(live, "tumour"), wanted)
    live.click(live.ui.undoButton)
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))


def test_a_propagation_can_be_stopped_and_clicks_go_on_meanwhile(live: PanelDriver, peer: SitePeer) -> None:
    peer.sessions.propagation_polls = 10_000
    tap(live, (14, 10, 6))
    settle(live)
    live.click(live.ui.propagateButton)
    live.until(lambda: "slices found" in live.ui.propagatingLabel.text, "for the progress")
    tap(live, (4, 10, 2))
    live.until(lambda: shown(live, "tumour")[4, 10, 2], "for the click")
    live.click(live.ui.stopPropagatingButton)
    live.until(lambda: not live.ui.propagatingPanel.visible, "for the stop")
    settle(live)
    assert np.array_equal(shown(live, "tumour"), peer.sessions.open["s1"].mask == 5)
    assert peer.count("DELETE", "/sessions/s1/propagate") == 1


def test_starting_over_keeps_the_mask_and_forgets_the_points(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    live.click(live.ui.clearButton)
    settle(live)
    assert points(live) == 0
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    live.until(lambda: peer.sessions.closed == ["s1"], "for the end of the session")


def test_leaving_the_case_ends_the_session(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    live.click(live.ui.nextButton)
    live.click(live.ui.nextButton)
    live.until(lambda: live.view.case is not None and live.view.case.id == "case-02", "for the next case")
    live.until(lambda: peer.sessions.closed == ["s1"], "for the end of the session")
    assert not shown(live, "tumour").any()


def test_keys_take_tools_while_the_module_is_shown(live: PanelDriver) -> None:
    live.widget.enter()
    live.key("D")
    assert live.ui.excludeButton.checked
    live.key("D")
    assert not live.ui.excludeButton.checked
    live.key("A")
    tap(live, (14, 10, 6))
    settle(live)
    live.key("U")
    settle(live)
    assert not shown(live, "tumour").any()
    live.widget.exit()
    live.key("D")
    assert not live.ui.excludeButton.checked


def test_pointing_ends_with_slicers_own_mouse_mode(panel: PanelDriver, peer: SitePeer) -> None:
    import slicer

    panel.connect(peer.url)
    panel.open_case()
    panel.choose(panel.ui.modelBox, "sam")
    panel.click(panel.ui.boxButton)
    panel.click(panel.ui.agreeButton)
    assert panel.ui.boxButton.checked
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()  # as Escape does
    assert not panel.ui.boxButton.checked
    panel.click(panel.ui.includeButton)
    panel.click(panel.ui.includeButton)
    assert not panel.ui.includeButton.checked


def place(panel: PanelDriver, scene: Any, button: Any, ijk: tuple[int, int, int]) -> None:
    """Press a pointing button; what a click in a slice view does then is adding a point to the active node."""
    import slicer

    panel.click(button)
    logic = slicer.app.applicationLogic()
    assert logic.GetInteractionNode().GetCurrentInteractionMode() == logic.GetInteractionNode().Place
    node = scene.GetNodeByID(logic.GetSelectionNode().GetActivePlaceNodeID())
    node.AddControlPointWorld(*(site_peer.AFFINE @ [*ijk, 1])[:3])
    panel.process()


def test_a_stock_server_gets_all_points_at_once_in_voxels(panel: PanelDriver, scene: Any, stock_peer: SitePeer) -> None:
    panel.connect(stock_peer.url)
    panel.open_case()
    assert not panel.ui.promptPanel.visible
    panel.choose(panel.ui.modelBox, "sam")
    panel.choose(panel.ui.structureBox, "tumour")
    panel.click(panel.ui.segmentPromptsButton)
    assert "no points and no box" in panel.says
    place(panel, scene, panel.ui.includeButton, (14, 10, 6))
    assert panel.ui.includeButton.checked
    place(panel, scene, panel.ui.excludeButton, (2, 3, 4))
    assert not panel.ui.includeButton.checked
    panel.click(panel.ui.segmentPromptsButton)
    assert panel.ui.consentFrame.visible
    panel.click(panel.ui.declineButton)
    assert "Nothing was sent" in panel.says
    assert stock_peer.count("POST", "/infer/sam") == 0
    panel.click(panel.ui.segmentPromptsButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: "sam ·" in panel.ui.answerLabel.text, "for the mask")
    panel.shoot("10-stock-prompted")
    params = json.loads(stock_peer.wait_for("POST", "/infer/sam")[0].form["params"])
    assert (params["label"], params["foreground"], params["background"]) == ("tumour", [[14, 10, 6]], [[2, 3, 4]])
    panel.click(panel.ui.clearButton)
    panel.click(panel.ui.segmentPromptsButton)
    assert "no points and no box" in panel.says
