"""Members come and go while the hub runs: who is gone is refused at once, who is new takes part in the next round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import plan
from in_process import LEVELS, NAMES, Federation, Site, small_plan, start_payload, updates
from running import RunningFederation, until

from fed_backend.errors import ProvisionError
from fed_backend.flare.authority import Authority
from fed_backend.flare.kit import load_kit
from fed_backend.flare.messages import Message
from fed_backend.flare.provisioning import provision
from fed_backend.methods.fedsm import fedsm_layout
from fed_backend.methods.mixing import weighted_mean, weights_of
from fed_backend.payload import decode, read_header

Make = Callable[..., Federation]


def test_a_revoked_sites_update_is_not_aggregated_and_it_is_offered_nothing(make: Make) -> None:
    of = small_plan()
    federation = make(Site("north", of), Site("south", of), Site("west", of, seconds=5), plan=of)
    federation.step()
    federation.ask("north", rounds=2)
    while "run1" not in {run for run, _ in federation.sites["south"].updates}:
        federation.step()
    federation.step()  # its update lies at the hub
    federation.coordinator.admit(["north", "west"])
    answer = federation.coordinator.receive("south", Message("beat", {"plan_sha256": of.sha256}))
    assert answer == {"ok": False, "detail": "'south' is no member of this federation"}
    status = federation.finish()
    assert status["state"] == "finished"
    record = status["history"][0]["sites"]["south"]
    assert (record["state"], record["reason"]) == ("failed", "it is no member any more")
    assert "south" not in status["history"][1]["sites"]
    assert not federation.sites["south"].offers
    south = federation.sites.pop("south")
    others = updates(federation, 0)
    expected = weighted_mean(others, weights_of([u.examples for u in others]))
    np.testing.assert_array_equal(
        decode(federation.sites["north"].offers[0])[1]["conv.weight"], expected["conv.weight"]
    )
    assert not [shown for shown in south.statuses if shown["round"] == 1], "it hears nothing more"


def test_a_revocation_that_leaves_too_few_ends_the_run(make: Make) -> None:
    federation = make()
    federation.step()
    federation.ask("north")
    federation.step()
    federation.coordinator.admit(["north"])
    status = federation.finish()
    assert (status["state"], "west: it is no member any more" in status["reason"]) == ("failed", True)


def test_a_hub_that_was_down_while_a_site_was_revoked_forgets_its_update(make: Make) -> None:
    of = small_plan()
    federation = make(Site("north", of), Site("south", of), Site("west", of, seconds=8), plan=of)
    federation.step()
    federation.ask("north", rounds=1)
    for _ in range(8):
        federation.step()
    assert federation.coordinator._saved.updates.keys() == {"north", "south"}
    gone = federation.sites.pop("south")
    federation.start()
    status = federation.finish()
    assert status["state"] == "finished"
    assert {s for s, r in status["history"][0]["sites"].items() if r["state"] == "aggregated"} == {"north", "west"}
    assert not gone.offers


def test_a_new_member_joins_the_next_round_from_the_common_aggregate(make: Make) -> None:
    federation = make()
    federation.step()
    federation.ask("north", rounds=3)
    while not federation.sites["north"].offers:
        federation.step()
    federation.sites["east"] = Site("east", federation.plan)
    federation.coordinator.admit([*NAMES, "east"])
    status = federation.finish()
    assert [sorted(r["sites"]) for r in status["history"]][-1] == sorted([*NAMES, "east"])
    assert status["history"][-1]["sites"]["east"]["state"] == "aggregated"
    first = min(round_ for _, round_ in federation.sites["east"].updates)
    before = decode(federation.sites["north"].offers[first - 1])[1]["conv.weight"]
    sent = decode(federation.sites["east"].updates["run1", first])[1]["conv.weight"]
    assert np.abs(sent - before).max() < 6, "it trained from where the others are"
    assert first > 0


def test_where_every_site_has_a_model_of_its_own_a_new_member_waits_for_the_next_run(make: Make) -> None:
    of = small_plan(method={"name": "fedsca"}, adapter=LEVELS)
    federation = make(plan=of, start=start_payload(of))
    federation.step()
    federation.ask("north", rounds=3)
    while not federation.sites["north"].offers:
        federation.step()
    federation.sites["east"] = Site("east", of)
    federation.coordinator.admit([*NAMES, "east"])
    status = federation.finish()
    assert status["history"][-1]["sites"]["east"]["reason"] == "it is new and takes part from the next run on"
    assert federation.run(run="run2")["history"][0]["sites"]["east"]["state"] == "aggregated"
    assert read_header(federation.sites["east"].offers[0]).federation_round == "run2"


def test_the_kit_says_who_is_a_member_now(tmp_path: Path) -> None:
    folder = provision(plan(quorum=1), ["north"], tmp_path / "federation")
    kit, authority = load_kit(folder / "hub", "hub"), Authority(folder)
    authority.invite("south")
    assert (kit.sites, kit.members()) == (("north",), ("north", "south"))
    authority.revoke("north")
    assert kit.members() == ("south",)
    (kit.folder / "federation.json").write_text("{")
    assert kit.members() == ("north",), "a damaged file changes nothing"


def test_a_site_that_the_plans_selector_does_not_know_is_not_invited(tmp_path: Path) -> None:
    shapes = fedsm_layout({"w": (2,)}, {"head.bias": (2,)})
    of = plan(method={"name": "fedsm", "settings": {"sites": "north,south"}}, adapter=shapes)
    authority = Authority(provision(of, [], tmp_path / "federation", inviting=True))
    authority.invite("south")
    with pytest.raises(ProvisionError, match="knows the sites north, south only"):
        authority.invite("west")


@pytest.mark.slow
def test_a_running_hub_takes_in_and_lets_go(tmp_path: Path) -> None:
    """Real processes: no restart of anything but what the hub renews by itself."""
    running = RunningFederation(tmp_path, ["north", "west"], quorum=1, starters=["north", "east"])
    try:
        running.start_all()
        Authority(running.kits).revoke("west")
        until("west refused", lambda: "west is connected and is no member" in running.hub_log())
        run, verdict = running.ask("north", rounds=1)
        assert verdict["status"] == 202, verdict
        assert set(running.ended("north", run)["history"][0]["sites"]) == {"north"}
        running.add("east")
        until("the renewed job", lambda: "east joined" in running.hub_log())
        running.wait_ready("north", "east")
        run, verdict = running.ask("east", rounds=1)
        assert verdict["status"] == 202, verdict
        records = running.ended("east", run)["history"][0]["sites"]
        assert {site: record["state"] for site, record in records.items()} == dict.fromkeys(
            ["north", "east"], "aggregated"
        )
        running.terminate("courier-west")
        running.start_courier("west")
        log = running.kits / "hub" / "log.txt"
        refusal = "Reject disabled client registration: west"
        until("the refusal of west's certificate", lambda: refusal in log.read_text())
    finally:
        running.stop_all()
