"""L2: the panel by clicks, every state and error, with a real loopback server; one picture per state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import site_peer
from panel_driver import PanelDriver, shots_folder
from site_peer import SitePeer
from volume_files import read_nifti, read_nrrd


@pytest.fixture(scope="session")
def qapp(mrml: Any) -> Any:
    """Qt's application and the stand-ins around it."""
    from PySide6 import QtCore, QtGui, QtWidgets
    from standins import pythonqt, scripted, widgets

    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer"])
    QtWidgets.QApplication.setStyle("Fusion")
    app.setFont(QtGui.QFont("DejaVu Sans", 9))
    QtCore.QCoreApplication.setOrganizationName("FedSegTests")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    pythonqt.install()
    widgets.install()
    scripted.install()
    return app


@pytest.fixture
def panel(qapp: Any, scene: Any, tmp_path: Path) -> Iterator[PanelDriver]:
    """A fresh panel with empty settings."""
    from PySide6 import QtCore

    QtCore.QSettings.setPath(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    driver = PanelDriver(qapp, shots_folder(tmp_path / "shots"))
    yield driver
    driver.close()


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
    panel.click(panel.ui.segmentButton)
    panel.until(lambda: "unet-0001" in panel.ui.answerLabel.text, "for the mask")
    panel.shoot("06-segmented")
    panel.click(panel.ui.submitButton)
    assert panel.ui.consentFrame.visible
    panel.shoot("07-consent")
    assert peer.count("PUT", "/datastore/label") == 0
    panel.click(panel.ui.agreeButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    panel.shoot("08-submitted")
    sent = peer.wait_for("PUT", "/datastore/label")[0]
    assert sent.query == {"image": "case-01", "tag": "final"}
    voxels, affine = read_nrrd(sent.form["label"])
    assert np.array_equal(voxels, site_peer.mask())
    assert np.allclose(affine, site_peer.AFFINE, atol=1e-9)
