"""L2: learning, federation and lesser servers in the panel, by clicks; one picture per state."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import site_peer
from panel_driver import PanelDriver
from site_peer import SitePeer, running_round
from volume_files import read_nifti


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the site more often than a person needs."""
    from FedSegLib import watching

    for name in ("RUNNING_SECONDS", "IDLE_SECONDS", "FAILED_SECONDS"):
        monkeypatch.setattr(watching, name, 0.1)


def test_learning_is_started_watched_and_stopped(panel: PanelDriver, peer: SitePeer, eager: None) -> None:
    panel.connect(peer.url)
    panel.click(panel.ui.learnButton)
    panel.until(lambda: "about 2 min left" in panel.ui.learningLabel.text, "for the progress")
    assert panel.ui.learningBar.value == 350
    assert not panel.ui.learnButton.enabled
    panel.shoot("16-learning")
    panel.click(panel.ui.stopLearningButton)
    panel.until(lambda: "stopped" in panel.ui.learningLabel.text, "for the stop")
    reason = "Mean Dice on 2 validation cases rose by 0.05."
    peer.learning |= {"state": "done", "result": {"version": "unet-0002", "promoted": True, "reason": reason,
                                                  "dice_champion": 0.7, "dice_challenger": 0.75}}  # fmt: skip
    panel.until(lambda: "unet-0002 serves now (Dice 0.70 → 0.75)" in panel.ui.learningLabel.text, "for the result")
    panel.shoot("17-learned")


def test_learning_without_corrections_says_what_to_do(panel: PanelDriver, peer: SitePeer) -> None:
    peer.refuse("POST", "/learning", 409, error="Conflict", detail="No corrections yet.", hint="Correct a case first.")
    panel.connect(peer.url)
    panel.click(panel.ui.learnButton)
    panel.until(lambda: panel.says == "No corrections yet. Correct a case first.", "for the refusal")
    assert panel.ui.learnButton.enabled


def test_a_round_is_started_watched_and_stopped(panel: PanelDriver, peer: SitePeer, eager: None) -> None:
    peer.role = "reviewer"
    panel.connect(peer.url)
    panel.until(lambda: "glioma" in panel.ui.federationLabel.text, "for the plan")
    panel.ui.roundsBox.value = 3
    panel.click(panel.ui.startRoundButton)
    panel.until(lambda: "Round 2 of 3 is running" in panel.ui.federationLabel.text, "for the round")
    assert json.loads(peer.wait_for("POST", "/federation/rounds")[0].body) == {"rounds": 3}
    table = panel.ui.sitesTable
    rows = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
    assert rows == [
        ["north", "training 40%", "0.71", "taken"],
        ["south", "aggregated", "0.66", "kept its own"],
        ["west", "failed: courier lost", "–", "–"],
    ]
    assert (
        "Round 1: north 0.68, south 0.66, west 0.59 · 3.5 MB · 52 s · refused: west (norm" in panel.ui.historyLabel.text
    )
    panel.shoot("18-round")
    peer.round["sites"]["north"] |= {"state": "sending"}
    panel.until(lambda: table.item(0, 1).text() == "sending", "for the change")
    panel.click(panel.ui.stopRoundButton)
    panel.until(lambda: "Stopped by north" in panel.ui.federationLabel.text, "for the stop")
    assert panel.ui.startRoundButton.enabled


def test_a_round_that_another_site_started_is_shown(panel: PanelDriver, peer: SitePeer) -> None:
    peer.round = running_round() | {"started_by": "south"}
    peer.federation["rounds"] = [{"id": "r1"}]
    panel.connect(peer.url)
    panel.until(lambda: "Started by south" in panel.ui.federationLabel.text, "for the round")
    assert not panel.ui.startRoundButton.enabled


def test_another_method_of_the_plan_can_be_chosen(panel: PanelDriver, peer: SitePeer, eager: None) -> None:
    peer.role = "reviewer"
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.methodPanel.visible, "for the plan")
    panel.choose(panel.ui.methodBox, "gcml")
    panel.click(panel.ui.startRoundButton)
    panel.until(lambda: peer.count("POST", "/federation/rounds"), "for the request")
    assert json.loads(peer.wait_for("POST", "/federation/rounds")[0].body) == {"rounds": 1, "method": "gcml"}


def test_a_site_is_paused_and_leaves_and_comes_back(panel: PanelDriver, peer: SitePeer, eager: None) -> None:
    peer.role = "admin"
    peer.federation["plan"]["approved"] = {"by": "ada"}
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.leaveButton.visible, "for the plan")
    panel.click(panel.ui.pauseButton)
    panel.until(lambda: panel.ui.pauseButton.text == "Take part again", "for the pause")
    assert "This site is paused" in panel.ui.federationLabel.text
    panel.shoot("18-paused")
    panel.click(panel.ui.pauseButton)
    panel.until(lambda: panel.ui.pauseButton.text == "Pause this site", "for the return")
    panel.click(panel.ui.leaveButton)
    panel.until(lambda: "has agreed to the plan" in panel.ui.federationLabel.text, "for the leave")
    panel.until(lambda: panel.ui.approveButton.visible and panel.ui.approveButton.enabled, "for the button")
    panel.click(panel.ui.approveButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.ui.leaveButton.visible, "for the return")
    asked = [json.loads(item.body) for item in peer.wait_for("POST", "/federation/plan", 2)]
    assert asked == [{"sha256": "a" * 64, "approved": False}, {"sha256": "a" * 64, "approved": True}]
    assert "Agreed to by ada on 2026-01-02." in panel.ui.planLabel.text


def test_what_leaves_the_site_is_said_before_the_plan_is_agreed_to(
    panel: PanelDriver, peer: SitePeer, eager: None
) -> None:
    peer.role = "admin"
    peer.federation["plan"]["approved"] = None
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.approveButton.visible, "for the plan")
    assert not panel.ui.leaveButton.visible
    for words in ("fedavg or gcml", "399,744 numbers of 'unet'", "1.6 MB", "at least 2", "started by every site"):
        assert words in panel.ui.planLabel.text
    panel.shoot("18-plan")
    panel.click(panel.ui.approveButton)
    for words in ("'glioma'", "'north'", "399,744 numbers", "cases it learned from", "do not leave", "a" * 12):
        assert words in panel.ui.consentLabel.text
    panel.shoot("18-plan-question")
    panel.click(panel.ui.declineButton)
    assert peer.count("POST", "/federation/plan") == 0
    panel.click(panel.ui.approveButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.ui.leaveButton.visible, "for the agreement")
    assert not panel.view.consented  # the yes was to the plan, not to sending masks


def test_a_plan_that_nobody_agreed_to_starts_no_round(panel: PanelDriver, peer: SitePeer, eager: None) -> None:
    peer.role = "admin"
    peer.federation["plan"]["approved"] = None
    panel.connect(peer.url)
    panel.until(lambda: "has agreed to the plan" in panel.ui.federationLabel.text, "for the plan")
    assert not panel.ui.startRoundButton.enabled
    assert "agreed to the plan" in panel.ui.startRoundButton.toolTip
    panel.click(panel.ui.approveButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.ui.startRoundButton.enabled, "for the agreement")
    peer.federation["paused"] = True
    panel.until(lambda: panel.ui.startRoundButton.toolTip == "This site is paused.", "for the pause")


def test_agreeing_to_a_plan_that_was_replaced_is_refused(panel: PanelDriver, peer: SitePeer) -> None:
    peer.role = "admin"
    peer.federation["plan"]["approved"] = None
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.approveButton.visible, "for the plan")
    panel.click(panel.ui.approveButton)
    peer.federation["plan"]["sha256"] = "b" * 64
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: "another one" in panel.says, "for the refusal")
    assert peer.federation["plan"]["approved"] is None
    panel.until(lambda: panel.view.federation.plan.sha256 == "b" * 64, "for the new plan")


@pytest.mark.parametrize(("role", "rounds", "pause"), [("annotator", False, False), ("reviewer", True, False)])
def test_roles_allow_what_the_site_allows(
    panel: PanelDriver, peer: SitePeer, role: str, rounds: bool, pause: bool
) -> None:
    peer.role = role
    panel.connect(peer.url)
    panel.until(lambda: panel.view.federation is not None, "for the federation")
    assert panel.ui.startRoundButton.enabled is rounds
    assert panel.ui.pauseButton.enabled is pause
    assert "ask" in panel.ui.pauseButton.toolTip


def test_dice_over_rounds_is_a_plot_with_a_curve_per_site(panel: PanelDriver, peer: SitePeer, scene: Any) -> None:
    peer.round = running_round()
    second = {**peer.round["history"][0], "round": 1, "dice": {"north": 0.72, "south": 0.69, "west": None}}
    peer.round["history"].append(second)
    peer.federation["rounds"] = [{"id": "r1", "state": "running", "method": "fedavg", "rounds": 3}]
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.roundCurveButton.visible, "for the rounds")
    panel.click(panel.ui.roundCurveButton)
    chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    table = scene.GetFirstNodeByClass("vtkMRMLTableNode").GetTable()
    north = table.GetColumnByName("north")
    assert [round(north.GetValue(row), 2) for row in range(2)] == [0.68, 0.72]
    assert "fedavg, 3 rounds" in panel.ui.pastLabel.text


def test_a_round_without_a_courier_says_how_to_start_it(panel: PanelDriver, peer: SitePeer) -> None:
    hint = "Start it with 'fedseg courier start'."
    peer.refuse("POST", "/federation/rounds", 503, error="Unavailable", detail="No courier.", hint=hint)
    peer.federation["courier"]["connected"] = False
    peer.role = "reviewer"
    panel.connect(peer.url)
    panel.until(lambda: "courier is not connected" in panel.ui.federationLabel.text, "for the federation")
    panel.click(panel.ui.startRoundButton)
    panel.until(lambda: panel.says == f"No courier. {hint}", "for the refusal")


def test_a_site_without_federation_offers_no_rounds(panel: PanelDriver, peer: SitePeer) -> None:
    peer.federation |= {"enabled": False, "plan": None}
    panel.connect(peer.url)
    panel.until(lambda: "no federation" in panel.ui.federationLabel.text, "for the answer")
    assert not panel.ui.startRoundButton.visible


def test_a_lost_site_is_told_and_found_again(panel: PanelDriver, peer: SitePeer, eager: None) -> None:
    panel.connect(peer.url)
    peer.refuse("GET", "/learning", 500, detail="The disk is full.")
    panel.until(lambda: "cannot be watched at the moment: The disk is full." in panel.ui.siteLabel.text, "for the loss")
    panel.shoot("19-lost")
    peer.replies.clear()
    panel.until(lambda: "cannot be watched" not in panel.ui.siteLabel.text, "for the return")


def test_a_stock_server_offers_less_and_works(panel: PanelDriver, stock_peer: SitePeer) -> None:
    panel.connect(stock_peer.url)
    assert "stock MONAI Label" in panel.ui.siteLabel.text
    assert not panel.ui.learningSection.visible
    assert not panel.ui.federationSection.visible
    panel.open_case()
    panel.segment()
    panel.shoot("20-stock")
    panel.click(panel.ui.submitButton)
    assert "not a FedSeg site" in panel.ui.consentLabel.text
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    sent = stock_peer.wait_for("PUT", "/datastore/label")[0]
    assert sent.form["label.filename"] == "mask.nii.gz"
    assert np.array_equal(read_nifti(sent.form["label"]), site_peer.mask())
    paths = {item.path for item in stock_peer.received}
    assert not {path for path in paths if path.startswith(("/learning", "/federation"))}
