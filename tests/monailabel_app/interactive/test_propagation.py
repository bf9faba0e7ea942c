"""A propagation that is cancelled, and one during which the annotator goes on correcting."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from monailabel_app.errors import Conflict
from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.cache import Found
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.interactive.propagation import Propagation
from monailabel_app.interactive.session import Session

LABELS = {"tumour": 1, "core": 2}


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def session(build: Callable[[str], Volume], engine: Engine) -> Session:
    """Slices 2 and 6 hold the same square."""
    volume = build("thick")
    opened = Session("s", "case", volume, window_of(volume), engine, LABELS, "tumour", 2)
    for index in (2, 6):
        draw(opened, index, np.s_[6:19, 7:22])
    return opened


def draw(session: Session, index: int, area: tuple[slice, slice], label: str = "tumour") -> None:
    mask = np.zeros((26, 30, 1), dtype=bool)
    mask[area] = True
    body: dict[str, Any] = {"box": [0, 0, index, 25, 29, index], "bits": base64.b64encode(np.packbits(mask)).decode()}
    session.prompt(PromptRequest.model_validate({"label": label, "scribbles": [body]}))


def run(work: Propagation, engine: Engine, patch: pytest.MonkeyPatch, after: int, act: Callable[[], None]) -> None:
    """Run to the end; ``act`` when the features of the slice number ``after`` are asked for."""
    real, asked = engine.cache.features, []

    def features(*arguments: Any, **options: Any) -> Found:
        asked.append(1)
        if len(asked) == after:
            act()
        return real(*arguments, **options)

    with patch.context() as patched:
        patched.setattr(engine.cache, "features", features)
        work.start()
        work.wait(60)


def filled(session: Session, value: int = 1) -> list[int]:
    return np.flatnonzero((session.mask == value).any(axis=(0, 1))).tolist()


def test_cancelled_it_keeps_what_was_found(session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    before = session.mask.copy()
    work = Propagation(session, engine, "tumour", 2, 1000, steps.append)
    run(work, engine, monkeypatch, 2, work.cancel)
    assert work.status.state == "cancelled"
    assert work.status.done == 2  # of the three slices between, and none beyond
    assert len(filled(session)) == 4
    assert steps == [session.step] == [work.status.step]
    session.undo()
    assert np.array_equal(session.mask, before)


def test_a_slice_corrected_meanwhile_stays_as_corrected_and_counts_the_next_time(
    session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Propagation(session, engine, "tumour", 2, 0, lambda step: None)
    corrected: list[np.ndarray] = []

    def correct() -> None:
        draw(session, 4, np.s_[2:5, 2:5])
        draw(session, 3, np.s_[20:24, 24:28], "core")
        corrected.append(session.mask[:, :, 4].copy())

    run(work, engine, monkeypatch, 1, correct)
    assert work.status.state == "done"
    assert np.array_equal(session.mask[:, :, 4], corrected[0])
    assert (session.mask[20:24, 24:28, 3] == 2).all()  # another label's voxels are not taken
    assert {2, 3, 4, 5, 6} <= set(filled(session))
    again = Propagation(session, engine, "tumour", 2, 0, lambda step: None)
    again.start()
    again.wait(60)
    assert np.array_equal(session.mask[:, :, 4], corrected[0])
    assert again.status.done == 2  # slices 3 and 5 only: 4 is prompted now


def test_without_a_mask_to_start_from_it_is_refused(session: Session, engine: Engine) -> None:
    with pytest.raises(Conflict, match="no prompted slice"):
        Propagation(session, engine, "core", 2, 1000, lambda step: None)
