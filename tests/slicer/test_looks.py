"""L2: the panel in a dark theme, its icons, its keys, and how long it holds the event loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from live_case import settle, tap
from panel_driver import PanelDriver
from PySide6 import QtGui, QtWidgets
from site_peer import SitePeer

ICONS = Path(__file__).resolve().parents[2] / "SlicerFedSeg" / "Resources" / "Icons"
DRAWN = sorted(path for path in ICONS.glob("*.svg") if path.stem != "FedSeg")


def prompting(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.casesTable.rowCount == 3, "for the work list")
    panel.open_case()
    panel.choose(panel.ui.modelBox, "sam")
    panel.widget.controller.connection.agree()
    panel.click(panel.ui.includeButton)
    settle(panel)
    tap(panel, (14, 10, 6))
    settle(panel)


def ink(button: Any) -> QtGui.QColor:
    """The colour of a button's icon where it is opaque."""
    picture = button.icon.pixmap(48, 48).toImage()
    dots = [picture.pixelColor(x, y) for x in range(picture.width()) for y in range(picture.height())]
    return max(dots, key=lambda dot: dot.alpha())


def test_icons_can_be_read_in_a_light_theme(panel: PanelDriver) -> None:
    assert ink(panel.ui.undoButton).lightness() < 80


def test_icons_can_be_read_in_a_dark_theme(dark: None, panel: PanelDriver, peer: SitePeer) -> None:
    prompting(panel, peer)
    assert ink(panel.ui.undoButton).lightness() > 180
    panel.shoot("22-dark")


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_icons_are_small_drawings_without_scripts_or_links(path: Path) -> None:
    text = path.read_text()
    assert len(text) < 1500
    assert 'viewBox="0 0 24 24"' in text
    assert not any(word in text for word in ("href", "script", "font", "<image"))


def test_everything_can_be_reached_by_tab(panel: PanelDriver, peer: SitePeer) -> None:
    prompting(panel, peer)
    reached = set()
    widget = panel.ui.serverBox
    for _ in range(400):
        widget = QtWidgets.QWidget.nextInFocusChain(widget)
        reached.add(QtWidgets.QWidget.objectName(widget))
    shown = [
        child
        for child in QtWidgets.QWidget.findChildren(panel.frame, QtWidgets.QAbstractButton)
        if QtWidgets.QWidget.isVisible(child) and child.objectName
    ]
    named = {QtWidgets.QWidget.objectName(child) for child in shown} - {""}
    assert {"nextButton", "submitButton", "includeButton", "propagateButton"} <= named
    assert named <= reached


def test_no_tick_holds_the_event_loop(panel: PanelDriver, peer: SitePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time of the GUI thread within one tick: what a person would feel as a stutter."""
    held: list[float] = []
    tick = panel.widget.controller.tick

    def measured() -> None:
        before = time.thread_time()
        tick()
        held.append(time.thread_time() - before)

    monkeypatch.setattr(panel.widget.controller, "tick", measured)
    prompting(panel, peer)
    panel.click(panel.ui.propagateButton)
    settle(panel)
    panel.until(lambda: not panel.view.live.propagating, "for the propagation")
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    assert len(held) > 10
    assert max(held) < 0.1
