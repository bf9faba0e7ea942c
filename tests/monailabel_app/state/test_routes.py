"""The site's own addresses: what a client reads, and what it is told when something is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from fed_backend.defences import PrivacySpec
from fed_backend.payload import PayloadHeader, encode
from fed_backend.plan import ModelSpec, Plan
from monailabel_app.auth import User
from monailabel_app.federation.privacy import PrivacyLedger
from monailabel_app.federation.rounds import RoundDesk
from monailabel_app.learning.learner import Learner
from monailabel_app.learning.rules import site_rule
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.routes import corrections, federation, learning, peers, statistics, versions
from monailabel_app.routes.errors import add_error_handlers
from monailabel_app.state.context import SiteContext, set_context
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import NewVersion

LABELS = {"tumour": 1}
PLAN = Plan(base_sha256="b" * 64, adapter={"w": (2, 3)}, labels=LABELS, max_payload_bytes=5000)


def tensors(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full((2, 3), value, np.float32)}


@pytest.fixture
def site(state: SiteState) -> Iterator[SiteContext]:
    specs = {"unet": ModelSpec()}
    setup = LearnerSetup(site_name="A", studies=state.studies, specs=specs, labels=LABELS, plan=PLAN)
    context = SiteContext(
        site_name="A",
        state=state,
        studies=state.studies,
        plan=PLAN,
        specs=specs,
        labels=LABELS,
        learner=Learner(state, setup),
        desk=RoundDesk(state, PLAN, "A", patience_s=5),
    )
    state.versions("unet").ensure_base(tensors(0), PLAN.base_sha256)
    set_context(context)
    yield context
    set_context(None)


@pytest.fixture
def client(site: SiteContext) -> TestClient:
    app = FastAPI()

    @app.middleware("http")
    async def who(request: Request, call_next: Any) -> Any:
        role = request.headers.get("x-role")
        if role is not None:
            request.state.user = User(role, role)  # type: ignore[arg-type]
        return await call_next(request)

    for module in (learning, versions, corrections, federation, peers, statistics):
        app.include_router(module.router)
    add_error_handlers(app)
    return TestClient(app)


@pytest.fixture
def courier(site: SiteContext) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.state.courier_token()}"}


@pytest.fixture
def approved(client: TestClient) -> None:
    """The site's administrator has approved the plan."""
    assert client.post("/federation/plan", json={"sha256": PLAN.sha256}).status_code == 200


def refused(reply: Any, status: int, error: str, words: str) -> None:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert body["error"] == error
    assert words in body["detail"]
    assert body["hint"]


def test_learning_is_idle_until_there_is_something_to_learn_from(
    client: TestClient, site: SiteContext, images: Any
) -> None:
    assert client.get("/learning").json()["state"] == "idle"
    site.state.splits.import_split({"a": "train", "b": "validation"})
    reply = client.post("/learning")
    refused(reply, 409, "Conflict", "no corrected training case")
    assert "e.g. a" in reply.json()["hint"]
    images.submit(site.state, "b")
    refused(client.post("/learning"), 409, "Conflict", "no corrected training case")
    images.submit(site.state, "a")
    queued = client.post("/learning", json={"steps": 5, "seed": 1})
    assert queued.status_code == 202
    assert queued.json()["state"] == "queued"
    assert client.post("/learning", json={}).json()["job"] == queued.json()["job"]
    assert client.get("/learning").json()["job"] == queued.json()["job"]
    assert client.delete("/learning").json()["state"] == "cancelled"
    refused(client.delete("/learning"), 409, "Conflict", "nothing is being learned")


def test_the_gates_rule_is_shown_changed_and_kept(client: TestClient, site: SiteContext, images: Any) -> None:
    site.state.splits.import_split({"a": "train", "b": "validation", "c": "validation"})
    images.submit(site.state, "b")
    shown = client.get("/learning/gate").json()
    assert (shown["validation_cases"], shown["cases_needed"], shown["to_correct"]) == (1, 4, ["c"])
    assert shown["evidence"] == "validation cases and cross-validation"
    assert shown["parts"] == {"a": "train", "b": "validation", "c": "validation"}
    changed = client.put("/learning/gate", json={"confidence": 0.5, "margin": 0.03}).json()
    assert changed["rule"] == {**shown["rule"], "confidence": 0.5, "margin": 0.03}
    assert (changed["cases_needed"], changed["evidence"]) == (1, "validation cases")
    assert client.get("/learning/gate").json() == changed
    stricter = PLAN.model_copy(update={"gate_margin": 0.0, "gate_case_floor": -0.1})
    assert (site_rule(site.state, stricter).margin, site_rule(site.state, stricter).case_floor) == (0.0, -0.1)
    assert site_rule(site.state, PLAN.model_copy(update={"gate_margin": 0.5})).margin == 0.03
    for wrong in ({"margin": -1}, {"confidence": 1}, {"typo": 1}):
        assert client.put("/learning/gate", json=wrong).status_code == 422
    reply = client.put("/learning/gate", json={"margin": 1}, headers={"x-role": "annotator"})
    assert reply.status_code == 403
    assert client.get("/learning/gate").json() == changed


def test_the_learning_policy_is_shown_and_set_by_reviewers(client: TestClient, site: SiteContext, images: Any) -> None:
    site.state.splits.import_split({"a": "train"})
    images.submit(site.state, "a")
    off = {"every": 0, "idle_minutes": 0, "nightly": None}
    assert client.get("/learning/policy").json() == {"policy": off, "model": "unet", "new_corrections": 1}
    wanted = {"every": 5, "nightly": "02:30"}
    assert client.put("/learning/policy", json=wanted, headers={"x-role": "annotator"}).status_code == 403
    assert client.put("/learning/policy", json={"nightly": "2 o'clock"}).status_code == 422
    assert client.put("/learning/policy", json=wanted).json()["policy"] == {**off, **wanted}
    assert client.get("/learning/policy").json()["policy"] == {**off, **wanted}


def test_statistics_compare_what_was_shown_with_what_was_submitted(
    client: TestClient, site: SiteContext, images: Any
) -> None:
    version = site.state.versions("unet").champion()
    images.add("a")
    site.state.prompts.record_shown("a", "unet", version, np.zeros((36, 40, 6), np.uint8))
    images.submit(site.state, "a")
    found = client.get("/statistics").json()
    assert [(v["version"], v["corrections"], v["dice_shown"]) for v in found["versions"]] == [(version, 1, 0.0)]
    assert found["summary"].startswith(f"Masks of {version} agree")


def test_how_many_versions_are_kept_is_shown_and_set_by_reviewers(client: TestClient) -> None:
    assert client.get("/versions/retention").json() == {"keep_last": 20}
    assert client.put("/versions/retention", json={"keep_last": 5}, headers={"x-role": "annotator"}).status_code == 403
    assert client.put("/versions/retention", json={"keep_last": 0}).status_code == 422
    assert client.put("/versions/retention", json={"keep_last": 5}).json() == {"keep_last": 5}
    assert client.get("/versions/retention").json() == {"keep_last": 5}


def test_of_contradictory_corrections_the_newest_counts_until_a_reviewer_chooses(
    client: TestClient, site: SiteContext, images: Any
) -> None:
    site.state.splits.import_split({"a": "train", "b": "train"})
    images.add("a")
    empty = images.mask("empty", np.zeros((36, 40, 6), np.uint8))
    first, second = images.submit(site.state, "a"), images.submit(site.state, "a", empty, author="bob")
    other = images.submit(site.state, "b")

    def used() -> list[str]:
        return [c["id"] for c in client.get("/corrections").json()["corrections"] if c["used"]]

    assert used() == [second.id, other.id]
    assert client.post(f"/corrections/{first.id}/choose", headers={"x-role": "annotator"}).status_code == 403
    refused(client.post("/corrections/c0/choose"), 404, "NotFound", "c0")
    assert client.post(f"/corrections/{first.id}/choose").json()["used"]
    assert used() == [first.id, other.id]
    assert [c.id for c in site.state.corrections.newest("train")] == [first.id, other.id]
    assert len(client.get("/corrections").json()["corrections"]) == 3, "both are kept"
    third = images.submit(site.state, "a")
    assert used() == [other.id, third.id]


@pytest.mark.parametrize("body", [{"steps": 0}, {"steps": "many"}, {"seed": -1}, {"typo": 1}])
def test_wrong_settings_are_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/learning", json=body).status_code == 422


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    refused(client.post("/learning", json={"model": "../x"}), 404, "NotFound", "'../x'")
    refused(client.get("/versions", params={"model": "../x"}), 404, "NotFound", "'../x'")


def test_versions_are_listed_promoted_explained_and_rolled_back(client: TestClient, site: SiteContext) -> None:
    store = site.state.versions("unet")
    base = store.champion()
    made = store.create(
        tensors(1), NewVersion(origin="learning", parent=base, base_sha256="b" * 64, metrics={"loss": 1})
    )
    store.record_verdict(made.id, {"promoted": False, "reason": "Refused: worse"})
    listed = client.get("/versions", params={"model": "unet"}).json()
    assert listed["champion"] == {"unet": base}
    assert [(v["id"], v["parent"], v["state"]) for v in listed["versions"]] == [
        (base, None, "champion"),
        (made.id, base, "refused"),
    ]
    promoted = client.post(f"/versions/{made.id}/promote", json={"reason": "I looked at it"})
    assert promoted.json() == {"champion": made.id, "previous": base, "warning": "Refused: worse"}
    report = client.get(f"/versions/{made.id}/report").json()
    assert report["verdict"]["reason"] == "Refused: worse"
    assert "I looked at it" in report["reason"]
    assert report["record"]["base_sha256"] == "b" * 64
    refused(client.post(f"/versions/{base}/rollback"), 409, "Conflict", "does not serve")
    assert client.post(f"/versions/{made.id}/rollback").json()["champion"] == base
    refused(client.get("/versions/unet-0099-abcdef/report"), 404, "NotFound", "unet-0099-abcdef")


def test_corrections_are_listed_with_their_part(client: TestClient, site: SiteContext, images: Any) -> None:
    site.state.splits.import_split({"a": "train"})
    kept = images.submit(site.state, "a")
    (listed,) = client.get("/corrections").json()["corrections"]
    assert (listed["id"], listed["case"], listed["part"], listed["prompts"]) == (kept.id, "a", "train", 0)
    assert client.get(f"/corrections/{kept.id}").json()["prompt_list"] == []
    refused(client.get("/corrections/c0"), 404, "NotFound", "'c0'")


def test_roles_decide_who_may_do_what(client: TestClient, site: SiteContext) -> None:
    base = site.state.versions("unet").champion()
    refused(client.post("/learning", headers={"x-role": "viewer"}), 403, "Forbidden", "needs annotator")
    for address in (f"/versions/{base}/promote", f"/versions/{base}/rollback", "/federation/rounds"):
        refused(client.post(address, headers={"x-role": "annotator"}), 403, "Forbidden", "needs reviewer")
    pause = client.post("/federation/pause", json={"paused": True}, headers={"x-role": "reviewer"})
    refused(pause, 403, "Forbidden", "needs admin")
    assert client.get("/versions", headers={"x-role": "viewer"}).status_code == 200


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
