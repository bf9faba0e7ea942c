"""L2: long waits: they can be stopped, leave no image behind, and do not hold Slicer up."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from FedSegLib import casework, watching
from FedSegLib.decoding import decode_image
from panel_driver import PanelDriver
from site_peer import SitePeer


def test_fetching_and_segmenting_can_be_stopped(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    gate = peer.hold("GET", "/datastore/image")
    panel.click(panel.ui.nextButton)
    peer.wait_for("GET", "/datastore/image")
    panel.shoot("05-fetching")
    panel.click(panel.ui.cancelButton)
    panel.until(lambda: panel.says == "Stopped.", "for the stop")
    assert panel.view.phase.name == "READY"
    peer.gates.clear()
    gate.set()
    panel.open_case()
    peer.hold("POST", "/infer/unet")
    panel.click(panel.ui.segmentButton)
    peer.wait_for("POST", "/infer/unet")
    assert not panel.ui.submitButton.enabled
    assert "Wait until this is done" in panel.ui.submitButton.toolTip
    panel.shoot("07-segmenting")
    panel.click(panel.ui.cancelButton)
    panel.until(lambda: panel.view.phase.name == "OPEN", "for the stop")


@pytest.mark.parametrize("button", ["cancelButton", "disconnectButton"])
def test_an_image_that_came_too_late_does_not_stay_on_the_disk(
    panel: PanelDriver, peer: SitePeer, monkeypatch: pytest.MonkeyPatch, button: str
) -> None:
    there, go_on = threading.Event(), threading.Event()

    def decode(path: Path) -> Any:
        there.set()
        go_on.wait(10)
        return decode_image(path)

    monkeypatch.setattr(casework, "decode_image", decode)
    panel.connect(peer.url)
    panel.click(panel.ui.nextButton)
    panel.until(there.is_set, "for the image")
    assert panel.temporary_files() == ["image.nrrd"]
    panel.click(getattr(panel.ui, button))
    go_on.set()
    panel.until(lambda: not panel.widget.controller.busy, "for the end")
    assert panel.view.case is None
    assert panel.temporary_files() == []


def test_an_image_that_makes_decoding_fail_does_not_stay_on_the_disk(panel: PanelDriver, peer: SitePeer) -> None:
    peer.image = peer.image.replace(b"sizes: 24 20 12", b"sizes: 24 20 " + b"9" * 30)
    panel.connect(peer.url)
    panel.click(panel.ui.nextButton)
    panel.until(lambda: panel.says and panel.view.phase.name == "READY", "for the failure")
    assert panel.temporary_files() == []


def test_slicer_is_held_less_when_a_wait_gets_long(
    panel: PanelDriver, peer: SitePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.3)  # looks at the site meanwhile
    panel.connect(peer.url)
    panel.open_case()
    gate = peer.hold("POST", "/infer/unet")
    panel.click(panel.ui.segmentButton)
    assert panel.widget.timer.interval == 2  # a quick answer is shown at once
    looked = peer.count("GET", "/learning")
    for more in (1, 2):
        panel.until(lambda more=more: peer.count("GET", "/learning") > looked + more, "for a look")
        panel.until(lambda: panel.widget.timer.interval == 50, "for longer pauses")
    gate.set()
    panel.until(lambda: panel.view.phase.name == "OPEN", "for the mask")
