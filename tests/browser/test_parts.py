"""The seat's parts without a page: what is shown of every state, what is kept, strokes taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from FedSegBrowser import showing
from FedSegBrowser.store import FileStore
from FedSegLib.cases import CaseRow, CaseState
from FedSegLib.protocol import Label, LabelSchema, Model, SiteInfo
from FedSegLib.state import Busy, CaseView, LiveView, Notice, Phase, Tone, View

SCHEMA = LabelSchema((Label("lesion", 1, (220, 60, 50)), Label("oedema", 2, (60, 130, 220))))
MODELS = (Model("sam", True, True, "sam-0000"), Model("unet", True, False, "unet-0000"))
SITE = SiteInfo("app", "0.8", "0.1", "north", "annotator", SCHEMA, MODELS, ("first",), False)
CONNECTED = View(Phase.READY, "http://127.0.0.1:8000", SITE, model="sam", cases=(CaseRow("a", CaseState.NEW),))
OPEN = replace(CONNECTED, phase=Phase.OPEN, case=CaseView("a", "first by name", "sam-0000 · 50 ms"))


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.name.lower())
def test_every_state_can_be_sent_to_the_page(phase: Phase) -> None:
    for view in (View(phase, CONNECTED.address), replace(OPEN, phase=phase)):
        values = showing.shown(view)
        assert json.loads(json.dumps(values)) == values
        assert values["phase"] == phase.name.lower()


def test_what_cannot_be_done_says_why() -> None:
    assert showing.shown(View())["why"]["next"] == "Connect to a site first."
    ready = showing.shown(CONNECTED)
    assert ready["why"]["next"] == ""
    assert ready["why"]["submit"] == "Open a case first."
    assert showing.shown(OPEN)["why"]["submit"] == ""
    automatic = showing.shown(replace(OPEN, model="unet"))
    assert "does not understand points" in automatic["why"]["prompt"]
    assert not automatic["prompts"]


def test_who_can_read_along_is_said_before_the_password_is_typed() -> None:
    for address, warned in (("http://site.example:8000", True), ("https://site.example", False), (OPEN.address, False)):
        line = showing.shown(View(Phase.SIGN_IN, address))["site_line"]
        assert line.startswith("The site asks who you are.")
        assert ("NOT encrypted" in line) == warned


def test_the_open_case_its_answer_and_its_structures_are_shown() -> None:
    values = showing.shown(replace(OPEN, live=LiveView(label="oedema")))
    assert values["answer"] == "sam-0000 · 50 ms"
    assert "first by name" in values["case_line"]
    assert values["structures"][1] == {"name": "oedema", "color": "#3c82dc"}
    assert values["structure"] == "oedema"
    assert values["cases"] == [{"id": "a", "state": "in work", "dice": "", "words": "a: in work.", "open": True}]
    assert showing.shown(replace(OPEN, live=LiveView(label="no longer there")))["structure"] == "lesion"


def test_messages_and_progress_are_shown() -> None:
    values = showing.shown(
        replace(OPEN, notice=Notice("It failed.", "Try again.", Tone.ERROR), busy=Busy("Sending", 0.256))
    )
    assert values["notice"] == {"text": "It failed.", "hint": "Try again.", "tone": "error"}
    assert values["busy"] == {"text": "Sending", "known": True, "percent": 26}
    assert showing.shown(replace(OPEN, busy=Busy("Waiting")))["busy"]["known"] is False


def test_settings_outlive_the_seat_and_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "settings.json"
    store = FileStore(path)
    store.set("author", "Ada")
    store.set("ca_file", "x")
    store.remove("ca_file")
    store.remove("never there")
    assert path.stat().st_mode & 0o077 == 0
    again = FileStore(path)
    assert again.get("author") == "Ada"
    assert again.get("ca_file") is None
    path.write_text("{broken")
    assert FileStore(path).get("author") is None


@pytest.fixture(scope="module")
def app() -> Any:
    """Slicer's core, as the seat starts it."""
    from FedSegBrowser import host

    return host.start()


@pytest.fixture
def painted(app: Any, tmp_path: Path) -> Any:
    """A brush in hand on an open case of 20 x 20 x 4 voxels of 1 mm, and a function that strokes along i at a j."""
    import slicer
    import slicer.util
    import vtk
    from FedSegBrowser.brush import Brush
    from FedSegLib.scene import SlicerScene
    from FedSegLib.scene.segments import case_labels

    node = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 20, 20), np.int16))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(tmp_path / "image.nrrd"))
    storage.WriteData(node)
    scene = SlicerScene()
    case = scene.open_image(tmp_path / "image.nrrd", "case", SCHEMA)
    brush = Brush(app.segmentation_editor, lambda: None)
    brush.open(case)

    def stroke(j: float) -> None:
        ball = vtk.vtkSphereSource()
        ball.SetRadius(1.2)
        ball.SetThetaResolution(12)
        ball.SetPhiResolution(12)
        ball.Update()
        path = vtk.vtkPoints()
        for i in range(5, 12):
            path.InsertNextPoint(i, j, 1)
        app.segmentation_editor.active_effect.paint_glyph_at_world_coordinates(ball.GetOutput(), path)

    def labels() -> Any:
        find = slicer.mrmlScene.GetNodeByID
        return case_labels(find(case.segmentation), find(case.volume), SCHEMA)

    yield brush, stroke, labels
    brush.open(None)
    scene.close_case(case)


def test_strokes_are_taken_back_one_by_one(painted: Any) -> None:
    brush, stroke, labels = painted
    brush.take("paint", "lesion", 2.4)
    stroke(4)
    first = labels()
    assert first[1, 4, 5:12].all()
    assert set(np.unique(first)) == {0, 1}
    brush.take("paint", "oedema", 2.4)
    stroke(4)  # over the first
    assert (labels()[1, 4, 5:12] == 2).all()
    brush.strokes.undo()
    assert (labels() == first).all()
    brush.strokes.undo()
    assert not labels().any()
    assert not brush.strokes.can_undo
    brush.strokes.redo()
    brush.strokes.redo()
    assert (labels()[1, 4, 5:12] == 2).all()
    assert not brush.strokes.can_redo


def test_erasing_leaves_other_structures(painted: Any) -> None:
    brush, stroke, labels = painted
    for name, j in (("lesion", 4), ("oedema", 8)):
        brush.take("paint", name, 2.4)
        stroke(j)
    brush.take("erase", "lesion", 2.4)
    stroke(4)
    stroke(8)
    assert set(np.unique(labels())) == {0, 2}


def test_a_stroke_is_not_taken_back_after_another_change(painted: Any) -> None:
    import slicer
    from FedSegLib.scene.segments import write_box

    brush, stroke, labels = painted
    brush.take("paint", "lesion", 2.4)
    stroke(4)
    case = brush.strokes._case
    find = slicer.mrmlScene.GetNodeByID
    corner = (slice(3, 4), slice(15, 16), slice(15, 16))
    write_box(
        find(case.segmentation), find(case.volume), SCHEMA, corner, np.full((1, 1, 1), 2), np.ones((1, 1, 1), bool)
    )
    assert not brush.strokes.can_undo  # the site's undo takes both back
    stroke(10)
    brush.strokes.undo()
    assert labels()[3, 15, 15] == 2
    assert labels()[1, 4, 5]
    assert not brush.strokes.can_undo
