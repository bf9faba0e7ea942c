"""L2: versions, figures, the curve, promotion and rollback in the panel."""

from __future__ import annotations

import json
from typing import Any

import pytest
from panel_driver import PanelDriver
from site_peer import SitePeer


def version(number: int, state: str, reason: str = "") -> dict[str, Any]:
    parent = f"unet-{number - 1:04}" if number > 1 else None
    return {
        "id": f"unet-{number:04}", "model": "unet", "parent": parent, "origin": "learning" if parent else "base",
        "created": f"2026-01-0{number}T10:00:00Z", "sha256": "0", "bytes": 1, "metrics": {}, "state": state,
        "reason": reason,
    }  # fmt: skip


@pytest.fixture
def learned(panel: PanelDriver, peer: SitePeer) -> PanelDriver:
    peer.role = "reviewer"
    peer.versions = [
        version(1, "accepted"),
        version(2, "champion", "Dice rose by 0.05."),
        version(3, "refused", "Worse."),
    ]
    peer.statistics = {
        "versions": [{"version": "unet-0002", "model": "unet", "corrections": 3, "dice_shown": 0.84, "seconds": 60,
                      "clicks": 2.5}],
        "cases": [{"case": f"case-{n}", "dice_shown": dice} for n, dice in enumerate((0.6, 0.7, None, 0.9))],
        "summary": "Masks of unet-0002 agree with what was submitted by Dice 0.84.",
    }  # fmt: skip
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.versionsTable.rowCount == 3, "for the versions")
    return panel


def rows(panel: PanelDriver) -> list[list[str]]:
    table = panel.ui.versionsTable
    return [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount)]


def test_versions_are_listed_with_what_corrections_say(learned: PanelDriver) -> None:
    assert rows(learned) == [
        ["unet-0003", "learning", "refused", "–", "0"],
        ["unet-0002", "learning", "serves", "0.84", "3"],
        ["unet-0001", "base", "accepted", "–", "0"],
    ]
    assert "Worse." in learned.ui.versionsTable.item(0, 0).toolTip()
    assert "Dice 0.84" in learned.ui.summaryLabel.text
    learned.shoot("17-versions")


def test_rolling_back_needs_the_champion_and_keeps_the_reason(learned: PanelDriver, peer: SitePeer) -> None:
    ui = learned.ui
    ui.versionsTable.selectRow(0)
    assert (ui.promoteButton.enabled, ui.rollbackButton.enabled) == (True, False)
    ui.versionsTable.selectRow(1)
    assert (ui.promoteButton.enabled, ui.rollbackButton.enabled) == (False, True)
    learned.type(ui.reasonEdit, "it misses edema")
    learned.click(ui.rollbackButton)
    learned.until(lambda: rows(learned)[2][2] == "serves", "for the rollback")
    assert learned.says == "unet-0002 serves no longer. unet-0001 serves again."
    assert json.loads(peer.wait_for("POST", "/versions/unet-0002/rollback")[0].body) == {"reason": "it misses edema"}
    assert ui.reasonEdit.text == ""


def test_a_refused_version_can_be_promoted_by_hand(learned: PanelDriver, peer: SitePeer) -> None:
    learned.ui.versionsTable.selectRow(0)
    learned.click(learned.ui.promoteButton)
    learned.until(lambda: rows(learned)[0][2] == "serves", "for the promotion")


def test_an_annotator_may_not_change_what_serves(panel: PanelDriver, peer: SitePeer) -> None:
    peer.versions = [version(1, "champion"), version(2, "accepted")]
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.versionsTable.rowCount == 2, "for the versions")
    panel.ui.versionsTable.selectRow(0)
    assert not panel.ui.promoteButton.enabled
    assert "ask a reviewer" in panel.ui.promoteButton.toolTip


def test_a_refusal_is_told(learned: PanelDriver, peer: SitePeer) -> None:
    peer.refuse("POST", "/versions/unet-0003/promote", 409, detail="It is broken.", hint="Choose another.")
    learned.ui.versionsTable.selectRow(0)
    learned.click(learned.ui.promoteButton)
    learned.until(lambda: learned.says == "It is broken. Choose another.", "for the refusal")
    assert learned.ui.promoteButton.enabled


def test_the_curve_is_a_plot_of_slicer(learned: PanelDriver, scene: Any) -> None:
    learned.click(learned.ui.curveButton)
    table = scene.GetFirstNodeByClass("vtkMRMLTableNode").GetTable()
    values = [round(table.GetColumn(1).GetValue(row), 3) for row in range(table.GetNumberOfRows())]
    assert values == [0.6, 0.7, 0.9]
    assert scene.GetFirstNodeByClass("vtkMRMLPlotChartNode").GetNumberOfPlotSeriesNodes() == 1
    learned.click(learned.ui.curveButton)  # the same nodes are filled again
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1


def test_versions_are_looked_up_again_when_learning_ends(learned: PanelDriver, peer: SitePeer) -> None:
    from FedSegLib import watching

    peer.versions.append(version(4, "champion"))
    peer.learning |= {"state": "done", "result": {"version": "unet-0004", "promoted": True, "reason": "Better."}}
    learned.until(lambda: learned.ui.versionsTable.rowCount == 4, f"for the poll after {watching.IDLE_SECONDS} s")


def test_a_site_without_statistics_shows_its_versions(panel: PanelDriver, peer: SitePeer) -> None:
    peer.versions = [version(1, "champion")]
    peer.refuse("GET", "/statistics", 404, detail="Not here.")
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.versionsTable.rowCount == 1, "for the versions")
    assert not panel.ui.summaryLabel.visible
    assert not panel.ui.curveButton.enabled
