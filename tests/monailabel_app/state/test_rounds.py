"""Rounds at a site: requests reach the courier, verdicts come back, reports survive a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fed_backend.errors import FedSegError, PayloadError, ReplayError, RoundBusyError
from fed_backend.methods import METHODS
from fed_backend.payload import PayloadHeader, encode
from fed_backend.plan import MethodSpec, Plan
from monailabel_app.errors import Conflict, Forbidden, NotFound, StateError, Unavailable
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.participant import Participant, open_request
from monailabel_app.federation.rounds import RoundDesk, Verdict
from monailabel_app.state.rounds import RoundReport, SiteProgress
from monailabel_app.state.site import SiteState

PLAN = Plan(base_sha256="b" * 64, adapter={"w": (2, 3)}, labels={"tumour": 1}, max_payload_bytes=10_000)


def payload(kind: str = "global", tensors: dict[str, Any] | None = None, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "kind": kind,
        "plan_sha256": PLAN.sha256,
        "base_sha256": PLAN.base_sha256,
        "site": "hub",
        "federation_round": "run1",
        "round": 1,
        "method": "fedavg",
    }
    return encode(
        PayloadHeader(**{**fields, **changes}), {"w": np.ones((2, 3), np.float32)} if tensors is None else tensors
    )


@pytest.fixture(autouse=True)
def approved(state: SiteState) -> None:
    """An administrator of the site has approved the plan."""
    Consent(state.database).approve(PLAN, PLAN.sha256, "dr-lee")


@pytest.fixture
def desk(state: SiteState) -> RoundDesk:
    return RoundDesk(state, PLAN, "A", patience_s=5)


@pytest.fixture
def users() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def courier_takes_one(desk: RoundDesk) -> dict[str, Any]:
    (request,) = desk.fetch(5)
    return request


def test_a_request_reaches_the_hub_and_its_consent_comes_back(
    desk: RoundDesk, state: SiteState, users: ThreadPoolExecutor
) -> None:
    desk.seen()
    asked = users.submit(desk.start, None, 2)
    request = courier_takes_one(desk)
    assert (request["action"], request["method"], request["rounds"]) == ("start", "fedavg", 2)
    desk.decide(request["id"], Verdict(True))
    assert asked.result(5) == request["id"]
    report = state.rounds.get(request["id"])
    assert (report.state, report.started_by, report.rounds) == ("requested", "A", 2)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_rounds_of_every_method_of_the_plan_can_be_asked_for(
    state: SiteState, users: ThreadPoolExecutor, method: str
) -> None:
    others = tuple(MethodSpec(name=name) for name in METHODS if name != "fedsm")
    several = PLAN.model_copy(update={"method": MethodSpec(name="fedsm"), "alternatives": others})
    Consent(state.database).approve(several, several.sha256, "dr-lee")
    desk = RoundDesk(state, several, "A", patience_s=5)
    desk.seen()
    asked = users.submit(desk.start, method, 3)
    request = courier_takes_one(desk)
    assert (request["action"], request["method"], request["rounds"]) == ("start", method, 3)
    desk.decide(request["id"], Verdict(True))
    asked.result(5)
    assert state.rounds.get(request["id"]).method == method


@pytest.mark.parametrize(
    ("of", "asked", "hint"),
    [
        ("fedavg", "gcml", "take a plan of their own"),
        ("gcml", "fedavg", "take a plan of their own"),
        ("fedavg", "fedsca", "leave the method away"),
        ("fedavg", "magic", "leave the method away"),
    ],
)
def test_a_method_that_the_plan_does_not_list_is_refused_before_the_hub_hears_of_it(
    state: SiteState, of: str, asked: str, hint: str
) -> None:
    agreed = PLAN.model_copy(update={"method": MethodSpec(name=of)})
    Consent(state.database).approve(agreed, agreed.sha256, "dr-lee")
    desk = RoundDesk(state, agreed, "A", patience_s=5)
    desk.seen()
    with pytest.raises(Conflict, match=f"{asked!r} is none of the plan's: {of}") as caught:
        desk.start(asked)
    assert hint in caught.value.hint
    assert desk.fetch(0) == []


def test_a_report_that_is_faster_than_the_verdict_is_kept(
    desk: RoundDesk, state: SiteState, users: ThreadPoolExecutor
) -> None:
    desk.seen()
    asked = users.submit(desk.start)
    request = courier_takes_one(desk)
    desk.report(RoundReport(id=request["id"], state="running", started_by="A"))
    desk.decide(request["id"], Verdict(True))
    asked.result(5)
    assert state.rounds.get(request["id"]).state == "running"


@pytest.mark.parametrize(("status", "error"), [(409, RoundBusyError), (403, Forbidden), (503, Unavailable)])
def test_a_refusal_comes_back_in_the_hubs_words(
    desk: RoundDesk, state: SiteState, users: ThreadPoolExecutor, status: int, error: type[FedSegError]
) -> None:
    desk.seen()
    asked: Future[str] = users.submit(desk.start)
    request = courier_takes_one(desk)
    desk.decide(request["id"], Verdict(False, status, "site B runs round 2 of 5", "wait"))
    with pytest.raises(error, match="site B runs round 2 of 5"):
        asked.result(5)
    assert state.rounds.list() == []


def test_without_courier_nothing_waits(desk: RoundDesk) -> None:
    with pytest.raises(Unavailable, match="no courier is connected") as caught:
        desk.start()
    assert "fedseg courier start" in caught.value.hint
    assert desk.courier() == {"connected": False, "last_seen": None}


def test_a_hub_that_does_not_answer_is_given_up(state: SiteState) -> None:
    desk = RoundDesk(state, PLAN, "A", patience_s=0.05)
    desk.seen()
    with pytest.raises(Unavailable, match="did not fetch the request"):
        desk.start()
    assert desk.fetch(0) == [], "a request that nobody waits for is not carried out later"


def test_a_request_that_a_dead_courier_took_reaches_the_next_one(state: SiteState, users: ThreadPoolExecutor) -> None:
    now = [0.0]
    desk = RoundDesk(state, PLAN, "A", patience_s=30, clock=lambda: now[0])
    desk.seen()
    asked = users.submit(desk.start)
    first = courier_takes_one(desk)
    assert desk.fetch(0) == [], "not yet: its courier may still answer"
    now[0] = 4.0
    assert courier_takes_one(desk) == first
    desk.decide(first["id"], Verdict(True))
    assert asked.result(5) == first["id"]
    now[0] = 8.0
    assert desk.fetch(0) == []


def test_a_decided_request_is_not_handed_out_again_and_a_late_verdict_is_ignored(
    desk: RoundDesk, users: ThreadPoolExecutor
) -> None:
    desk.seen()
    asked = users.submit(desk.start)
    request = courier_takes_one(desk)
    assert desk.fetch(0) == []
    desk.decide(request["id"], Verdict(True))
    asked.result(5)
    desk.decide(request["id"], Verdict(False, 409, "late"))


def test_the_courier_counts_as_connected_while_it_polls_and_shortly_after(state: SiteState) -> None:
    now = [0.0]
    desk = RoundDesk(state, PLAN, "A", clock=lambda: now[0])
    desk.seen()
    assert desk.courier()["connected"]
    now[0] = 60
    assert not desk.courier()["connected"]
    assert desk.courier()["last_seen"] is not None


def test_a_waiting_courier_is_let_go_when_the_site_stops(desk: RoundDesk, users: ThreadPoolExecutor) -> None:
    polling = threading.Event()

    def poll() -> list[dict[str, Any]]:
        polling.set()
        return desk.fetch(60)

    asked = users.submit(poll)
    polling.wait(5)
    desk.close()
    assert asked.result(5) == []


def test_who_may_not_start_is_refused_here_already(state: SiteState) -> None:
    plan = PLAN.model_copy(update={"starters": ("B",)})
    with pytest.raises(Forbidden, match="site 'A'") as caught:
        RoundDesk(state, plan, "A").start()
    assert "B" in caught.value.hint
    with pytest.raises(Conflict, match="no plan"):
        RoundDesk(state, None, "A").start()
    with pytest.raises(Conflict, match="method 'fedsm'"):
        RoundDesk(state, PLAN, "A").start("fedsm")
    state.settings.paused = True
    with pytest.raises(Conflict, match="paused"):
        RoundDesk(state, PLAN, "A").start()
    state.settings.paused = False
    Consent(state.database).withdraw(PLAN, "dr-lee")
    with pytest.raises(Conflict, match="no administrator of this site has approved"):
        RoundDesk(state, PLAN, "A").start()


def test_stopping_asks_the_hub_for_a_run_that_is_known_and_not_over(
    desk: RoundDesk, state: SiteState, users: ThreadPoolExecutor
) -> None:
    with pytest.raises(NotFound, match="no federated run 'nowhere'"):
        desk.stop("nowhere")
    desk.report(RoundReport(id="run1", state="running"))
    asked = users.submit(desk.stop, "run1")
    request = courier_takes_one(desk)
    assert (request["id"], request["action"]) == ("run1", "stop")
    desk.decide("run1", Verdict(True))
    asked.result(5)
    desk.report(RoundReport(id="run1", state="stopped"))
    with pytest.raises(Conflict, match="ended already"):
        desk.stop("run1")


def test_reports_survive_a_restart_and_an_ended_run_is_not_reopened(tmp_path: Path, images: Any) -> None:
    report = RoundReport(id="r1", state="finished", sites={"A": SiteProgress(state="aggregated", dice=0.5)})
    with SiteState(tmp_path / "kept", images.studies) as state:
        state.rounds.put(RoundReport(id="r1", state="running"))
        state.rounds.put(report)
        state.rounds.put(RoundReport(id="r1", state="running"))
        state.rounds.put(RoundReport(id="r2", state="running"))
    with SiteState(tmp_path / "kept", images.studies) as again:
        assert again.rounds.get("r1") == report
        assert [r.id for r in again.rounds.list()] == ["r2", "r1"]


# -- payloads that must not get in ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "too short"),
        (b"\xff" * 40, "announces a header"),
        (payload(plan_sha256="0" * 64), "has plan 000000000000"),
        (payload(base_sha256="0" * 64), "has base 000000000000"),
        (payload(method="other"), "has method 'other'"),
        (payload("update"), "has kind 'update', expected global"),
        (payload("aggregate"), "has kind 'aggregate', expected global"),
        (payload(tensors={"w": np.ones((3, 2), np.float32)}), r"has shape \(3, 2\)"),
        (payload(tensors={"w": np.full((2, 3), np.nan)}), "NaN or infinity"),
        (payload(tensors={"w": np.full((2, 3), 1e9)}), "norm"),
        (payload(tensors={"w": np.ones((2, 3)), "v": np.ones(1)}), "'v', which may not travel"),
        (payload(tensors={}), "lacks tensor 'w'"),
        (payload(tensors={}, metrics={"initial": 1.0}), "lacks tensor 'w'"),
        (payload(tensors={"w": np.ones((2, 3)), "v": np.ones(9000)}), "allows 10000"),
    ],
)
def test_a_payload_that_does_not_fit_the_plan_is_refused_and_changes_nothing(
    state: SiteState, snapshot: Callable[[], object], data: bytes, words: str
) -> None:
    participant = Participant(state, PLAN, "A")
    before = snapshot()
    with pytest.raises(PayloadError, match=words):
        participant.train(data)
    assert snapshot() == before


def test_the_first_round_of_a_federation_may_come_without_tensors() -> None:
    _, header, tensors = open_request(payload(tensors={}, round=0, metrics={"initial": 1.0}), PLAN, ("global",))
    assert (header.round, tensors) == (0, {})
    with pytest.raises(PayloadError, match="holds tensor"):
        open_request(payload(round=0, metrics={"initial": 1.0}), PLAN, ("global",))


def test_a_site_without_plan_or_on_pause_refuses(state: SiteState) -> None:
    with pytest.raises(Conflict, match="has no plan"):
        Participant(state, None, "A").train(payload())
    state.settings.paused = True
    for call in (Participant(state, PLAN, "A").train, Participant(state, PLAN, "A").offer):
        with pytest.raises(Conflict, match="paused"):
            call(payload())


def test_exchanges_know_repeats_from_replays(state: SiteState) -> None:
    exchanges = state.exchanges
    first = exchanges.accept("train", "run1", 0, b"a")
    assert exchanges.accept("train", "run1", 0, b"a") == first
    with pytest.raises(ReplayError, match="another payload was already accepted for round 0"):
        exchanges.accept("train", "run1", 0, b"b")
    exchanges.accept("train", "run1", 2, b"c")
    with pytest.raises(ReplayError, match="is at round 2, not at 1"):
        exchanges.accept("train", "run1", 1, b"d")
    exchanges.accept("train", "run2", 0, b"e")
    with pytest.raises(ReplayError, match="'run1' ended when run 'run2' began"):
        exchanges.accept("train", "run1", 3, b"f")
    assert exchanges.accept("offer", "run1", 0, b"g").kind == "offer"


def test_only_the_newest_payloads_are_kept_as_files(state: SiteState) -> None:
    digests = [state.exchanges.keep(bytes([n])) for n in range(40)]
    assert len(list((state.folder / "exchange").iterdir())) == 16
    assert state.exchanges.read(digests[-1]) == bytes([39])
    with pytest.raises(StateError, match="no longer kept"):
        state.exchanges.read(digests[0])
