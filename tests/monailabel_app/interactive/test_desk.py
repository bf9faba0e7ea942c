"""Sessions of several people: ownership, expiry, what is kept when they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monailabel_app.errors import NotFound, SiteError, TooLarge, Unavailable
from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.volume import Volume
from monailabel_app.interactive.desk import MOST_SESSIONS, SessionDesk
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.state.database import Database
from monailabel_app.state.prompts import PromptStore

LABELS = {"tumour": 1, "core": 2}
DRAWN = {"scribbles": [{"box": [9, 9, 4, 15, 18, 4], "runs": [0, 70]}]}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[PromptStore]:
    database = Database(tmp_path / "site.sqlite")
    yield PromptStore(database, tmp_path / "shown")
    database.close()


@pytest.fixture
def make_desk(
    tmp_path: Path,
    make_engine: Callable[..., Engine],
    build: Callable[[str], Volume],
    records: PromptStore,
    clock: Clock,
) -> Iterator[Callable[..., SessionDesk]]:
    volume = build("thick")
    for case in ("one", "two"):
        nib.save(nib.Nifti1Image(volume.array, volume.affine), tmp_path / f"{case}.nii.gz")
    made: list[SessionDesk] = []

    def make(**options: Any) -> SessionDesk:
        engines = {"sam": make_engine()}
        desk = SessionDesk(engines, records, lambda case: tmp_path / f"{case}.nii.gz", LABELS, clock=clock, **options)
        made.append(desk)
        return desk

    yield make
    for desk in made:
        desk.stop()


def ask(**body: Any) -> PromptRequest:
    return PromptRequest.model_validate(body)


def test_an_idle_session_expires_and_loses_nothing(
    make_desk: Callable[..., SessionDesk], records: PromptStore, clock: Clock
) -> None:
    desk = make_desk(idle_s=60.0)
    opened = desk.open("ann", "one")
    desk.prompt(opened, ask(**DRAWN))
    mask = opened.session.mask.copy()
    clock.now += 59
    assert desk.find(opened.session.id, "ann") is opened  # used: the minute begins again
    clock.now += 61
    with pytest.raises(NotFound, match="expired"):
        desk.find(opened.session.id, "ann")
    assert [prompt["step"] for prompt in records.pending("one")] == [1]
    shown = records.shown("one")
    assert shown is not None
    assert np.array_equal(shown.labelmap, mask)
    again = desk.open("ann", "one", initial=True)
    assert np.array_equal(again.session.mask, mask)


def test_the_mask_of_an_image_is_not_shown_on_the_next_one_of_its_name(
    make_desk: Callable[..., SessionDesk], build: Callable[[str], Volume], tmp_path: Path
) -> None:
    desk = make_desk()
    opened = desk.open("ann", "one")
    desk.prompt(opened, ask(**DRAWN))
    desk.close(opened)
    volume = build("thick")
    nib.save(nib.Nifti1Image(volume.array[::-1], volume.affine), tmp_path / "one.nii.gz")
    assert not desk.open("ann", "one", initial=True).session.mask.any()


def test_features_of_a_deleted_image_and_its_sessions_go(
    make_desk: Callable[..., SessionDesk], build: Callable[[str], Volume], tmp_path: Path
) -> None:
    volume = build("thick")
    nib.save(nib.Nifti1Image(volume.array[::-1], volume.affine), tmp_path / "two.nii.gz")
    desk = make_desk()
    engine = desk.engines["sam"]
    for case in ("one", "two"):
        session = desk.open("ann", case).session
        deadline = time.monotonic() + 60
        while not all(engine.cache.is_warm(engine.snapshot(), session.view(2, index)) for index in range(9)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    desk.forget("one")
    with pytest.raises(NotFound, match="no open session"):
        desk.find("one", "ann")
    desk.stop()
    kept = read_volume(tmp_path / "two.nii.gz").identity
    assert [folder.name for folder in (tmp_path / "embeddings").iterdir()] == [kept[:32]]


def test_nobody_finds_the_session_of_another(make_desk: Callable[..., SessionDesk]) -> None:
    desk = make_desk()
    opened = desk.open("ann", "one")
    for name in (opened.session.id, "one"):
        with pytest.raises(NotFound, match="no open session"):
            desk.find(name, "ben")
    assert desk.sessions("ben") == []
    assert desk.find("one", "ann") is opened


def test_undone_steps_are_recorded_too(make_desk: Callable[..., SessionDesk], records: PromptStore) -> None:
    desk = make_desk()
    opened = desk.open("ann", "one", label="core")
    desk.prompt(opened, ask(**DRAWN))
    desk.undo(opened)
    desk.undo(opened, redo=True)
    kept = records.pending("one")
    assert [(prompt["action"], prompt["step"]) for prompt in kept] == [("prompt", 1), ("undo", 2), ("redo", 3)]
    assert kept[0]["label"] == "core"
    assert kept[0]["scribbles"][0]["runs"] == [0, 70]


def test_a_refused_prompt_is_not_recorded(make_desk: Callable[..., SessionDesk], records: PromptStore) -> None:
    desk = make_desk()
    opened = desk.open("ann", "one")
    with pytest.raises(SiteError):
        desk.prompt(opened, ask(foreground=[[99, 0, 0]]))
    assert records.pending("one") == []


def test_a_correction_follows_the_newest_mask_of_its_author(
    make_desk: Callable[..., SessionDesk], records: PromptStore
) -> None:
    desk = make_desk()
    ann, ben = desk.open("ann", "one"), desk.open("ben", "one")
    desk.prompt(ann, ask(**DRAWN))
    desk.prompt(ben, ask(label="core", **DRAWN))
    desk.flush("one", "ann")
    shown = records.shown("one")
    assert shown is not None
    assert np.array_equal(shown.labelmap, ann.session.mask)


def test_ending_the_site_keeps_every_mask(make_desk: Callable[..., SessionDesk], records: PromptStore) -> None:
    desk = make_desk()
    for case in ("one", "two"):
        desk.prompt(desk.open("ann", case), ask(**DRAWN))
    desk.stop()
    assert all(records.shown(case) is not None for case in ("one", "two"))


def test_what_does_not_fit_is_refused(make_desk: Callable[..., SessionDesk]) -> None:
    with pytest.raises(TooLarge, match="GiB"):
        make_desk(memory_limit=1000).open("ann", "one")
    desk = make_desk()
    with pytest.raises(NotFound, match="takes no prompts"):
        desk.open("ann", "one", model="unet")
    with pytest.raises(SiteError, match="no label"):
        desk.open("ann", "one", label="liver")
    for _ in range(MOST_SESSIONS):
        desk.open("ann", "one")
    with pytest.raises(Unavailable, match="sessions are open"):
        desk.open("ann", "one")


def test_sessions_on_one_image_share_its_voxels(make_desk: Callable[..., SessionDesk]) -> None:
    desk = make_desk()
    assert desk.open("ann", "one").session.volume is desk.open("ben", "one").session.volume
