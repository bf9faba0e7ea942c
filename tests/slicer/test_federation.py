"""L5: the panel at one site of a real federation, where FEDSEG_FEDERATION_URL names it (the full test run starts one).

Hub, couriers and the other sites must run, and the others must have agreed to the plan; FEDSEG_TRUTH is a folder with
the true mask of every case as ``<case>.nii.gz``, FEDSEG_CASES names the cases to correct.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_driver import PanelDriver

URL = os.environ.get("FEDSEG_FEDERATION_URL", "")

pytestmark = pytest.mark.skipif(not URL, reason="FEDSEG_FEDERATION_URL names no site of a running federation")


def correct(panel: PanelDriver, scene: Any, case: str) -> None:
    """Open a case of the list, let the model segment it, replace its mask by the true one, submit."""
    rows = [row.id for row in panel.view.cases]
    panel.ui.casesTable.selectRow(rows.index(case))
    panel.click(panel.ui.openButton)
    panel.until(lambda: panel.view.case is not None and panel.view.case.id == case, f"for {case}")
    panel.segment()
    paint_truth(panel, scene, Path(os.environ["FEDSEG_TRUTH"]) / f"{case}.nii.gz")
    panel.click(panel.ui.submitButton)
    if panel.ui.consentFrame.visible:
        panel.click(panel.ui.agreeButton)
    panel.until(lambda: panel.view.case.submitted, f"for the receipt of {case}")


def paint_truth(panel: PanelDriver, scene: Any, path: Path) -> None:
    """Make the first structure what the file holds, as the Segment Editor writes it."""
    import slicer
    from FedSegLib.scene.volumes import read_labels

    labels, _ = read_labels(path)
    assert labels.any()
    case = panel.widget.controller.casework.case
    segmentation, volume = scene.GetNodeByID(case.segmentation), scene.GetNodeByID(case.volume)
    key = segmentation.GetSegmentation().GetSegmentIdBySegmentName(panel.view.site.schema.names[0])
    slicer.util.updateSegmentBinaryLabelmapFromArray((labels != 0).astype(np.uint8), segmentation, key, volume)


def prompt_once(panel: PanelDriver, scene: Any) -> None:
    """A click inside the structure, answered by the promptable model, and taken back."""
    from FedSegLib.scene import Pointer

    panel.choose(panel.ui.modelBox, next(model.name for model in panel.view.site.models if model.prompts))
    panel.click(panel.ui.includeButton)
    if panel.ui.consentFrame.visible:
        panel.click(panel.ui.agreeButton)
    case = panel.widget.controller.casework.case
    bounds = [0.0] * 6
    scene.GetNodeByID(case.volume).GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    scene.GetNodeByID(case.pointers[Pointer.INCLUDE]).AddControlPointWorld(*middle)
    panel.process()
    panel.until(lambda: not panel.view.live.asking and panel.view.live.can_undo, f"for the answer {panel.says}")
    panel.click(panel.ui.undoButton)
    panel.until(lambda: not panel.view.live.asking and panel.view.live.can_redo, "for the undo")


@pytest.mark.timeout(300)
def test_from_the_first_case_to_a_federated_round(
    panel: PanelDriver, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel_driver.PATIENCE_SECONDS", 60.0)  # real models on a busy computer
    panel.connect(URL)
    ui = panel.ui
    panel.until(lambda: panel.view.cases and panel.view.federation is not None, "for the site's state")
    assert "has agreed to the plan" in ui.federationLabel.text
    assert not ui.startRoundButton.enabled
    model = panel.view.model
    for case in os.environ["FEDSEG_CASES"].split(","):
        correct(panel, scene, case)
    prompt_once(panel, scene)
    panel.choose(ui.modelBox, model)

    panel.click(ui.learnButton)
    panel.until(lambda: panel.view.learning.running, f"for the learner: {panel.says}")
    panel.until(lambda: panel.view.learning.state == "done", f"for what it learned: {ui.learningLabel.text}")
    assert panel.view.learning.result.version

    panel.click(ui.approveButton)
    assert "numbers of" in ui.consentLabel.text
    panel.click(ui.agreeButton)
    panel.until(lambda: ui.startRoundButton.enabled, f"for the agreement: {panel.says}")
    panel.until(lambda: panel.view.federation.courier_connected, "for the courier")
    panel.click(ui.startRoundButton)
    panel.until(lambda: panel.view.round is not None, f"for the round: {panel.says}")
    panel.until(lambda: not panel.view.round.running, f"for its end: {ui.federationLabel.text}")
    run = panel.view.round
    assert run.state == "finished", run.reason
    assert len(run.sites) == 3
    assert all(site.state == "aggregated" for site in run.sites), run.sites
    assert run.history[0].bytes_up > 100_000
    assert "Finished." in ui.federationLabel.text
    assert ui.sitesTable.rowCount == 3
    panel.until(lambda: any(v.origin == "federation" for v in panel.view.versions), "for the federated version")
    panel.shoot("34-real-federation")
