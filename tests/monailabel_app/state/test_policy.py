"""When a site learns by itself: the rules, the records they stand on, clocks that jump, restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monailabel_app.errors import StateError
from monailabel_app.learning.policy import Facts, Policy, due
from monailabel_app.learning.schedule import Schedule, facts_of, learned_until, read_policy, save_policy
from monailabel_app.state.site import SiteState

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def ago(**duration: float) -> datetime:
    return NOON - timedelta(**duration)


def facts(new: int = 1, **more: Any) -> Facts:
    return Facts(new=new, working=more.pop("working", False), **more)


@pytest.mark.parametrize("policy", [Policy(), Policy(every=3), Policy(idle_minutes=10), Policy(nightly="02:00")])
def test_nothing_new_or_already_at_work_is_no_reason(policy: Policy) -> None:
    assert due(policy, facts(0, active_at=ago(days=3)), NOON) is None
    assert due(policy, facts(9, working=True, active_at=ago(days=3)), NOON) is None


def test_by_hand_means_never_by_itself() -> None:
    assert due(Policy(), facts(99, active_at=ago(days=9)), NOON) is None


def test_after_so_many_corrections() -> None:
    assert due(Policy(every=3), facts(2), NOON) is None
    assert due(Policy(every=3), facts(3), NOON) == "3 new corrections"


def test_when_nobody_worked_for_a_while() -> None:
    assert due(Policy(idle_minutes=10), facts(active_at=ago(minutes=9)), NOON) is None
    reason = due(Policy(idle_minutes=10), facts(active_at=ago(minutes=10)), NOON)
    assert reason == "1 new correction, and nobody worked for 10 minutes"


@pytest.mark.parametrize(
    ("nightly", "active", "learned", "expected"),
    [
        ("11:59", ago(hours=1), None, True),  # the moment has just passed
        ("12:01", ago(hours=1), ago(hours=20), False),  # yesterday's moment came before the last learning's
        ("12:01", ago(hours=30), ago(hours=40), True),  # the server was off at yesterday's moment
        ("02:00", ago(hours=1), None, False),  # corrected this morning: waits for the night
        ("02:00", ago(hours=14), ago(hours=9), False),  # learned since
    ],
)
def test_at_night(nightly: str, active: datetime, learned: datetime | None, expected: bool) -> None:
    policy = Policy(nightly=nightly)
    assert (due(policy, facts(active_at=active, learned_at=learned), NOON) is not None) == expected


def test_after_a_failure_it_waits_but_a_clock_set_back_does_not_stop_it_for_good() -> None:
    policy = Policy(every=1)
    assert due(policy, facts(failed_at=ago(minutes=59)), NOON) is None
    assert due(policy, facts(failed_at=ago(minutes=61)), NOON) is not None
    assert due(policy, facts(failed_at=NOON + timedelta(days=400)), NOON) is not None


@pytest.mark.parametrize("wrong", [{"nightly": "24:00"}, {"every": -1}, {"idle_minutes": float("nan")}, {"hourly": 1}])
def test_a_wrong_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(wrong)


def test_a_clock_set_back_does_not_keep_a_site_from_being_idle(tmp_path: Path, images: Any) -> None:
    policy, year = Policy(idle_minutes=10), [2027]
    assert due(policy, facts(active_at=NOON + timedelta(days=400)), NOON) is not None
    with SiteState(tmp_path / "state", images.studies, clock=lambda: f"{year[0]}-03-04T11:55:00.000Z") as state:
        state.splits.import_split({"a": "train"})
        images.submit(state, "a")
        year[0] = 2026
        images.submit(state, "a")
        assert due(policy, facts_of(state, "unet"), NOON) is None, "somebody worked five minutes ago"
        assert due(policy, facts_of(state, "unet"), NOON + timedelta(minutes=5)) is not None


def test_facts_count_cases_to_train_on_that_no_learning_has_seen(state: SiteState, images: Any) -> None:
    state.splits.import_split({"a": "train", "b": "train", "v": "validation"})
    for case in "aav":
        images.submit(state, case)
    assert facts_of(state, "unet").new == 1
    learned_until(state, "unet", state.corrections.count())
    assert facts_of(state, "unet").new == 0
    images.submit(state, "b")
    found = facts_of(state, "unet")
    assert found.new == 1
    assert found.active_at is not None
    assert abs(datetime.now(UTC) - found.active_at) < timedelta(minutes=10)
    assert facts_of(state, "sam").new == 2


def test_one_job_is_asked_for_and_none_again_while_it_waits_or_after_it_was_cancelled(
    state: SiteState, images: Any
) -> None:
    state.splits.import_split({"a": "train"})
    images.submit(state, "a")
    schedule = Schedule(state, "unet")
    assert schedule.look() is None, "by hand until a policy is set"
    save_policy(state, Policy(every=1))
    assert schedule.look() == "1 new correction"
    (job,) = state.jobs.active()
    assert (job.kind, job.author, job.params) == ("learn", "policy", {"because": "1 new correction"})
    assert schedule.look() is None
    state.jobs.cancel(job.number)
    assert schedule.look() is None
    later = Schedule(state, "unet", now=lambda: datetime.now(UTC) + timedelta(hours=2))
    assert later.look() == "1 new correction"


def test_the_policy_and_what_is_due_survive_a_restart(tmp_path: Path, images: Any) -> None:
    with SiteState(tmp_path / "state", images.studies) as first:
        first.splits.import_split({"a": "train"})
        images.submit(first, "a")
        save_policy(first, Policy(every=1, nightly="03:30"))
    with SiteState(tmp_path / "state", images.studies) as second:
        assert read_policy(second) == Policy(every=1, nightly="03:30")
        assert Schedule(second, "unet").look() == "1 new correction"
    with pytest.raises(StateError):
        Schedule(second, "unet").look()
