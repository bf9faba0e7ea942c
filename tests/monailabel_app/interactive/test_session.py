"""What an annotator sees of a session: masks where prompted, in every geometry, and undo."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monailabel_app.errors import FedSegError
from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.orient import stack_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.cache import Found, SliceView
from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.inference.planes import AXES, Plane, axis_names, axis_of
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.history import box_slices
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.interactive.session import Answer, Session
from monailabel_app.models.base import Prompts
from monailabel_app.models.sam import SamSegmenter

GEOMETRIES = ["ras", "lps", "oblique", "thick", "coronal", "flipped", "picture", "photo"]
Build = Callable[[str], Volume]
LABELS = {"tumour": 1, "core": 2}


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


def open_session(volume: Volume, engine: Engine, name: str = "s") -> Session:
    axis = stack_of(volume).axes[0]
    return Session(name, "case", volume, window_of(volume), engine, LABELS, "tumour", axis)


def send(session: Session, **body: Any) -> Answer:
    return session.prompt(PromptRequest.model_validate(body))


def bits(mask: np.ndarray) -> str:
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_points_and_boxes_mean_the_same_voxels_as_for_the_model_itself(
    name: str, build: Build, engine: Engine, segmenter: SamSegmenter
) -> None:
    volume = build(name)
    stack = stack_of(volume)
    session = open_session(volume, engine)
    centre = tuple(n // 2 for n in volume.shape)
    corner = list(centre)
    corner[stack.axes[1]] -= 6
    answer = send(
        session, foreground=[centre], background=[corner], box=[*np.minimum(centre, corner), *centre], multimask=False
    )
    prompts = Prompts("tumour", (centre,), (tuple(corner),), (*np.minimum(centre, corner), *centre))  # type: ignore[arg-type]
    segmenter.load_adapter(engine.versions.load(answer.version))
    assert np.array_equal(session.mask, segmenter.prompt(volume, [prompts]))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("axis", AXES)
def test_a_scribble_is_in_the_mask_voxel_by_voxel(name: str, axis: str, build: Build, engine: Engine) -> None:
    volume = build(name)
    if volume.is_2d and axis != "k":
        pytest.skip("a 2D image has one axis of slices")
    session = open_session(volume, engine)
    number = AXES.index(axis)
    low, high = [2, 3, 0], [n - 1 if a == 2 and volume.is_2d else 6 for a, n in enumerate(volume.shape)]
    low[number] = high[number] = volume.shape[number] // 2
    drawn = np.random.default_rng(1).random([b - a + 1 for a, b in zip(low, high, strict=True)]) < 0.4
    drawn.flat[0] = True
    scribble = {"box": [*low, *high], "bits": bits(drawn)}
    answer = send(session, axis=axis, scribbles=[scribble])
    part = session.mask[box_slices((*low, *high))]  # type: ignore[arg-type]
    assert (part[drawn] == 1).all()
    assert answer.slices == (low[number], low[number])
    touched = np.flatnonzero(session.mask.any(axis=tuple(a for a in range(3) if a != number)))
    assert list(touched) == [low[number]]
    send(session, axis=axis, scribbles=[{**scribble, "positive": False}])
    assert not part[drawn].any()


@pytest.mark.parametrize("name", ["oblique", "flipped", "coronal"])
def test_the_changed_box_is_all_a_client_needs(name: str, build: Build, engine: Engine) -> None:
    session = open_session(build(name), engine)
    client = np.zeros(session.volume.shape, dtype=np.uint8)
    steps = [
        {"foreground": [[12, 14, 4]]},
        {"foreground": [[12, 14, 4], [9, 14, 4]], "background": [[2, 2, 4]]},
        {"axis": "i", "label": "core", "box": [12, 8, 2, 12, 20, 6]},
        {"axis": "j", "foreground": [[12, 14, 4]]},
    ]
    answers = []
    for step in [*steps, "undo", "undo", "redo", "undo", "undo", "undo"]:
        answer = send(session, **step) if isinstance(step, dict) else session.undo(redo=step == "redo")
        if answer.box is not None:
            client[box_slices(answer.box)] = session.voxels(answer.box)
        assert np.array_equal(client, session.mask)
        answers.append(answer)
    assert not session.mask.any()
    assert [answer.step for answer in answers] == list(range(1, 11))


def test_two_annotators_on_one_case_share_nothing(build: Build, engine: Engine) -> None:
    volume = build("ras")
    ann, ben = open_session(volume, engine, "a"), open_session(volume, engine, "b")
    send(ann, foreground=[[12, 14, 4]])
    kept = ann.mask.copy()
    assert not ben.mask.any()
    with pytest.raises(FedSegError, match="nothing to undo"):
        ben.undo()
    send(ben, label="core", foreground=[[3, 3, 4]], axis="i")
    assert np.array_equal(ann.mask, kept)
    assert set(np.unique(ben.mask)) <= {0, 2}
    alone = open_session(volume, engine, "c")
    send(alone, foreground=[[12, 14, 4]])
    assert np.array_equal(alone.mask, kept)  # what others did changed nothing


def test_a_click_that_is_taken_back_gives_other_labels_their_voxels(build: Build, engine: Engine) -> None:
    session = open_session(build("thick"), engine)
    whole = np.ones((26, 30, 1), dtype=bool)
    send(session, mask={"box": [0, 0, 4, 25, 29, 4], "bits": bits(whole)})
    assert (session.mask[:, :, 4] == 1).all()
    part = {"box": [5, 5, 4, 9, 9, 4], "bits": bits(np.ones((5, 5, 1), dtype=bool))}
    send(session, label="core", scribbles=[part])
    assert (session.mask[5:10, 5:10, 4] == 2).all()
    send(session, label="core", scribbles=[{**part, "positive": False}])
    assert (session.mask[5:10, 5:10, 4] == 1).all()


def test_the_mask_before_is_fed_back(build: Build, engine: Engine) -> None:
    volume = build("thick")
    fresh, later = open_session(volume, engine), open_session(volume, engine)
    send(fresh, foreground=[[12, 14, 4]], multimask=False)
    half = np.zeros((26, 30, 1), dtype=bool)
    half[:13] = True
    send(later, mask={"box": [0, 0, 4, 25, 29, 4], "bits": bits(half)})
    send(later, foreground=[[12, 14, 4]], multimask=False)
    assert not np.array_equal(fresh.mask, later.mask)


def test_the_first_click_takes_the_best_of_three_masks(build: Build, engine: Engine) -> None:
    volume = build("thick")
    first, single = open_session(volume, engine), open_session(volume, engine)
    best = send(first, foreground=[[12, 14, 4]])
    one = send(single, foreground=[[12, 14, 4]], multimask=False)
    assert best.score is not None
    assert one.score is not None
    again = send(first, foreground=[[12, 14, 4]], replace=True, multimask=True)
    assert again.score == pytest.approx(best.score, abs=0.3)
    assert {name for name, _ in best.milliseconds.items()} >= {"prepare", "features", "decode", "mask"}


BAD = {
    "outside": ({"foreground": [[26, 0, 0]]}, "outside"),
    "negative": ({"background": [[0, -1, 0]]}, "outside"),
    "empty": ({}, "no prompt"),
    "label": ({"label": "liver", "foreground": [[1, 1, 1]]}, "no label 'liver'"),
    "axis": ({"axis": "x", "foreground": [[1, 1, 1]]}, "no axis 'x'"),
    "crossing box": ({"axis": "k", "box": [1, 1, 1, 5, 5, 3]}, "across 3 slices"),
    "scribble outside": ({"scribbles": [{"box": [0, 0, 8, 1, 1, 9], "runs": [0, 1]}]}, "outside"),
    "empty scribble": ({"scribbles": [{"box": [0, 0, 0, 1, 1, 0], "runs": []}]}, "no voxel"),
    "mask twice": ({"mask": {"box": [0, 0, 0, 1, 1, 0], "runs": [0, 1], "bits": "AA=="}}, "either"),
}


@pytest.mark.parametrize(("body", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_prompt_is_refused_and_the_session_goes_on(
    body: dict[str, Any], words: str, build: Build, engine: Engine
) -> None:
    session = open_session(build("ras"), engine)
    send(session, foreground=[[12, 14, 4]])
    kept = session.mask.copy()
    with pytest.raises(FedSegError, match=words):
        send(session, **body)
    assert np.array_equal(session.mask, kept)
    assert session.step == 1
    assert send(session, foreground=[[11, 14, 4]]).step == 2


class Forgetful:
    """An engine whose network lacks the labels' default prompts: it fails while it decodes."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.image_size, self._engine = engine.name, engine.image_size, engine

    def snapshot(self) -> Snapshot:
        return replace(self._engine.snapshot(), defaults={})

    def features(self, snapshot: Snapshot, view: SliceView) -> Found:
        return self._engine.features(snapshot, view)


def test_a_step_that_fails_half_way_changes_nothing(build: Build, engine: Engine) -> None:
    volume = build("ras")
    session = Session("s", "case", volume, window_of(volume), Forgetful(engine), LABELS, "tumour", 2)
    drawn = {"box": [0, 0, 4, 25, 29, 4], "bits": bits(np.ones((26, 30, 1), dtype=bool))}
    with pytest.raises(KeyError):
        send(session, axis="k", mask=drawn, foreground=[[12, 14, 4]])
    assert not session.mask.any()
    assert (session.step, session.history.can_undo) == (0, 0)


def test_planes_of_a_patient_are_found_whatever_the_storage_order(build: Build) -> None:
    assert axis_names(build("ras")) == {"sagittal": 0, "coronal": 1, "axial": 2}
    assert axis_names(build("coronal")) == {"sagittal": 0, "axial": 1, "coronal": 2}
    assert axis_names(build("flipped")) == {"axial": 0, "sagittal": 1, "coronal": 2}
    assert axis_of(build("flipped"), "axial") == axis_of(build("flipped"), "i") == 0


@pytest.mark.parametrize("name", ["ras", "oblique", "flipped", "coronal"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_places_are_where_the_upright_slice_shows_them(name: str, axis: int, build: Build) -> None:
    volume = build(name)
    plane = Plane.of(volume, axis, 64)
    marked = np.zeros(volume.shape, dtype=np.uint8)
    voxel = (3, 20, 7)
    marked[voxel] = 1
    index, row, column = plane.slice_of(voxel)
    assert index == voxel[axis]
    assert np.argwhere(plane.upright(marked, index)).tolist() == [[row, column]]
    assert plane.places(np.array([voxel])).tolist() == [[index, row, column]]
