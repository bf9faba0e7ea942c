"""L2: the panel by clicks, every state and error, with a real loopback server; one picture per state.

``FEDSEG_SHOTS=folder`` keeps the pictures.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import site_peer
from panel_driver import PanelDriver
from site_peer import SitePeer
from volume_files import nrrd, read_nrrd


def test_a_new_panel_offers_to_connect_and_nothing_else(panel: PanelDriver) -> None:
    panel.shoot("01-offline")
    ui = panel.ui
    assert ui.connectButton.enabled
    assert not any(b.enabled for b in (ui.nextButton, ui.segmentButton, ui.submitButton, ui.learnButton))
    assert "Connect to a site first" in ui.nextButton.toolTip
    assert not panel.widget.timer.active


def test_the_main_job_from_connect_to_submit(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    assert panel.view.phase.name == "READY"
    assert "north" in panel.ui.siteLabel.text
    panel.shoot("04-connected")
    panel.open_case()
    assert "case-01" in panel.ui.caseLabel.text
    assert "least certain" in panel.ui.caseLabel.text
    assert panel.temporary_files() == []  # no patient's image stays on this computer's disk
    panel.shoot("06-case-open")
    panel.segment()
    assert "unet-0001" in panel.ui.answerLabel.text
    panel.shoot("08-segmented")
    panel.click(panel.ui.submitButton)
    assert panel.ui.consentFrame.visible
    panel.shoot("11-consent")
    assert peer.count("PUT", "/datastore/label") == 0
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    assert "Dice 0.91" in panel.says
    panel.shoot("13-submitted")
    assert panel.temporary_files() == []
    sent = peer.wait_for("PUT", "/datastore/label")[0]
    assert sent.query == {"image": "case-01", "tag": "final"}
    voxels, affine = read_nrrd(sent.form["label"])
    assert np.array_equal(voxels, site_peer.mask())
    assert np.allclose(affine, site_peer.AFFINE, atol=1e-9)
    panel.click(panel.ui.submitButton)  # asked once per server only
    peer.wait_for("PUT", "/datastore/label", 2)


def test_the_connection_is_tested_without_connecting(panel: PanelDriver, peer: SitePeer) -> None:
    panel.type(panel.ui.serverBox, peer.url)
    panel.click(panel.ui.testButton)
    panel.until(lambda: "Reachable" in panel.says, "for the answer")
    for part in ("site 'north'", "FedSeg 0.1.0", "annotator", "unet, sam", "runs on this computer"):
        assert part in panel.says
    assert panel.view.phase.name == "OFFLINE"
    panel.shoot("02-tested")


@pytest.mark.parametrize(
    ("url", "says"),
    [("ftp://x", "not a way to reach"), ("http://127.0.0.1:1", "Nothing answers"), ("", "no server address")],
)
def test_an_address_that_does_not_work_says_so(panel: PanelDriver, url: str, says: str) -> None:
    panel.type(panel.ui.serverBox, url)
    panel.click(panel.ui.testButton)
    panel.until(lambda: says in panel.says, "for the answer")
    panel.click(panel.ui.connectButton)
    panel.until(lambda: panel.view.phase.name == "OFFLINE" and says in panel.says, "for the failure")
    assert panel.ui.hintLabel.text
    if says == "Nothing answers":
        panel.shoot("03-unreachable")


def test_an_unverified_server_gets_nothing(panel: PanelDriver, certificate: tuple[Path, Path]) -> None:
    with SitePeer(tls=certificate) as peer:
        panel.type(panel.ui.serverBox, peer.url)
        panel.click(panel.ui.connectButton)
        panel.until(lambda: "could not prove who it is" in panel.says, "for the refusal")
        panel.shoot("03-tls-refused")
        assert peer.received == []
        panel.ui.settingsSection.collapsed = False
        panel.ui.caFileEdit.currentPath = str(certificate[0])
        panel.click(panel.ui.connectButton)
        panel.until(lambda: panel.view.phase.name == "READY", "for the connection")
        assert "Encrypted" in panel.ui.siteLabel.text


def test_a_slow_server_can_be_left(panel: PanelDriver, peer: SitePeer) -> None:
    peer.hold("GET", "/info/")
    panel.type(panel.ui.serverBox, peer.url)
    panel.click(panel.ui.connectButton)
    peer.wait_for("GET", "/info/")
    panel.shoot("03-connecting")
    panel.click(panel.ui.cancelButton)
    panel.until(lambda: panel.says == "Stopped.", "for the stop")
    assert panel.view.phase.name == "OFFLINE"


def test_signing_in(panel: PanelDriver, peer: SitePeer) -> None:
    peer.users["ada"] = "secret"
    panel.connect(peer.url)
    assert panel.view.phase.name == "SIGN_IN"
    panel.type(panel.ui.userEdit, "ada")
    panel.type(panel.ui.passwordEdit, "wrong")
    panel.shoot("03-sign-in")
    panel.click(panel.ui.signInButton)
    panel.until(lambda: "Wrong name or password" in panel.says, "for the refusal")
    assert panel.ui.passwordEdit.text == ""
    panel.type(panel.ui.passwordEdit, "secret\r")
    panel.until(lambda: panel.view.phase.name == "READY", "for the sign-in")
    panel.open_case()
    assert not panel.ui.signInPanel.visible


def test_who_can_read_along_is_said_before_the_password_is_typed(
    panel: PanelDriver, peer: SitePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **options: known("127.0.0.1" if "site" in host else host, *more, **options),
    )
    monkeypatch.setenv("NO_PROXY", "*")
    peer.users["ada"] = "secret"
    url = peer.url.replace("127.0.0.1", "site.example")
    panel.type(panel.ui.serverBox, url)
    panel.click(panel.ui.testButton)
    panel.until(lambda: "asks you to sign in. The connection is NOT encrypted." in panel.says, "for the answer")
    panel.connect(url)
    assert panel.ui.signInPanel.visible
    assert "NOT encrypted" in panel.ui.siteLabel.text
    panel.click(panel.ui.disconnectButton)
    panel.connect(peer.url)
    assert panel.ui.siteLabel.text == "The site asks who you are."


def test_a_sign_in_that_runs_out_keeps_the_case(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    peer.users["ada"] = "secret"
    panel.click(panel.ui.segmentButton)
    panel.until(lambda: panel.view.phase.name == "SIGN_IN", "for the sign-in")
    panel.type(panel.ui.userEdit, "ada")
    panel.type(panel.ui.passwordEdit, "secret\r")
    panel.until(lambda: panel.view.phase.name == "OPEN", "for the case")
    panel.segment()


@pytest.mark.parametrize("strategy", ["random", "uncertainty"])
def test_the_chosen_strategy_is_asked(panel: PanelDriver, peer: SitePeer, strategy: str) -> None:
    panel.connect(peer.url)
    panel.choose(panel.ui.strategyBox, strategy)
    panel.open_case()
    assert peer.count("POST", f"/activelearning/{strategy}") == 1


def test_no_case_left(panel: PanelDriver, peer: SitePeer) -> None:
    peer.cases.clear()
    panel.connect(peer.url)
    panel.click(panel.ui.nextButton)
    panel.until(lambda: "no case left" in panel.says, "for the answer")
    assert panel.view.phase.name == "READY"


def test_an_image_that_cannot_be_read_keeps_the_old_case(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    peer.image = b"nonsense"
    panel.click(panel.ui.nextButton)
    panel.until(lambda: "cannot read the image of 'case-02'" in panel.says, "for the failure")
    assert panel.view.case.id == "case-01"
    panel.segment()


def test_an_unsubmitted_mask_is_not_left_by_accident(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    panel.click(panel.ui.nextButton)
    assert "'case-01' is not submitted" in panel.says
    panel.shoot("09-not-submitted")
    panel.click(panel.ui.nextButton)
    panel.until(lambda: panel.view.case.id == "case-02", "for the next case")


def test_an_empty_mask_must_be_meant(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.click(panel.ui.submitButton)
    assert "No voxel is marked" in panel.says
    assert not panel.ui.consentFrame.visible
    panel.shoot("12-empty")
    panel.click(panel.ui.nothingBox)
    panel.click(panel.ui.submitButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    assert not read_nrrd(peer.wait_for("PUT", "/datastore/label")[0].form["label"])[0].any()
    panel.open_case()
    assert not panel.ui.nothingBox.checked  # it was said of the other case


def test_a_mask_for_another_grid_changes_nothing(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    shifted = site_peer.AFFINE.copy()
    shifted[0, 3] += 5
    peer.mask = nrrd(site_peer.mask(2), shifted)
    panel.click(panel.ui.segmentButton)
    panel.until(lambda: "voxels away from the image" in panel.says, "for the refusal")
    panel.click(panel.ui.submitButton)
    panel.click(panel.ui.agreeButton)
    sent = peer.wait_for("PUT", "/datastore/label")[0]
    assert np.array_equal(read_nrrd(sent.form["label"])[0], site_peer.mask())


def test_a_refused_submission_can_be_sent_again(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    peer.refuse("PUT", "/datastore/label", 422, error="GeometryError", detail="It does not fit.", hint="Reload it.")
    panel.click(panel.ui.submitButton)
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.says == "It does not fit. Reload it.", "for the refusal")
    panel.shoot("14-refused")
    assert not panel.view.case.submitted
    peer.replies.clear()
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")


def test_consent_can_be_withdrawn(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    panel.click(panel.ui.submitButton)
    panel.click(panel.ui.agreeButton)
    peer.wait_for("PUT", "/datastore/label")
    panel.until(lambda: panel.view.phase.name == "OPEN", "for the receipt")
    panel.ui.settingsSection.collapsed = False
    panel.shoot("15-settings")
    panel.click(panel.ui.withdrawButton)
    assert not panel.ui.withdrawButton.enabled
    panel.click(panel.ui.submitButton)
    assert panel.ui.consentFrame.visible
    assert peer.count("PUT", "/datastore/label") == 1


def test_a_viewer_may_look_only(panel: PanelDriver, peer: SitePeer) -> None:
    peer.role = "viewer"
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    assert not panel.ui.submitButton.enabled
    assert "viewer" in panel.ui.submitButton.toolTip


def test_closing_the_scene_lets_go_of_the_case(panel: PanelDriver, scene: Any, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    peer.hold("POST", "/infer/unet")
    panel.click(panel.ui.segmentButton)
    peer.wait_for("POST", "/infer/unet")
    scene.Clear(0)
    panel.process()
    assert panel.view.phase.name == "READY"
    assert "scene was closed" in panel.says
    peer.gates.pop(("POST", "/infer/unet")).set()
    panel.open_case()
    panel.segment()


def test_disconnecting_keeps_the_work_in_the_scene(panel: PanelDriver, scene: Any, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.open_case()
    panel.segment()
    panel.click(panel.ui.disconnectButton)
    assert panel.view.phase.name == "OFFLINE"
    assert scene.GetNodesByClass("vtkMRMLSegmentationNode").GetNumberOfItems() == 1
    panel.until(lambda: not panel.widget.timer.active, "for the timer to rest")
    panel.connect(peer.url)
    panel.open_case()


def test_the_server_and_the_name_are_remembered(qapp: Any, panel: PanelDriver, peer: SitePeer, tmp_path: Path) -> None:
    panel.ui.settingsSection.collapsed = False
    panel.type(panel.ui.authorEdit, "Ada")
    panel.connect(peer.url)
    second = PanelDriver(qapp, tmp_path)
    assert second.ui.serverBox.currentText == peer.url
    assert second.ui.authorEdit.text == "Ada"
    second.close()


def test_taking_the_panel_down_in_the_middle_leaves_nothing_behind(panel: PanelDriver, peer: SitePeer) -> None:
    import slicer

    before = set(Path(slicer.app.temporaryPath).glob("fedseg-*"))
    panel.connect(peer.url)
    peer.hold("POST", "/activelearning/random")
    panel.click(panel.ui.nextButton)
    peer.wait_for("POST", "/activelearning/random")
    panel.widget.cleanup()
    assert len(set(Path(slicer.app.temporaryPath).glob("fedseg-*"))) == len(before) - 1
    assert not panel.widget.timer.active


def test_the_self_test_passes(qapp: Any, scene: Any) -> None:
    import FedSeg

    FedSeg.FedSegTest().runTest()


def test_the_module_describes_itself(qapp: Any) -> None:
    import FedSeg
    from standins.scripted import Description

    module = FedSeg.FedSeg(Description())
    assert module.parent.title == "FedSeg"
    assert module.parent.categories == ["Active Learning"]
