"""Tests of the Slicer module. They need their own environment: slicer-core and PySide6, without torch or MONAI Label.

Run as ``python -m pytest tests/slicer`` there. In the other environment everything here is left out of collection.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1] / "SlicerFedSeg"

if all(importlib.util.find_spec(name) for name in ("slicer", "PySide6")):
    sys.path[:0] = [str(HERE), str(MODULE), str(MODULE / "Testing")]
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")  # the same pictures everywhere
    # Python 3.12 made None immortal; below it, PySide6 6.12.0 loses a reference to None in every call, and crashes.
    import PySide6

    if sys.version_info < (3, 12) and PySide6.__version_info__[:2] == (6, 12):
        raise pytest.UsageError("PySide6 6.12 crashes on this Python: install PySide6-Essentials<6.12")
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def mrml() -> Any:
    """Slicer's scene with its logics, made once."""
    from standins import mini_slicer

    return mini_slicer.boot()


@pytest.fixture
def scene(mrml: Any) -> Iterator[Any]:
    """The scene, empty before and after."""
    mrml.Clear(0)
    yield mrml
    mrml.Clear(0)


@pytest.fixture
def peer() -> Iterator[Any]:
    """A FedSeg site that answers with canned volumes, on loopback."""
    from site_peer import SitePeer

    with SitePeer() as server:
        yield server


@pytest.fixture
def stock_peer() -> Iterator[Any]:
    """A stock MONAI Label server."""
    from site_peer import SitePeer

    with SitePeer(stock=True) as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) for localhost, signed by itself, made by the openssl command."""
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


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
def panel(qapp: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fresh panel with empty settings and an empty outbox."""
    import slicer
    from panel_driver import PanelDriver, shots_folder
    from PySide6 import QtCore

    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(tmp_path / "kept" / "Slicer.ini"))
    QtCore.QSettings.setPath(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    driver = PanelDriver(qapp, shots_folder(tmp_path / "shots"))
    yield driver
    driver.close()


@pytest.fixture
def german(qapp: Any, panel: Any, tmp_path: Path) -> Iterator[Any]:
    """A panel in a Slicer that is set to German."""
    from FedSegLib import language
    from panel_driver import PanelDriver, shots_folder
    from PySide6 import QtCore

    settings = QtCore.QSettings()
    settings.setValue("Internationalization/Enabled", True)
    settings.setValue("language", "de-DE")
    settings.sync()
    driver = PanelDriver(qapp, shots_folder(tmp_path / "shots"))
    yield driver
    driver.close()
    settings.clear()
    language.use(None)


@pytest.fixture
def live(panel: Any, scene: Any, peer: Any) -> Any:
    """The panel with a case open in three slice views, a promptable model, consent, and a tool in hand."""
    from live_case import open_live

    return open_live(panel, scene, peer)


@pytest.fixture
def dark(qapp: Any) -> Iterator[None]:
    """Slicer's dark style."""
    from PySide6 import QtGui

    light, roles = qapp.palette(), QtGui.QPalette.ColorRole
    palette = QtGui.QPalette(QtGui.QColor(53, 53, 53))
    for role, color in {
        roles.WindowText: "#f0f0f0", roles.Text: "#f0f0f0", roles.ButtonText: "#f0f0f0", roles.Base: "#282828",
        roles.AlternateBase: "#353535", roles.Highlight: "#2f6fb0", roles.HighlightedText: "#ffffff",
        roles.ToolTipBase: "#282828", roles.ToolTipText: "#f0f0f0", roles.PlaceholderText: "#909090",
    }.items():  # fmt: skip
        palette.setColor(role, QtGui.QColor(color))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#808080"))
    qapp.setPalette(palette)
    yield
    qapp.setPalette(light)


@pytest.fixture
def desk(scene: Any, tmp_path: Path) -> Any:
    """Scene code under test, with a folder."""
    from case_desk import Desk

    return Desk(tmp_path)
