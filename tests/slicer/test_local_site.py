"""L0 and L2: a site on this computer: checked, started, connected to, stopped, and what can go wrong.

The interpreter here is this test's own, with a stand-in for the site's package on its path that serves the canned
peer; the run against the real package is in test_site.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from FedSegLib import language
from FedSegLib.cancel import CancelSwitch
from FedSegLib.errors import Cancelled, LocalSiteFault
from FedSegLib.local_site import LocalSettings, LocalSite, check_environment
from panel_driver import PanelDriver

SERVER = """
import json, os, sys, time
sys.path.insert(0, os.environ["PEER_FOLDER"])
arguments = dict(zip(sys.argv[3::2], sys.argv[4::2]))
if arguments["--labels"] != "edema=2,tumour=5":
    sys.exit("the labels are strange: " + arguments["--labels"])
if os.environ.get("PEER_SLEEPS"):
    time.sleep(60)
from site_peer import SitePeer
with SitePeer() as peer:
    ready = arguments["--ready-file"]
    with open(ready + ".part", "w") as file:
        json.dump({"pid": os.getpid(), "url": peer.url}, file)
    os.replace(ready + ".part", ready)
    time.sleep(60)
"""


@pytest.fixture
def wanted(tmp_path: Path) -> LocalSettings:
    packages = tmp_path / "packages"
    for name in ("monailabel_app", "monailabel", "torch"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text("")
    (packages / "monailabel_app" / "__main__.py").write_text(SERVER)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "a.nrrd").write_bytes(b"x")
    environment = {"PYTHONPATH": str(packages), "PEER_FOLDER": str(Path(__file__).parent), "PATH": os.environ["PATH"]}
    return LocalSettings(
        Path(sys.executable), tmp_path / "studies", tmp_path / "state", "edema = 2, tumour=5", environment
    )


def change(wanted: LocalSettings, **changes: Any) -> LocalSettings:
    import dataclasses

    return dataclasses.replace(wanted, **changes)


def quiet(text: str, fraction: float | None) -> None:
    """Nobody looks."""


def test_a_good_environment_is_said_to_be_ready(wanted: LocalSettings) -> None:
    assert check_environment(wanted).startswith("Ready: Python 3.")


def test_what_is_missing_is_told_with_a_next_step(wanted: LocalSettings, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    script = tmp_path / "noise"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    bare = {**wanted.environment, "PYTHONPATH": ""}
    for settings, says in (
        (change(wanted, python=tmp_path / "none"), "no Python interpreter"),
        (change(wanted, python=script), "not a Python interpreter"),
        (change(wanted, studies=tmp_path / "none"), "no image folder"),
        (change(wanted, studies=empty), "folder is empty"),
        (change(wanted, labels="tumour"), "names no structures"),
        (change(wanted, environment=bare), "has no monailabel_app"),
    ):
        with pytest.raises(LocalSiteFault, match=says) as caught:
            check_environment(settings)
        assert caught.value.hint


@pytest.mark.parametrize("speech", ["en", "de"])
def test_how_to_install_the_site_can_be_followed(wanted: LocalSettings, speech: str) -> None:
    module = Path(__file__).resolve().parents[2] / "SlicerFedSeg"
    language.use(language.read_catalogue(module / "Resources/Translations/FedSeg_de.ts") if speech == "de" else None)
    try:
        with pytest.raises(LocalSiteFault) as caught:
            check_environment(change(wanted, environment={**wanted.environment, "PYTHONPATH": ""}))
    finally:
        language.use(None)
    folder = {"en": "FOLDER", "de": "ORDNER"}[speech]
    for part in (
        "'python3 -m venv fedseg-site'",
        f"'fedseg-site/bin/pip install {folder}'",
        "'py -m venv fedseg-site'",
        f"'fedseg-site\\Scripts\\pip install {folder}'",
        "pyproject.toml",
    ):
        assert part in caught.value.hint
    assert (module.parent / "pyproject.toml").is_file()
    assert not (module / "pyproject.toml").exists()


def test_a_site_that_ends_at_once_says_why(wanted: LocalSettings, tmp_path: Path) -> None:
    site = LocalSite(tmp_path)
    with pytest.raises(LocalSiteFault, match="the labels are strange: other=1"):
        site.start(change(wanted, labels="other=1"), CancelSwitch(), quiet)
    assert not site.running


def test_starting_can_be_stopped(wanted: LocalSettings, tmp_path: Path) -> None:
    switch = CancelSwitch()
    site = LocalSite(tmp_path)
    slow = change(wanted, environment={**wanted.environment, "PEER_SLEEPS": "1"})
    with pytest.raises(Cancelled):
        site.start(slow, switch, lambda text, fraction: switch.cancel())
    assert not site.running


def test_the_panel_starts_a_site_and_connects_to_it(
    panel: PanelDriver, wanted: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel.widget.controller.hosting, "_environment", wanted.environment)
    panel.ui.localSection.collapsed = False
    panel.shoot("02-local-site")
    panel.click(panel.ui.checkButton)
    panel.until(lambda: "no Python interpreter" in panel.says, "for the check")
    panel.ui.pythonEdit.currentPath = str(wanted.python)
    panel.ui.studiesEdit.currentPath = str(wanted.studies)
    panel.type(panel.ui.labelsEdit, wanted.labels)
    panel.click(panel.ui.checkButton)
    panel.until(lambda: "Ready" in panel.says, "for the check")
    panel.click(panel.ui.startSiteButton)
    panel.until(lambda: panel.view.phase.name == "READY", "for the site")
    assert "runs on this computer" in panel.ui.siteLabel.text
    panel.open_case()
    hosting = panel.widget.controller.hosting
    assert hosting.running
    panel.click(panel.ui.stopSiteButton)
    panel.until(lambda: "was stopped" in panel.says, "for the end")
    assert not hosting.running
    assert panel.view.phase.name == "OFFLINE"
    assert panel.widget.controller.settings.servers == []  # its port will be another one


def test_the_site_goes_with_the_panel(
    panel: PanelDriver, wanted: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = panel.widget.controller
    monkeypatch.setattr(controller.hosting, "_environment", wanted.environment)
    for key, value in (("python", wanted.python), ("studies", wanted.studies), ("labels", wanted.labels)):
        controller.settings.set_text(f"local_{key}", str(value))
    controller.hosting.start()
    panel.until(lambda: panel.view.phase.name == "READY", "for the site")
    panel.widget.cleanup()
    assert not controller.hosting.running
