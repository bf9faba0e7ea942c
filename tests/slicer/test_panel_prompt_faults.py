"""L2: what can go wrong while prompting, and that the panel goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import site_peer
from case_desk import edit, segmentation_of
from live_case import disc, points, settle, shown, tap
from panel_driver import PanelDriver
from site_peer import SitePeer


def test_a_restarted_site_goes_on_with_the_mask_in_the_scene(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    peer.sessions.restart()
    peer.sessions.initial[...] = 0  # it even forgot the mask
    tap(live, (8, 9, 4))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6) | disc(8, 9, 4))
    assert np.array_equal(peer.sessions.open["s2"].mask == 5, shown(live, "tumour"))


def test_a_refused_prompt_takes_its_point_away(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    peer.refuse("POST", "/sessions/s1/prompts", 409, detail="The image was replaced.", hint="Open the case again.")
    tap(live, (8, 9, 4))
    settle(live)
    assert live.says == "The image was replaced. Open the case again."
    assert points(live) == 1
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    peer.replies.clear()
    tap(live, (8, 9, 4))
    settle(live)
    assert points(live) == 2


def paint(live: PanelDriver, scene: Any, name: str, i: int) -> np.ndarray[Any, Any]:
    """A square painted by hand, added to a structure; returns the structure's voxels."""
    case = live.widget.controller.casework.case
    painted = shown(live, name)
    painted[i : i + 3, 3:6, 2] = True
    edit(scene, case, segmentation_of(scene, case).GetSegmentation().GetSegmentIdBySegmentName(name), painted)
    return painted


def test_edits_by_hand_reach_the_site_though_a_request_failed(live: PanelDriver, scene: Any, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    painted = paint(live, scene, "edema", 2)
    peer.refuse("POST", "/sessions/s1/prompts", 503, detail="The site is busy.", hint="Try again.")
    tap(live, (8, 9, 4))
    settle(live)
    assert "The site is busy." in live.says
    peer.replies.clear()
    tap(live, (8, 9, 4))
    settle(live)
    assert np.array_equal(peer.sessions.open["s1"].mask == site_peer.LABELS["edema"], painted)
    assert np.array_equal(shown(live, "edema"), painted)


def test_undo_stays_in_step_when_only_some_edits_by_hand_arrived(live: PanelDriver, scene: Any, peer: SitePeer) -> None:
    prompts = ("POST", "/sessions/s1/prompts")
    tap(live, (14, 10, 6))
    settle(live)
    edema = paint(live, scene, "edema", 2)
    paint(live, scene, "tumour", 6)

    def refuse_the_second_edit(handler: site_peer.Handler) -> None:
        if peer.count(*prompts) == 3:
            handler.send_json({"detail": "The site is busy."}, 503)
        else:
            handler._route(peer.received[-1])

    peer.replies[prompts] = refuse_the_second_edit
    tap(live, (8, 9, 4))
    settle(live)
    assert "The site is busy." in live.says
    peer.replies.clear()
    clicked, nothing = disc(14, 10, 6), np.zeros(site_peer.SHAPE, bool)
    for steps_left in ((clicked, edema, 1), (clicked, nothing, 1), (nothing, nothing, 0)):
        live.click(live.ui.undoButton)  # the edit that did not arrive is sent first, and is a step of its own
        settle(live)
        assert np.array_equal(shown(live, "tumour"), steps_left[0])
        assert np.array_equal(shown(live, "edema"), steps_left[1])
        assert points(live) == steps_left[2]
    assert not live.ui.undoButton.enabled


def test_a_point_outside_the_image_is_not_sent(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (40, 10, 6))
    settle(live)
    assert "outside the image" in live.says
    assert points(live) == 0
    assert peer.count("POST", "/sessions/s1/prompts") == 0


def test_a_volume_of_the_same_name_is_left_alone(live: PanelDriver, scene: Any) -> None:
    import slicer

    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    other.SetName("case-01")
    slicer.util.updateVolumeFromArray(other, np.ones((3, 4, 5), np.int16))
    tap(live, (14, 10, 6))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))
    live.click(live.ui.nextButton)
    live.click(live.ui.nextButton)
    live.until(lambda: live.view.case is not None and live.view.case.id == "case-02", "for the next case")
    assert scene.GetNodeByID(other.GetID()) is other
    assert np.array_equal(slicer.util.arrayFromVolume(other), np.ones((3, 4, 5)))


def test_a_deleted_segmentation_is_told_and_the_panel_goes_on(live: PanelDriver, scene: Any) -> None:
    scene.RemoveNode(segmentation_of(scene, live.widget.controller.casework.case))
    tap(live, (14, 10, 6))
    settle(live)
    assert "left the scene" in live.says
    live.open_case()


def test_deleted_points_are_told_and_the_panel_goes_on(live: PanelDriver, scene: Any) -> None:
    from FedSegLib.scene import Pointer

    case = live.widget.controller.casework.case
    scene.RemoveNode(scene.GetNodeByID(case.pointers[Pointer.BOX]))
    live.click(live.ui.boxButton)
    assert "left the scene" in live.says
    assert not live.ui.boxButton.checked
    live.open_case()


def test_a_damaged_answer_changes_nothing(live: PanelDriver, peer: SitePeer) -> None:
    for body in (
        b"",
        b"FSM1",
        b"FSM1\x02\0\0\0{}",
        b"FSM1\x40\0\0\0" + b'{"step":2,"box":[0,0,0,900,0,0]}'.ljust(64) + b"x",
    ):
        peer.replies[("POST", "/sessions/s1/prompts")] = lambda handler, body=body: handler.send_bytes(body, {})
        tap(live, (14, 10, 6))
        settle(live)
        assert live.says
        assert not shown(live, "tumour").any()
        assert points(live) == 0
    peer.replies.clear()
    tap(live, (14, 10, 6))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6))


def test_taking_the_panel_down_while_prompting_stops_everything(live: PanelDriver, peer: SitePeer) -> None:
    peer.hold("POST", "/sessions/s1/prompts")
    tap(live, (14, 10, 6))
    live.until(lambda: peer.count("POST", "/sessions/s1/prompts"), "for the request")
    live.widget.cleanup()
    assert not live.widget.timer.active
    live.widget.onTick()  # a tick that was due already
    assert not live.widget.timer.active


def test_a_sign_in_that_runs_out_while_prompting_can_be_renewed(live: PanelDriver, peer: SitePeer) -> None:
    tap(live, (14, 10, 6))
    settle(live)
    peer.users["ada"] = "secret"
    tap(live, (8, 9, 4))
    live.until(lambda: live.view.phase.name == "SIGN_IN", "for the question")
    live.type(live.ui.userEdit, "ada")
    live.type(live.ui.passwordEdit, "secret\r")
    live.until(lambda: live.view.phase.name == "OPEN", "for the sign-in")
    tap(live, (8, 9, 4))
    settle(live)
    assert np.array_equal(shown(live, "tumour"), disc(14, 10, 6) | disc(8, 9, 4))
