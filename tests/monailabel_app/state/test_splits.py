"""Assignments: once, for good, by patient, and never without a validation case for long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monailabel_app.errors import Conflict, SiteError
from monailabel_app.state.database import Database
from monailabel_app.state.site import SiteState
from monailabel_app.state.splits import Splits


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "site.sqlite")


def test_a_part_never_changes_as_cases_arrive(database: Database, tmp_path: Path) -> None:
    splits = Splits(database, b"key")
    first = splits.assign(f"p{n}" for n in range(20))
    later = splits.assign(f"p{n}" for n in range(200))
    assert {case: later[case] for case in first} == first
    reopened = Splits(Database(tmp_path / "site.sqlite"), b"key")
    assert reopened.all() == later
    shares = {part: list(later.values()).count(part) / 200 for part in ("train", "validation", "holdout")}
    assert 0.5 < shares["train"] < 0.8
    assert 0.15 < shares["validation"] < 0.35
    assert 0.03 < shares["holdout"] < 0.2


def test_all_cases_of_a_patient_share_a_part(database: Database) -> None:
    splits = Splits(database, b"key")
    parts = splits.assign({f"p{n}-scan{m}": f"p{n}" for n in range(30) for m in range(3)})
    for n in range(30):
        assert len({parts[f"p{n}-scan{m}"] for m in range(3)}) == 1


@pytest.mark.parametrize("key", [bytes([k]) for k in range(60)])
def test_two_patients_are_enough_to_train_and_to_validate(tmp_path: Path, key: bytes) -> None:
    splits = Splits(Database(tmp_path / "site.sqlite"), key)
    found = {splits.part("one"), splits.part("two")}
    assert found == {"train", "validation"}


def test_the_assignment_depends_on_the_sites_key(tmp_path: Path) -> None:
    cases = [f"p{n}" for n in range(40)]
    one, two = (Splits(Database(tmp_path / f"{k}.sqlite"), k.encode()).assign(cases) for k in ("a", "b"))
    assert one != two


def test_a_split_file_is_taken_over_whole_or_not_at_all(database: Database) -> None:
    splits = Splits(database, b"key")
    assert splits.import_split({"a": "train", "b": "validation"}) == 2
    assert splits.import_split({"a": "train", "c": "holdout"}) == 1
    with pytest.raises(Conflict, match="'a' is for train, the split file says holdout"):
        splits.import_split({"new": "train", "a": "holdout"})
    with pytest.raises(SiteError, match="part 'test'"):
        splits.import_split({"new": "test"})
    assert splits.all() == {"a": "train", "b": "validation", "c": "holdout"}


def test_a_split_file_cannot_tear_a_patient_apart(database: Database) -> None:
    splits = Splits(database, b"key")
    with pytest.raises(Conflict, match="patient keeps its part"):
        splits.import_split({"p-1": "train", "p-2": "validation"}, patients={"p-1": "p", "p-2": "p"})
    assert splits.all() == {}


def test_cases_of_one_patient_are_drawn_together_and_later_ones_follow(state: SiteState, images: Any) -> None:
    patients = {f"p{n}-{visit}": f"p{n}" for n in range(12) for visit in "abc"}
    first = {case: patient for case, patient in patients.items() if not case.endswith("c")}
    assert state.splits.import_split({"p0-a": "holdout"}, first) == 24
    placed = state.splits.all()
    assert placed["p0-a"] == placed["p0-b"] == "holdout"
    assert {placed[case] for case in placed} == {"train", "validation", "holdout"}
    for _ in range(2):  # as at every start of the site
        state.splits.import_split({"p0-a": "holdout"}, patients)
        later = state.splits.all()
        assert {case: later[case] for case in placed} == placed
        for n in range(12):
            assert len({later[f"p{n}-{visit}"] for visit in "abc"}) == 1


def test_a_case_that_was_corrected_takes_the_others_of_its_patient_along(state: SiteState, images: Any) -> None:
    state.splits.import_split({"x": "train", "y": "validation"})
    alone = state.splits.assign(["old", "new"])
    images.submit(state, "old")
    state.splits.import_split({}, {"new": "p", "old": "p"})
    assert state.splits.patients()["old"] == "p"
    assert state.splits.all()["old"] == state.splits.all()["new"] == alone["old"]
    images.submit(state, "x")
    images.submit(state, "y")
    before = state.splits.all(), state.splits.patients()
    with pytest.raises(Conflict, match="other cases of its patient for train"):
        state.splits.import_split({}, {"x": "q", "y": "q"})
    assert (state.splits.all(), state.splits.patients()) == before


def test_a_split_file_may_come_late_but_not_after_a_correction(state: SiteState, images: Any) -> None:
    placed = state.splits.assign(["a", "b", "c"])
    other = {"train": "holdout", "validation": "train", "holdout": "validation"}
    wished = {case: other[part] for case, part in placed.items()}
    state.splits.import_split(wished)
    assert state.splits.all() == wished
    with pytest.raises(Conflict):
        state.splits.import_split(placed)
    fresh = state.splits.part("d")
    images.submit(state, "d")
    with pytest.raises(Conflict, match="'d'"):
        state.splits.import_split({"d": other[fresh]})
    assert state.splits.part("d") == fresh


def test_a_split_file_may_join_cases_to_one_patient(state: SiteState) -> None:
    state.splits.assign([f"p-{n}" for n in range(8)])
    together = {f"p-{n}": "holdout" for n in range(8)}
    state.splits.import_split(together, patients=dict.fromkeys(together, "p"))
    assert set(state.splits.all().values()) == {"holdout"}
