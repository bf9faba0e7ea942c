"""Which case next: what the learner finds out when idle, and what a client is offered because of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from fed_backend.plan import ModelSpec
from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.acquisition import farthest, features, most_uncertain, value_of
from monailabel_app.learning.choice import choose_disputed, choose_diverse, choose_uncertain
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.learning.tasks import Workbench
from monailabel_app.learning.tasks.valuing import value_next
from monailabel_app.state.acquisition import CaseValue
from monailabel_app.state.corrections import Correction
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import NewVersion

LABELS = {"tumour": 1}
SPEC = ModelSpec(image_size=32, channels=(8, 16))


def later() -> datetime:
    """Long after whatever happened in a test."""
    return datetime.now(UTC) + timedelta(minutes=5)


def soon_after(correction: Correction) -> datetime:
    """A moment after its submission, however slow the machine is."""
    return datetime.fromisoformat(correction.submitted_at) + timedelta(seconds=1)


def bench(state: SiteState) -> Workbench:
    return Workbench(state, LearnerSetup(site_name="A", studies=state.studies, specs={"unet": SPEC}, labels=LABELS))


class Threshold:
    """A model that marks what is bright in its window: a stand-in for a segmenter with known behaviour."""

    labels = LABELS

    def __init__(self, level: float) -> None:
        self.level = level

    def segment(self, volume: Volume, progress: Any = None) -> Any:
        return (volume.array > self.level).astype(np.uint8)


def test_a_model_is_sure_of_a_clear_case_and_unsure_of_a_faint_one() -> None:
    clear = np.zeros((8, 8, 4))
    clear[2:5, 2:5] = 100
    faint = np.linspace(0, 100, 256).reshape(8, 8, 4)
    doubts = [value_of(Threshold(50), Volume(array, np.eye(4))).uncertainty for array in (clear, faint)]  # type: ignore[arg-type]
    assert doubts[0] == 0
    assert doubts[1] > 0.05


def test_features_describe_the_image_not_its_units() -> None:
    rng = np.random.default_rng(0)
    array = rng.gamma(2, 100, (20, 22, 5))
    found = features(Volume(array, np.eye(4)))
    assert found.shape == (32,)
    assert np.allclose(found, features(Volume(array * 7, np.eye(4))), atol=0.02)
    assert np.isfinite(features(Volume(np.zeros((3, 3, 1)), np.eye(4), True))).all()


def test_pure_choices() -> None:
    values = {"a": CaseValue(0.1, ()), "b": CaseValue(0.5, ()), "c": CaseValue(0.5, ())}
    assert most_uncertain(values, ["a", "b", "c", "d"]) == "b"
    assert most_uncertain(values, ["d"]) is None
    described = {"a": (0.0, 0.0), "b": (1.0, 0.0), "c": (5.0, 0.0), "broken": ()}
    assert farthest(described, ["b", "c", "broken"], {"a"}) == ("c", 5.0)
    assert farthest(described, ["a", "b", "c"], set()) == ("b", 0.0)
    assert farthest(described, ["broken", "x"], {"a"}) is None


@pytest.fixture
def known(state: SiteState, images: Any) -> SiteState:
    """Training cases a to d, validation v and w, one held out."""
    parts = {**dict.fromkeys("abcd", "train"), **dict.fromkeys("vw", "validation"), "h": "holdout"}
    for case in parts:
        images.add(case)
    state.splits.import_split(parts)
    return state


def test_idle_time_is_used_for_open_training_cases_and_only_while_nobody_works(known: SiteState, images: Any) -> None:
    soon = soon_after(images.submit(known, "a"))
    (images.studies / "c.nii.gz").write_bytes(b"broken")
    work = bench(known)
    work.prepare()
    assert not value_next(work, lambda: False, lambda: soon), "somebody submitted a moment ago"
    assert not value_next(work, lambda: True, later), "a job waits"
    version = known.versions("unet").champion()
    assert known.acquisition.of_version(version) == {}
    while value_next(work, lambda: False, later):
        pass
    values = known.acquisition.of_version(version)
    assert set(values) == {"b", "c", "d"}
    assert values["c"] == CaseValue(0.0, ())
    assert len(values["b"].features) == 32
    assert all(0 <= value.uncertainty <= 1 for value in values.values())


def test_an_annotator_who_begins_to_work_goes_first(known: SiteState, images: Any) -> None:
    soon = soon_after(images.submit(known, "a"))
    times, work = iter([later()]), bench(known)
    work.prepare()
    assert not value_next(work, lambda: False, lambda: next(times, soon))
    assert known.acquisition.of_version(known.versions("unet").champion()) == {}


def test_a_new_champion_is_asked_anew(known: SiteState) -> None:
    work = bench(known)
    while value_next(work, lambda: False, later):
        pass
    store = known.versions("unet")
    tensors = {name: value + 0.01 for name, value in store.load(store.base()).items()}
    record = NewVersion(origin="learning", parent=store.base(), base_sha256=store.get(store.base()).base_sha256)
    store.promote(store.create(tensors, record).id, "better")
    assert choose_uncertain(known, "unet", ["b"]) == {
        "id": "b",
        "reason": "first by name: no case was looked at by the model in use yet",
    }
    assert value_next(work, lambda: False, later)
    assert len(known.acquisition.of_version(store.champion())) == 1


def test_the_least_sure_training_case_is_offered_with_its_reason(known: SiteState) -> None:
    version = known.versions("unet").ensure_base({"w": np.zeros(1, np.float32)}, "b" * 64)
    for case, doubt in (("a", 0.2), ("b", 0.7), ("c", 0.3), ("v", 0.9)):
        known.acquisition.put(version, case, CaseValue(doubt, (doubt,)))
    offered = choose_uncertain(known, "unet", list("abcdvwh"))
    assert offered is not None
    assert offered["id"] == "b", "validation cases are never chosen by difficulty"
    assert offered["reason"] == "least sure of 4 cases: masks of it under other contrast and mirroring differ by 70%"
    assert choose_uncertain(known, "unet", []) is None


def make_version(state: SiteState, origin: Any, parent: str, change: float) -> str:
    store = state.versions("unet")
    tensors = {name: value + change for name, value in store.load(store.base()).items()}
    record = NewVersion(origin=origin, parent=parent, base_sha256=store.get(store.base()).base_sha256)
    return store.create(tensors, record).id


def test_what_a_federation_offered_is_compared_with_the_model_in_use(known: SiteState) -> None:
    work = bench(known)
    work.prepare()
    store = known.versions("unet")

    def look() -> dict[str, CaseValue]:
        while value_next(work, lambda: False, later):
            pass
        return known.acquisition.of_version(store.champion())

    assert {value.rival for value in look().values()} == {None}
    nothing = choose_disputed(known, "unet", list("abcd"))
    assert nothing is not None
    assert nothing["reason"].startswith("first by name")
    offered = make_version(known, "federation", store.champion(), 0.3)
    values = look()
    assert {value.rival for value in values.values()} == {offered}, "a new offer is compared anew"
    chosen = choose_disputed(known, "unet", list("abcd"))
    assert chosen is not None
    apart = {case: value.disagreement for case, value in values.items()}
    assert chosen["disagreement"] == max(apart.values()) == apart[chosen["id"]]
    assert f"the model in use and {offered} differ most on it" in chosen["reason"]
    store.promote(offered, "better")
    assert {value.rival for value in look().values()} == {store.get(offered).parent}


def test_two_versions_that_agree_everywhere_dispute_nothing(known: SiteState, images: Any) -> None:
    work = bench(known)
    segmenter, store = work.open("unet")
    base = store.load(store.base())
    volume = read_volume(images.studies / "a.nii.gz")
    segmenter.load_adapter(base)
    assert value_of(segmenter, volume, rival=("same", base)).disagreement == 0
    other = {name: -value for name, value in base.items()}
    segmenter.load_adapter(base)
    assert (value_of(segmenter, volume, rival=("other", other)).disagreement or 0) > 0.1


def test_validation_cases_come_in_between_so_that_the_gate_can_judge(known: SiteState, images: Any) -> None:
    known.versions("unet").ensure_base({"w": np.zeros(1, np.float32)}, "b" * 64)
    images.submit(known, "a")
    for choose in (lambda cases: choose_uncertain(known, "unet", cases), lambda cases: choose_diverse(known, cases)):
        offered = choose(list("bcdvwh"))
        assert offered is not None
        assert offered["id"] in "vw"
        assert "the gate needs it" in offered["reason"]
    images.submit(known, "v")
    offered = choose_uncertain(known, "unet", list("bcdwh"))
    assert offered is not None
    assert offered["id"] == "b"


def test_the_case_least_like_corrected_ones_is_offered(known: SiteState, images: Any) -> None:
    for case, place in (("a", 0.0), ("b", 0.1), ("c", 3.0), ("d", 1.0)):
        known.acquisition.put("unet-0000-000000", case, CaseValue(0.5, (place, 0.0)))
    begin = choose_diverse(known, list("abcd"))
    assert begin is not None
    assert (begin["id"], begin["reason"]) == ("d", "most like all the others: a good case to begin with")
    for case in "av":
        images.submit(known, case)
    offered = choose_diverse(known, list("bcd"))
    assert offered == {"id": "c", "distance": 3.0, "reason": "least like the cases that were corrected"}
