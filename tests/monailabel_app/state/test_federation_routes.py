"""The federation over HTTP: plan, rounds, the courier's door, peers, the audit log."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from routed import LABELS, PLAN, refused, tensors

from fed_backend.defences import PrivacySpec, SecureSpec
from fed_backend.payload import PayloadHeader, encode
from fed_backend.plan import MethodSpec
from monailabel_app.federation.privacy import PrivacyLedger
from monailabel_app.state.context import SiteContext, set_context


def test_a_plan_is_read_approved_by_an_administrator_and_its_approval_withdrawn(client: TestClient) -> None:
    refused(client.post("/federation/rounds"), 409, "Conflict", "no administrator of this site has approved")
    shown = client.get("/federation/plan", headers={"x-role": "viewer"}).json()
    assert (shown["approved"], shown["labels"], shown["adapter"]) == (None, LABELS, {"w": [2, 3]})
    body = {"sha256": shown["sha256"]}
    refused(client.post("/federation/plan", json=body, headers={"x-role": "reviewer"}), 403, "Forbidden", "admin")
    refused(client.post("/federation/plan", json={"sha256": "0" * 64}), 409, "Conflict", "is another")
    given = client.post("/federation/plan", json=body, headers={"x-role": "admin"}).json()
    assert given["approved"]["who"] == "admin"
    assert client.get("/federation").json()["plan"]["approved"] == given["approved"]
    assert client.post("/federation/plan", json={**body, "approved": False}).json()["approved"] is None
    refused(client.post("/federation/rounds"), 409, "Conflict", "no administrator of this site has approved")


@pytest.mark.usefixtures("approved")
def test_the_federation_is_described(client: TestClient) -> None:
    seen = client.get("/federation").json()
    assert (seen["enabled"], seen["site"], seen["paused"], seen["rounds"]) == (True, "A", False, [])
    assert seen["plan"]["sha256"] == PLAN.sha256
    assert seen["courier"] == {"connected": False, "last_seen": None}
    refused(client.post("/federation/rounds"), 503, "Unavailable", "no courier is connected")
    refused(client.get("/federation/rounds/x"), 404, "NotFound", "'x'")
    assert client.post("/federation/pause", json={"paused": True}).json() == {"paused": True}
    refused(client.post("/federation/rounds"), 409, "Conflict", "paused")


@pytest.mark.usefixtures("approved")
def test_a_round_is_asked_for_fetched_agreed_reported_and_watched(client: TestClient, courier: dict[str, str]) -> None:
    assert client.get("/federation/courier/requests", headers=courier).json() == {
        "site": "A",
        "plan_sha256": PLAN.sha256,
        "requests": [],
    }
    replies: list[Any] = []
    user = threading.Thread(target=lambda: replies.append(client.post("/federation/rounds", json={"rounds": 2})))
    user.start()
    fetched = client.get("/federation/courier/requests", params={"wait": 5}, headers=courier).json()["requests"]
    run = fetched[0]["id"]
    assert fetched == [{"id": run, "action": "start", "method": "fedavg", "rounds": 2}]
    verdict = {"accepted": True, "status": 202, "detail": "", "hint": ""}
    assert client.post(f"/federation/courier/requests/{run}", json=verdict, headers=courier).status_code == 204
    user.join(5)
    assert (replies[0].status_code, replies[0].json()) == (202, {"id": run})
    report = {
        "id": run,
        "state": "running",
        "started_by": "A",
        "method": "fedavg",
        "rounds": 2,
        "round": 0,
        "sites": {"A": {"state": "training", "progress": 0.5}},
        "history": [],
        "new_field_of_a_later_hub": 1,
    }
    assert client.post("/federation/courier/status", json=report, headers=courier).status_code == 204
    seen = client.get(f"/federation/rounds/{run}").json()
    assert (seen["state"], seen["sites"]["A"]["progress"]) == ("running", 0.5)
    assert client.get("/federation").json()["courier"]["connected"]


def test_only_the_courier_gets_through_its_door(client: TestClient, site: SiteContext) -> None:
    token = site.state.courier_token()
    assert site.state.courier_token_file.stat().st_mode & 0o777 == 0o600
    for headers in (
        {},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": f"Basic {token}"},
        {"Authorization": "Bearer "},
    ):
        for method, address in (
            ("GET", "/federation/courier/requests"),
            ("GET", "/federation/courier/progress"),
            ("POST", "/federation/courier/status"),
            ("POST", "/federation/train"),
            ("POST", "/federation/offer"),
            ("POST", "/federation/evaluate"),
            ("POST", "/federation/lend"),
            ("POST", "/federation/visit"),
            ("POST", "/federation/courier/peers"),
            ("POST", "/federation/leaving"),
        ):
            reply = client.request(method, address, headers=headers, content=b"")
            refused(reply, 401, "Unauthorised", "courier")
            assert token not in reply.text


@pytest.mark.usefixtures("approved")
def test_a_refused_payload_is_422_in_words_and_leaves_no_job(
    client: TestClient, site: SiteContext, courier: dict[str, str]
) -> None:
    header = PayloadHeader(
        kind="global",
        plan_sha256="0" * 64,
        base_sha256=PLAN.base_sha256,
        site="hub",
        federation_round="r",
        round=0,
        method="fedavg",
    )
    for address in ("train", "offer", "evaluate"):
        reply = client.post(f"/federation/{address}", content=encode(header, tensors(1)), headers=courier)
        refused(reply, 422, "PayloadError", "")
    refused(client.post("/federation/train", content=b"x" * 6000, headers=courier), 413, "TooLarge", "5000 bytes")
    assert site.state.jobs.active() == []


@pytest.mark.usefixtures("approved")
def test_a_site_with_a_hub_lends_nothing_and_lets_nobody_visit(client: TestClient, courier: dict[str, str]) -> None:
    lend = {"number": 0, "receiver": "B"}
    refused(client.post("/federation/lend", json=lend, headers=courier), 409, "Conflict", "no exchange between peers")
    visit = client.post("/federation/visit?sender=B", content=b"x", headers=courier)
    refused(visit, 409, "Conflict", "no exchange between peers")
    for wrong in (
        {"number": -1, "receiver": "B"},
        {"number": 2**60, "receiver": "B"},
        {"number": 0, "receiver": "../B"},
    ):
        refused(client.post("/federation/lend", json=wrong, headers=courier), 422, "ValidationError", "")
    for sender in ("", "?sender=", "?sender=../B"):
        refused(client.post(f"/federation/visit{sender}", headers=courier), 422, "ValidationError", "sender")


def test_peers_are_shown_as_the_courier_last_saw_them(client: TestClient, courier: dict[str, str]) -> None:
    assert client.get("/federation").json()["peers"] == []
    peer = {"name": "B", "state": "reachable", "last_seen": "2026-01-01T00:00:00Z", "field_of_a_later_courier": 1}
    reply = client.post("/federation/courier/peers", json={"peers": [peer]}, headers=courier)
    assert reply.status_code == 204
    (seen,) = client.get("/federation", headers={"x-role": "viewer"}).json()["peers"]
    assert (seen["name"], seen["state"], seen["last_seen"]) == ("B", "reachable", "2026-01-01T00:00:00Z")
    for wrong in ({"name": "<b>"}, {"name": "B", "state": "?"}, {"name": "B", "detail": "x" * 600}):
        reply = client.post("/federation/courier/peers", json={"peers": [wrong]}, headers=courier)
        refused(reply, 422, "ValidationError", "peers")


def test_reports_with_wrong_values_are_refused(client: TestClient, courier: dict[str, str]) -> None:
    for body in ({"id": "../x", "state": "running"}, {"id": "r", "state": "?"}, {"id": "r"}, []):
        assert client.post("/federation/courier/status", json=body, headers=courier).status_code == 422


@pytest.mark.usefixtures("approved")
def test_who_paused_and_who_asked_for_rounds_is_in_the_audit_log(
    client: TestClient, site: SiteContext, courier: dict[str, str]
) -> None:
    admin = {"x-role": "admin"}
    client.post("/federation/pause", json={"paused": True}, headers=admin)
    client.post("/federation/pause", json={"paused": False}, headers=admin)
    client.get("/federation/courier/requests", headers=courier)

    def agree() -> None:
        (request,) = client.get("/federation/courier/requests?wait=5", headers=courier).json()["requests"]
        client.post(f"/federation/courier/requests/{request['id']}", json={"accepted": True}, headers=courier)

    hub = threading.Thread(target=agree)
    hub.start()
    started = client.post("/federation/rounds", json={"rounds": 2}, headers={"x-role": "reviewer"})
    hub.join(20)
    assert started.status_code == 202, started.text
    client.post("/federation/train", content=b"garbage", headers=courier)
    log = client.get("/federation/audit?after=1", headers=admin).json()
    assert [(entry["event"], entry["who"]) for entry in log["entries"]] == [
        ("paused", "admin"),
        ("resumed", "admin"),
        ("asked", "reviewer"),
        ("received", "courier"),
        ("refused", "courier"),
    ]
    assert log["entries"][2]["note"] == "start 2 rounds of fedavg"
    assert log["entries"][2]["federation_round"] == started.json()["id"]
    assert (log["count"], log["head"]) == (6, log["entries"][-1]["hash"])
    assert [e["seq"] for e in client.get("/federation/audit?after=4&limit=1", headers=admin).json()["entries"]] == [5]
    refused(client.get("/federation/audit", headers={"x-role": "reviewer"}), 403, "Forbidden", "admin")


def test_what_privacy_was_spent_is_shown(client: TestClient, site: SiteContext) -> None:
    assert client.get("/federation").json()["plan"]["privacy"] is None
    plan = PLAN.model_copy(update={"privacy": PrivacySpec(clip=1, noise=1)})
    set_context(replace(site, plan=plan))
    PrivacyLedger(site.state.database).spend(plan, "run1", 0)
    shown = client.get("/federation").json()["plan"]["privacy"]
    assert (shown["updates"], shown["clip"], shown["limit"]) == (1, 1.0, None)
    assert 4 < shown["epsilon"] == shown["site_epsilon"] < 6


def test_what_leaves_for_a_secure_sum_passes_the_sites_log(
    client: TestClient, site: SiteContext, courier: dict[str, str]
) -> None:
    plan = PLAN.model_copy(update={"quorum": 3, "secure": SecureSpec()})
    set_context(replace(site, plan=plan))
    client.post("/federation/plan", json={"sha256": plan.sha256}, headers={"x-role": "admin"})
    where = {"step": "reveal", "run": "r", "round": "0", "sites": "B,C"}

    def leave(**changes: str) -> Any:
        return client.post("/federation/leaving", params={**where, **changes}, content=b"shares", headers=courier)

    assert leave(step="mask").status_code == 204
    assert leave().status_code == 204
    refused(leave(), 422, "ReplayError", "revealed its shares in round 0")
    assert leave(step="keys", round="1", sites="").status_code == 204
    for wrong in ({"step": "update"}, {"round": "-1"}, {"sites": "B; C"}):
        assert leave(**wrong).status_code == 422
    kept = client.get("/federation/audit").json()["entries"][1:]
    told = [(entry["event"], entry["note"], entry["bytes"]) for entry in kept]
    assert told[:2] == [("masked", "mask with B, C", 6), ("revealed", "reveal with B, C", 6)]


def test_a_poll_counts_the_training_cases_without_reading_their_files(
    client: TestClient, site: SiteContext, courier: dict[str, str], images: Any
) -> None:
    site.state.splits.import_split({"a": "train", "b": "train", "c": "validation"})
    for case in "abca":
        images.submit(site.state, case)
    plan = PLAN.model_copy(update={"method": MethodSpec(name="gcml")})
    set_context(replace(site, plan=plan))
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    try:
        polled = client.get("/federation/courier/requests", headers=courier).json()
    finally:
        watching = False  # a hook stays for good
    assert polled["examples"] == 2
    assert [path for path in opened if path.endswith(".nii.gz")] == []
