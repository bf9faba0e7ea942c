"""What passes between a site and its courier is in the site's audit log, whatever becomes of it."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest
from sites import SiteOnDisk, payload, unet_plan

from fed_backend.errors import PayloadError, ReplayError
from monailabel_app.errors import Conflict, StateError
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.door import Door
from monailabel_app.federation.participant import Participant
from monailabel_app.learning.tasks import run_job
from monailabel_app.state.audit import Entry, verify
from monailabel_app.state.site import SiteState

PLAN = unet_plan("fedavg")


@pytest.fixture
def site(tmp_path: Path) -> SiteOnDisk:
    return SiteOnDisk(tmp_path, "north", PLAN, {"a": "train", "b": "validation"})


@pytest.fixture
def door(site: SiteOnDisk) -> Door:
    """Of a site whose administrator approved the plan; that entry of the log is the first."""
    Consent(site.state.database).approve(PLAN, PLAN.sha256, "dr-lee")
    return Door(Participant(site.state, PLAN, site.name), site.state.database, PLAN)


def passed(site: SiteOnDisk) -> list[Entry]:
    """What the door logged."""
    return [entry for entry in site.state.audit.list() if entry.who == "courier"]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def work_once(site: SiteOnDisk) -> threading.Thread:
    """The learner's part, beside the caller that waits for it."""

    def run() -> None:
        pause = threading.Event()
        while (job := site.state.jobs.claim()) is None:
            pause.wait(0.01)
        site.state.jobs.finish(job.number, *run_job(site.bench, job))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_training_is_logged_as_it_comes_and_as_it_goes(site: SiteOnDisk, door: Door) -> None:
    request = payload(PLAN, "global")
    learner = work_once(site)
    reply = door.train(request)
    learner.join(60)
    came, went = passed(site)
    assert (came.event, came.who, came.sha256, came.bytes) == ("received", "courier", digest(request), len(request))
    assert (went.event, went.note, went.sha256, went.bytes) == ("sent", "train", digest(reply), len(reply))
    assert (went.plan_sha256, went.federation_round, went.round) == (PLAN.sha256, "run1", 0)
    assert verify(site.state.audit.list()) == site.state.audit.head()


def test_a_verdict_that_leaves_is_logged_as_the_bytes_that_left(site: SiteOnDisk, door: Door) -> None:
    site.bench.prepare()
    learner = work_once(site)
    answer = door.offer(payload(PLAN, "aggregate", site.champion()))
    learner.join(60)
    assert json.loads(answer)["version"]
    went = passed(site)[-1]
    assert (went.event, went.note, went.sha256, went.bytes) == ("sent", "offer", digest(answer), len(answer))


@pytest.mark.parametrize("data", [b"", b"no payload at all", payload(PLAN, "update"), payload(PLAN, "global")[:-3]])
def test_what_is_refused_is_logged_with_the_reason(site: SiteOnDisk, door: Door, data: bytes) -> None:
    with pytest.raises(PayloadError):
        door.train(data)
    came, refused = passed(site)
    assert (came.event, refused.event, refused.note) == ("received", "refused", "train: PayloadError")
    assert came.sha256 == refused.sha256 == digest(data)


def test_a_paused_site_logs_that_it_was_asked(site: SiteOnDisk, door: Door) -> None:
    site.state.settings.paused = True
    with pytest.raises(Conflict):
        door.evaluate(payload(PLAN, "global"))
    assert [entry.note for entry in passed(site)] == ["evaluate", "evaluate: Conflict"]


def test_no_case_and_no_author_is_in_the_log(site: SiteOnDisk, door: Door) -> None:
    learner = work_once(site)
    door.train(payload(PLAN, "global"))
    learner.join(60)
    text = json.dumps([entry.as_json() for entry in passed(site)])
    assert '"a"' not in text
    assert "ann" not in text
    assert ".nii" not in text


def test_where_the_log_cannot_be_written_nothing_comes_in(site: SiteOnDisk, door: Door) -> None:
    site.state.database.execute("DROP TABLE audit")
    with pytest.raises(StateError):
        door.train(payload(PLAN, "global"))
    assert site.state.jobs.active() == []


def test_without_an_approval_of_exactly_this_plan_nothing_is_done(site: SiteOnDisk, door: Door) -> None:
    consent = Consent(site.state.database)
    other = unet_plan("fedavg", rounds=PLAN.rounds + 1)
    consent.withdraw(PLAN, "dr-lee")
    consent.approve(other, other.sha256, "dr-lee")
    for request in (door.train, door.offer, door.evaluate):
        with pytest.raises(Conflict, match="no administrator of this site has approved") as caught:
            request(payload(PLAN, "global"))
        assert "fedseg plan approve" in caught.value.hint
    assert site.state.jobs.active() == []
    with pytest.raises(Conflict, match="the plan at this site is"):
        consent.approve(PLAN, other.sha256, "dr-lee")
    assert consent.of(PLAN) is None


def test_an_approval_outlives_a_restart_and_is_given_once(site: SiteOnDisk, door: Door) -> None:
    given = Consent(site.state.database).of(PLAN)
    assert given is not None
    assert Consent(site.state.database).approve(PLAN, PLAN.sha256, "somebody else") == given
    assert [entry.event for entry in site.state.audit.list()] == ["approved"]
    site.state.close()
    with SiteState(site.state.folder, site.state.studies) as again:
        assert Consent(again.database).of(PLAN) == given


# --- peers -----------------------------------------------------------------------------------

PEERS = unet_plan("gcml")


@pytest.fixture
def gossip(tmp_path: Path) -> tuple[SiteOnDisk, Door]:
    """A site of a plan of peers, which nobody has approved yet."""
    site = SiteOnDisk(tmp_path, "north", PEERS, {"a": "train", "b": "validation"})
    site.bench.prepare()
    return site, Door(Participant(site.state, PEERS, site.name), site.state.database, PEERS)


def test_a_loan_needs_consent_is_logged_with_its_receiver_and_has_a_number_of_its_own(
    gossip: tuple[SiteOnDisk, Door],
) -> None:
    site, door = gossip
    assert door.lent() == -1
    with pytest.raises(Conflict, match="no administrator of this site has approved"):
        door.lend(0, "south")
    Consent(site.state.database).approve(PEERS, PEERS.sha256, "dr-lee")
    lent = door.lend(3, "south")
    for number in (3, 1):
        with pytest.raises(ReplayError, match=f"exchange {number} comes after exchange 3"):
            door.lend(number, "west")
    assert door.lent() == 3
    refused, went, *again = passed(site)
    assert (refused.event, refused.note) == ("refused", "lend to south: Conflict")
    assert (went.event, went.note, went.sha256, went.bytes) == ("sent", "lend to south", digest(lent), len(lent))
    assert (went.plan_sha256, went.federation_round, went.round) == (PEERS.sha256, "gossip", 3)
    assert [entry.note for entry in again] == ["lend to west: ReplayError"] * 2


def test_where_the_log_cannot_be_written_nothing_is_lent(gossip: tuple[SiteOnDisk, Door]) -> None:
    site, door = gossip
    Consent(site.state.database).approve(PEERS, PEERS.sha256, "dr-lee")
    site.state.database.execute("DROP TABLE audit")
    with pytest.raises(StateError):
        door.lend(0, "south")
    assert door.lent() == -1


def test_a_visit_needs_consent_and_both_ways_are_logged(gossip: tuple[SiteOnDisk, Door]) -> None:
    site, door = gossip
    visitor = payload(PEERS, "update", site.champion(), site="south", run="gossip")
    with pytest.raises(Conflict, match="no administrator of this site has approved"):
        door.visit(visitor, "south")
    assert site.state.jobs.active() == []
    Consent(site.state.database).approve(PEERS, PEERS.sha256, "dr-lee")
    with pytest.raises(PayloadError, match="came through 'west'"):
        door.visit(visitor, "west")
    learner = work_once(site)
    answer = door.visit(visitor, "south")
    learner.join(60)
    assert json.loads(answer)["chosen"] in ("own", "mean", "visitor")
    came, went = passed(site)[-2:]
    assert (came.event, came.note, came.sha256) == ("received", "visit from south", digest(visitor))
    assert (went.event, went.note, went.sha256) == ("sent", "visit from south", digest(answer))


def test_a_training_whose_plan_is_withdrawn_meanwhile_does_not_leave(site: SiteOnDisk, door: Door) -> None:
    class Slow(Participant):
        def train(self, data: bytes) -> bytes:
            update = super().train(data)
            Consent(site.state.database).leave(PLAN, "dr-lee")
            return update

    slow = Door(Slow(site.state, PLAN, site.name), site.state.database, PLAN)
    working = work_once(site)
    with pytest.raises(Conflict, match="no administrator of this site has approved"):
        slow.train(payload(PLAN, "global"))
    working.join()
    assert [entry.event for entry in passed(site)] == ["received", "refused"]


def test_what_leaves_for_a_secure_sum_is_logged_before_it_does(site: SiteOnDisk) -> None:
    """And a site that has revealed takes no further part in sums of that round, whoever restarts."""
    plan = unet_plan("fedavg", quorum=3, secure={"fewest": 3})
    Consent(site.state.database).approve(plan, plan.sha256, "dr-lee")

    def fresh() -> Door:
        return Door(Participant(site.state, plan, site.name), site.state.database, plan)

    for step in ("keys", "shares", "mask", "agree", "reveal"):
        fresh().leaving(step, "run1", 0, [] if step == "keys" else ["south", "west"], step.encode())
    for step in ("keys", "mask", "reveal"):
        with pytest.raises(ReplayError, match="revealed its shares in round 0"):
            fresh().leaving(step, "run1", 0, ["south", "east"], b"again")
    fresh().leaving("keys", "run1", 1, [], b"the next round")
    events = [(entry.event, entry.note, entry.round) for entry in passed(site)]
    assert events[:5] == [
        ("sent", "keys", 0),
        ("sent", "shares with south, west", 0),
        ("masked", "mask with south, west", 0),
        ("sent", "agree with south, west", 0),
        ("revealed", "reveal with south, west", 0),
    ]
    assert [event for event, _, _ in events[5:]] == ["refused"] * 3 + ["sent"]
    assert passed(site)[2].sha256 == digest(b"mask")
    Consent(site.state.database).withdraw(plan, "dr-lee")
    with pytest.raises(Conflict, match="has approved"):
        fresh().leaving("reveal", "run1", 1, ["south", "west"], b"shares")


def test_a_plan_without_secure_sums_lets_no_shares_out(site: SiteOnDisk, door: Door) -> None:
    with pytest.raises(Conflict, match="asks for no secure sums"):
        door.leaving("reveal", "run1", 0, ["south", "west"], b"shares")
