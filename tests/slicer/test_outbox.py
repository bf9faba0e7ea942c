"""L0 and L2: masks that cannot be delivered wait on disk and arrive later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import site_peer
from FedSegLib.errors import OutboxFault
from FedSegLib.grid import Grid
from FedSegLib.outbox import Outbox
from FedSegLib.protocol import Label, LabelSchema
from FedSegLib.voxels import Voxels
from panel_driver import PanelDriver
from site_peer import SitePeer
from volume_files import read_nrrd

MASK = Voxels(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), Grid((4, 3, 2), np.diag([0.5, 0.7, 3.0, 1.0])))
SCHEMA = LabelSchema((Label("edema", 2, (1, 2, 3)), Label("tumour", 5, (4, 5, 6))))


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "box", lambda: "2026-01-02T03:04:05+00:00")


def put(outbox: Outbox, tmp_path: Path, case: str = "a", server: str = "http://x") -> Any:
    parcel = outbox.parcel(server, case, SCHEMA, suffix=".nrrd", author="Ada", seconds=3.5, clicks=4)
    outbox.keep(parcel, MASK)
    return parcel


def test_a_parcel_survives_the_process(outbox: Outbox, tmp_path: Path) -> None:
    parcel = put(outbox, tmp_path)
    again = Outbox(tmp_path / "box", lambda: "")
    assert again.waiting() == [parcel]
    voxels, affine = read_nrrd(again.mask_of(parcel).read_bytes())
    assert np.array_equal(voxels, MASK.array.transpose(2, 1, 0))
    assert np.allclose(affine, MASK.grid.affine)
    assert parcel.schema.values() == SCHEMA.values()
    again.remove(parcel)
    assert again.waiting() == []
    assert list((tmp_path / "box").iterdir()) == []


def test_only_the_owner_may_read_what_waits(outbox: Outbox, tmp_path: Path) -> None:
    parcel = put(outbox, tmp_path)
    assert (tmp_path / "box").stat().st_mode & 0o077 == 0
    assert outbox.mask_of(parcel).stat().st_mode & 0o077 == 0


def test_masks_of_another_server_are_left_alone(outbox: Outbox, tmp_path: Path) -> None:
    put(outbox, tmp_path, "a", "http://x")
    put(outbox, tmp_path, "b", "http://y")
    assert [one.case for one in outbox.waiting("http://y")] == ["b"]


@pytest.mark.parametrize("damage", ["no mask", "cut", "other format", "wrong key", "strange labels"])
def test_damaged_parcels_are_passed_over(outbox: Outbox, tmp_path: Path, damage: str) -> None:
    parcel = put(outbox, tmp_path)
    path = tmp_path / "box" / f"{parcel.id}.json"
    values = json.loads(path.read_text())
    if damage == "no mask":
        outbox.mask_of(parcel).unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "other format":
        path.write_text(json.dumps({**values, "format": 9}))
    elif damage == "wrong key":
        path.write_text(json.dumps({**values, "more": 1}))
    else:
        path.write_text(json.dumps({**values, "labels": [["a", 0]]}))
    assert outbox.waiting() == []


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "box").write_text("a file where the folder should be")
    with pytest.raises(OutboxFault, match="cannot be kept"):
        put(Outbox(tmp_path / "box", lambda: "2026"), tmp_path)


def segmented(panel: PanelDriver, url: str) -> None:
    """A case is open, segmented, and sending was agreed to."""
    panel.connect(url)
    panel.open_case()
    panel.segment()
    panel.widget.controller.connection.agree()


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / "kept" / "FedSeg" / "outbox"
    return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


def test_a_lost_site_loses_no_mask(panel: PanelDriver, peer: SitePeer, tmp_path: Path) -> None:
    segmented(panel, peer.url)
    peer.refuse("PUT", "/datastore/label", 503, detail="Down for maintenance.")
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "kept on this computer" in panel.says, "for the notice")
    assert "Down for maintenance" in panel.says
    assert panel.ui.waitingLabel.text == "Waiting on this computer to be sent: case-01."
    assert kept(tmp_path) == [".json", ".nrrd"]
    panel.shoot("14-waiting")
    panel.click(panel.ui.nextButton)  # one press is enough: the mask is safe
    panel.until(lambda: panel.view.case.id == "case-02", "for the next case")
    peer.replies.clear()
    panel.click(panel.ui.sendButton)
    panel.until(lambda: "'case-01' that waited here has arrived" in panel.says, "for the arrival")
    assert not panel.ui.waitingPanel.visible
    assert kept(tmp_path) == []
    sent = peer.wait_for("PUT", "/datastore/label", 2)[1]
    assert sent.query == {"image": "case-01", "tag": "final"}
    assert np.array_equal(read_nrrd(sent.form["label"])[0], site_peer.mask())


def test_what_waits_is_sent_after_a_restart_of_slicer(
    qapp: Any, panel: PanelDriver, peer: SitePeer, tmp_path: Path
) -> None:
    segmented(panel, peer.url)
    peer.refuse("PUT", "/datastore/label", 500, detail="No.")
    panel.click(panel.ui.submitButton)
    panel.until(lambda: bool(panel.view.waiting), "for the mask to be kept")
    panel.widget.cleanup()
    peer.replies.clear()
    second = PanelDriver(qapp, tmp_path)
    second.connect(peer.url)
    second.until(lambda: peer.count("PUT", "/datastore/label") == 2, "for the mask")
    second.until(lambda: kept(tmp_path) == [], "for the receipt")
    second.close()


@pytest.mark.parametrize("way", ["the scene is closed", "the server is left"])
def test_a_mask_whose_sending_was_broken_off_waits(
    panel: PanelDriver, scene: Any, peer: SitePeer, tmp_path: Path, way: str
) -> None:
    segmented(panel, peer.url)
    gate = peer.hold("PUT", "/datastore/label")
    panel.click(panel.ui.submitButton)
    peer.wait_for("PUT", "/datastore/label")
    peer.gates.clear()
    if way == "the scene is closed":
        scene.Clear(0)
    else:
        panel.click(panel.ui.disconnectButton)
        panel.connect(peer.url)
    panel.until(lambda: "that waited here has arrived" in panel.says, "for the arrival")
    gate.set()
    assert kept(tmp_path) == []
    assert peer.count("PUT", "/datastore/label") == 2


def test_without_consent_nothing_that_waits_is_sent(panel: PanelDriver, peer: SitePeer, tmp_path: Path) -> None:
    segmented(panel, peer.url)
    peer.refuse("PUT", "/datastore/label", 500, detail="No.")
    panel.click(panel.ui.submitButton)
    panel.until(lambda: bool(panel.view.waiting), "for the mask to be kept")
    panel.widget.controller.connection.withdraw_consent()
    panel.click(panel.ui.sendButton)
    panel.process()
    assert peer.count("PUT", "/datastore/label") == 1
    assert kept(tmp_path) == [".json", ".nrrd"]


def test_a_mask_that_is_refused_later_can_be_discarded(panel: PanelDriver, peer: SitePeer, tmp_path: Path) -> None:
    segmented(panel, peer.url)
    peer.refuse("PUT", "/datastore/label", 500, detail="No.")
    panel.click(panel.ui.submitButton)
    panel.until(lambda: bool(panel.view.waiting), "for the mask to be kept")
    peer.refuse("PUT", "/datastore/label", 422, detail="The image was replaced.", hint="Open it again.")
    panel.click(panel.ui.sendButton)
    panel.until(lambda: bool(panel.view.refused), "for the refusal")
    assert "Refused by the site: case-01 (The image was replaced.)" in panel.ui.waitingLabel.text
    panel.click(panel.ui.discardButton)
    assert not panel.ui.waitingPanel.visible
    assert kept(tmp_path) == []


def test_a_refused_mask_is_not_kept_twice(panel: PanelDriver, peer: SitePeer, tmp_path: Path) -> None:
    segmented(panel, peer.url)
    peer.refuse("PUT", "/datastore/label", 422, detail="It does not fit.")
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "does not fit" in panel.says, "for the refusal")
    assert kept(tmp_path) == []
    assert not panel.view.case.submitted


@pytest.mark.parametrize("tell", [True, False])
def test_effort_is_told_only_if_wanted(panel: PanelDriver, peer: SitePeer, tell: bool) -> None:
    panel.ui.settingsSection.collapsed = False
    if not tell:
        panel.click(panel.ui.effortBox)
    segmented(panel, peer.url)
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    params = json.loads(peer.wait_for("PUT", "/datastore/label")[0].form["params"])
    assert ("seconds" in params, "clicks" in params) == (tell, tell)


def test_a_case_is_segmented_on_opening_if_wanted(panel: PanelDriver, peer: SitePeer) -> None:
    panel.ui.settingsSection.collapsed = False
    panel.click(panel.ui.autoBox)
    panel.connect(peer.url)
    panel.click(panel.ui.nextButton)
    panel.until(lambda: panel.view.case is not None and "unet-0001" in panel.view.case.answered_by, "for the mask")
