"""Learning, versions and corrections over HTTP: what a client reads, and what it is told when something is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from routed import PLAN, refused, tensors

from monailabel_app.learning.rules import site_rule
from monailabel_app.state.context import SiteContext
from monailabel_app.state.versions import NewVersion


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
