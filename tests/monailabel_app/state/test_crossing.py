"""Cross-validated gating: small sites are judged on every case, and never by a version trained on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.learning.tasks import Workbench, run_job
from monailabel_app.learning.tasks.crossing import folds_of, unseen
from monailabel_app.state.files import sha256_of
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import DataId, NewVersion, Version

LABELS = {"tumour": 1}
SPEC = ModelSpec(image_size=32, channels=(8, 16))


def bench(state: SiteState) -> Workbench:
    training = TrainingSpec(steps=60, batch_size=4, learning_rate=3e-3)
    setup = LearnerSetup(site_name="A", studies=state.studies, specs={"unet": SPEC}, labels=LABELS, training=training)
    return Workbench(state, setup)


def take(state: SiteState) -> Job:
    state.jobs.submit("learn", "unet", {"seed": 1})
    job = state.jobs.claim()
    assert job is not None
    return job


@pytest.mark.slow
def test_a_site_without_validation_cases_is_judged_by_cases_left_out_in_turn(state: SiteState, images: Any) -> None:
    state.splits.import_split(dict.fromkeys("abcd", "train"))
    for case in "abcd":
        images.submit(state, case)
    work = bench(state)
    result, message = run_job(work, take(state))
    store = state.versions("unet")
    assert result["promoted"], message
    assert "on 4 training cases, each by a version trained without it" in message
    verdict = store.verdict(result["version"])
    assert verdict is not None
    assert [(c["case"], c["crossed"]) for c in verdict["cases"]] == [(c, True) for c in "abcd"]
    assert len(store.list()) == 2, "versions of folds are not kept"

    again, message = run_job(work, take(state))
    assert not again["promoted"], "cases that the champion was trained on are no evidence"
    assert (again["cases"], store.champion()) == (0, result["version"])


@pytest.mark.slow
def test_only_uncorrected_training_images_are_rehearsed_and_the_record_names_them(
    state: SiteState, images: Any
) -> None:
    state.splits.import_split({"a": "train", "b": "train", "u": "train", "v": "validation", "h": "holdout"})
    for case in "abuvh":
        images.add(case)
    (images.studies / "broken.nii.gz").write_bytes(b"no image")
    state.splits.import_split({"broken": "train"})
    for case in "abv":
        images.submit(state, case)
    work = bench(state)
    first, _ = run_job(work, take(state))
    store = state.versions("unet")
    record = store.get(first["version"]).settings["rehearsal"]
    assert record["images"] == [], "the untrained model has nothing worth keeping"
    assert record["trust"] < 0.3
    store.promote(first["version"], "by hand")
    second, _ = run_job(work, take(state))
    record = store.get(second["version"]).settings["rehearsal"]
    assert record["images"] == [sha256_of(images.studies / "u.nii.gz")]
    assert record["trust"] > 0.3


@pytest.mark.slow
def test_a_step_that_helps_but_is_not_safe_is_followed_by_a_smaller_one(state: SiteState, images: Any) -> None:
    state.splits.import_split({"a": "train", "b": "train", "v": "validation"})
    for case in "abv":
        images.submit(state, case)
    work = bench(state)
    first, _ = run_job(work, take(state))
    store = state.versions("unet")
    store.promote(first["version"], "by hand")
    state.settings.set("gate", {"confidence": 0.999})  # more than the few cases here can give
    result, message = run_job(work, take(state))
    steps = [v for v in store.list() if v.parent == first["version"]]
    assert [v.settings["rehearsal"]["keep"] for v in steps] == [0.5, 0.75], message
    assert result["version"] == steps[1].id
    assert "smaller step" in message
    champion, large, small = (store.load(id_) for id_ in (first["version"], steps[0].id, steps[1].id))
    for name, tensor in large.items():
        half = champion[name] + (tensor - champion[name]) / 2
        np.testing.assert_allclose(small[name], half, atol=1e-5)
    verdicts = [store.verdict(v.id) for v in steps]
    assert all(v is not None and not v["promoted"] and v["reason"] for v in verdicts), (
        "both are kept with their reasons"
    )


def corrections_of(state: SiteState, images: Any, cases: str) -> list[Any]:
    state.splits.assign({case: case.lower() for case in cases})
    return [images.submit(state, case) for case in cases]


def test_all_cases_of_a_patient_are_held_out_together(state: SiteState, images: Any) -> None:
    found = corrections_of(state, images, "aAbBcdef")
    patients = {c.id: c.case.lower() for c in found}
    folds = folds_of(found, patients)
    assert len(folds) == 4
    assert sorted(c.id for fold in folds for c in fold) == sorted(patients)
    for patient in "ab":
        assert sum(any(patients[c.id] == patient for c in fold) for fold in folds) == 1
    assert folds_of(found[:2], patients) == [], "one patient cannot be left out of itself"


@pytest.mark.parametrize("years", [[2026, 2027, 2028], [2026, 1999, 2028], [2030, 2026, 2026]], ids=str)
def test_whoever_the_champion_may_have_learned_from_is_no_evidence(
    tmp_path: Path, images: Any, years: list[int]
) -> None:
    """Also where the clock is set back, or forwards, while a version arrives."""
    year = [years[0]]
    with SiteState(tmp_path / "state", images.studies, clock=lambda: f"{year[0]}-03-04T05:06:07.089Z") as state:
        check_evidence(state, images, lambda now: year.__setitem__(0, years[now]))


def check_evidence(state: SiteState, images: Any, at: Callable[[int], None]) -> None:
    store = state.versions("unet")
    base = store.ensure_base({"w": np.zeros(2, np.float32)}, "b" * 64)

    def make(parent: str, origin: Any, *data: Any) -> Version:
        ids = tuple(DataId(correction=c.id, image_sha256=c.image_sha256, mask_sha256=c.mask_sha256) for c in data)
        record = NewVersion(origin=origin, parent=parent, base_sha256="b" * 64, data=ids)
        return store.create({"w": np.ones(2, np.float32)}, record)

    first, second = corrections_of(state, images, "aA")
    learned = make(base, "learning", first)
    (third,) = corrections_of(state, images, "b")
    at(1)
    received = make(learned.id, "federation")
    at(2)
    (fourth,) = corrections_of(state, images, "c")
    everything = [first, second, third, fourth]
    patients = {c.id: c.case.lower() for c in everything}
    assert unseen(store, base, patients, everything) == {"a", "b", "c"}
    assert unseen(store, learned.id, patients, everything) == {"b", "c"}
    assert unseen(store, received.id, patients, everything) == {"c"}
