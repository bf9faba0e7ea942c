"""The queue: one way in, records as the only truth, and a plain end for every job."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from fed_backend.plan import ModelSpec
from monailabel_app.errors import Cancelled, Conflict, NotFound, Unavailable
from monailabel_app.learning.jobs import Jobs
from monailabel_app.learning.learner import Learner
from monailabel_app.learning.meter import Meter
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.state.database import Database
from monailabel_app.state.site import SiteState


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Database(tmp_path / "site.sqlite"))


def test_a_waiting_learn_job_takes_further_requests_in(jobs: Jobs) -> None:
    first = jobs.submit("learn", "unet", {"steps": 3})
    assert jobs.submit("learn", "unet").number == first.number
    assert jobs.submit("learn", "sam").number != first.number
    assert jobs.claim() == jobs.get(first.number)
    following = jobs.submit("learn", "unet")
    assert following.number != first.number, "the one at work may have missed the newest correction"
    assert jobs.submit("learn", "unet").number == following.number


def test_work_for_a_federation_goes_first(jobs: Jobs) -> None:
    for kind in ("learn", "offer", "federated_train"):
        jobs.submit(kind, "unet")
    taken = [jobs.claim() for _ in range(4)]
    assert [job.kind if job else None for job in taken] == ["offer", "federated_train", "learn", None]


def test_a_job_is_watched_from_another_process(jobs: Jobs, tmp_path: Path) -> None:
    jobs.submit("learn", "unet")
    worker = Jobs(Database(tmp_path / "site.sqlite"))
    job = worker.claim()
    assert job is not None
    worker.report(job.number, progress=0.5, seconds_left=9, message="half", curve=[{"step": 1, "loss": 2.0}])
    seen = jobs.get(job.number)
    assert (seen.state, seen.progress, seen.seconds_left, seen.message) == ("running", 0.5, 9, "half")
    worker.finish(job.number, {"version": "v"}, "done well")
    ended = jobs.wait(job.number, timeout=5)
    assert (ended.state, ended.progress, ended.result, ended.curve) == ("done", 1, {"version": "v"}, seen.curve)


def test_waiting_ends_when_the_job_ends(jobs: Jobs) -> None:
    job = jobs.submit("offer", "unet")
    seen: list[str] = []
    waiter = threading.Thread(target=lambda: seen.append(jobs.wait(job.number, 20).state))
    waiter.start()
    jobs.claim()
    jobs.fail(job.number, Conflict("no", "do"))
    jobs.notify()
    waiter.join(10)
    assert seen == ["failed"]
    assert jobs.get(job.number).error == {"error": "Conflict", "detail": "no", "hint": "do", "status": 409}


def test_those_who_wait_are_let_go_when_the_site_stops(jobs: Jobs) -> None:
    job = jobs.submit("offer", "unet")
    jobs.close()
    with pytest.raises(Unavailable, match="stopping"):
        jobs.wait(job.number)


def test_cancelling_ends_a_queued_job_and_reaches_one_at_work(jobs: Jobs) -> None:
    queued = jobs.submit("learn", "unet")
    assert jobs.cancel(queued.number).state == "cancelled"
    assert jobs.claim() is None
    running = jobs.submit("learn", "unet")
    jobs.claim()
    jobs.check_cancelled(running.number)
    jobs.cancel(running.number)
    with pytest.raises(Cancelled) as caught:
        jobs.check_cancelled(running.number)
    jobs.fail(running.number, caught.value)
    ended = jobs.get(running.number)
    assert (ended.state, ended.error) == ("cancelled", None)
    assert "unchanged" in ended.message
    with pytest.raises(Conflict, match="ended already"):
        jobs.cancel(running.number)


def test_interrupted_learning_fails_plainly_and_a_federated_job_is_tried_once_more(jobs: Jobs) -> None:
    learn, offer = jobs.submit("learn", "unet"), jobs.submit("offer", "unet")
    cause = "the learner process was killed"
    for _ in range(2):
        jobs.claim()
    jobs.recover(cause)
    assert jobs.get(learn.number).message == f"{cause} while training; start learning again"
    retried = jobs.get(offer.number)
    assert (retried.state, retried.message) == ("queued", f"{cause} while working; trying once more")
    assert jobs.claim() is not None
    jobs.recover(cause)
    assert jobs.get(offer.number).state == "failed"
    assert (jobs.get(offer.number).error or {})["status"] == 503


def test_a_job_that_was_cancelled_while_its_learner_died_is_not_tried_again(jobs: Jobs) -> None:
    offer = jobs.submit("offer", "unet")
    jobs.claim()
    jobs.cancel(offer.number)
    jobs.recover("the learner process was killed")
    assert jobs.get(offer.number).state == "failed"


def test_the_job_that_matters_is_the_one_at_work(jobs: Jobs) -> None:
    assert jobs.latest("learn") is None
    first = jobs.submit("learn", "unet")
    jobs.claim()
    second = jobs.submit("learn", "unet")
    assert (jobs.latest("learn") or second).number == first.number
    jobs.finish(first.number, {}, "")
    assert (jobs.latest("learn") or first).number == second.number


def test_an_unknown_job_is_not_found(jobs: Jobs) -> None:
    with pytest.raises(NotFound):
        jobs.get(99)


def test_seconds_left_follow_the_measured_steps(jobs: Jobs) -> None:
    job = jobs.submit("learn", "unet")
    jobs.claim()
    now = [0.0]
    meter = Meter(jobs, job.number, {"train": 10.0, "champion": 5.0, "challenger": 5.0}, clock=lambda: now[0])
    report = meter.phase("train", "running", "training")
    assert jobs.get(job.number).seconds_left == 20
    now[0] = 8.0  # a quarter of the steps took 8 s instead of 2.5 s
    meter.losses += [1 / (n + 1) for n in range(1000)]
    report(0.25)
    seen = jobs.get(job.number)
    assert (len(seen.curve), seen.curve[0], seen.curve[1]["step"]) == (200, {"step": 1, "loss": 1.0}, 6)
    assert (seen.progress, seen.seconds_left) == (0.125, 24 + 10)
    meter.phase("challenger", "gating", "scoring")(1.0)
    seen = jobs.get(job.number)
    assert (seen.state, seen.progress, seen.seconds_left) == ("gating", 1.0, 0)


def test_progress_stops_work_that_was_cancelled(jobs: Jobs) -> None:
    job = jobs.submit("learn", "unet")
    jobs.claim()
    report: Any = Meter(jobs, job.number, {"train": 10.0}).phase("train", "running", "training")
    report(0.1)
    jobs.cancel(job.number)
    with pytest.raises(Cancelled):
        report(0.2)


def test_a_learner_that_cannot_start_fails_what_waits(
    state: SiteState, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = LearnerSetup(site_name="A", studies=images.studies, specs={"unet": ModelSpec()}, labels={"tumour": 1})
    learner = Learner(state, setup)
    monkeypatch.setattr("sys.executable", "/bin/false")
    learner.start()
    try:
        ended = state.jobs.wait(state.jobs.submit("learn", "unet").number, 20)
        assert ended.state == "failed"
        assert "does not start" in ended.message
    finally:
        learner.stop()
