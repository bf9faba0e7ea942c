"""A site's updates are left out of rounds to come: how far back the hub goes, and what it says is not undone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import plan
from click.testing import CliRunner, Result
from in_process import LEVELS, NAMES, Federation, Site, small_plan, start_payload
from running import RunningFederation, until

from fed_backend.cli import fedseg
from fed_backend.errors import FederationError
from fed_backend.flare.checkpoint import Checkpoint, CheckpointStore
from fed_backend.flare.lineage import KEEP, Lineage, Past
from fed_backend.flare.provisioning import provision
from fed_backend.payload import decode, read_header

Make = Callable[..., Federation]


def forget(federation: Federation, site: str, asked: str = "today") -> None:
    """As the controller does when an administrator has asked for it."""
    federation.sites.pop(site, None)
    federation.coordinator.admit(list(federation.sites))
    federation.coordinator.forget(site, asked)


def offers(federation: Federation, site: str = "north") -> list[bytes]:
    return federation.sites[site].offers


def test_who_was_there_from_the_beginning_takes_everybody_back_to_it(make: Make) -> None:
    federation = make()
    federation.run(rounds=2)
    forget(federation, "west")
    federation.run(run="run2", rounds=1)
    begun = federation.begun["run2"]
    assert read_header(begun).metrics["initial"] == 1.0
    pair = [Site(name, federation.plan, examples=number) for number, name in enumerate(NAMES[:2], start=1)]
    others = make(*pair, name="others")
    others.run(run="run2", rounds=1)
    assert offers(federation)[-1] == offers(others)[-1], "as if west had never been there"


def test_the_hub_goes_back_to_just_before_the_sites_first_update(make: Make) -> None:
    federation = make()
    federation.run(rounds=2)
    before = offers(federation)[-1]
    federation.sites["east"] = Site("east", federation.plan)
    federation.coordinator.admit([*NAMES, "east"])
    federation.run(run="run2", rounds=3)
    forget(federation, "east")
    status = federation.run(run="run3")
    assert status["state"] == "finished"
    for name, tensor in decode(federation.begun["run3"])[1].items():
        np.testing.assert_array_equal(tensor, decode(before)[1][name])
    undone = Lineage(federation.folder / "lineage", federation.plan.sha256).forgotten[0].undone
    assert [(past.run, past.round) for past in undone] == [("run2", 0), ("run2", 1), ("run2", 2)]


def test_a_run_at_work_is_stopped_and_says_why(make: Make) -> None:
    federation = make()
    federation.step()
    federation.ask("north", rounds=3)
    while not offers(federation):
        federation.step()
    forget(federation, "west")
    federation.step()
    status = federation.coordinator.status()
    assert status is not None
    assert (status["state"], status["reason"]) == ("stopped", "the updates of 'west' are taken back")
    assert federation.sites["north"].statuses[-1]["state"] == "stopped"


def test_a_request_is_fulfilled_once_and_survives_the_hub(make: Make) -> None:
    federation = make()
    federation.run(rounds=1)
    forget(federation, "west")
    federation.run(run="run2", rounds=2)
    last = offers(federation)[-1]
    federation.start()
    federation.coordinator.forget("west", "today")
    federation.run(run="run3")
    for name, tensor in decode(federation.begun["run3"])[1].items():
        np.testing.assert_array_equal(tensor, decode(last)[1][name], err_msg="rounds go on from the newest")
    federation.coordinator.forget("north", "tomorrow")
    federation.run(run="run4", site="south")
    assert read_header(federation.begun["run4"]).metrics["initial"] == 1.0


def test_each_method_goes_back_on_its_own(make: Make) -> None:
    of = small_plan(adapter=LEVELS, alternatives=[{"name": "fedsca"}])
    federation = make(plan=of, start=start_payload(of))
    federation.run(rounds=1)
    common = offers(federation)[-1]
    federation.sites["east"] = Site("east", of)
    federation.coordinator.admit([*NAMES, "east"])
    federation.step()
    assert federation.ask("north", "run2", method="fedsca", rounds=2)["accepted"]
    assert federation.finish()["state"] == "finished"
    assert federation.coordinator._saved.state, "fedsca remembers"
    forget(federation, "east")
    assert federation.coordinator._saved.state == "", "and begins anew"
    federation.step()
    assert federation.ask("north", "run3", method="fedsca", rounds=1)["accepted"]
    assert federation.finish()["state"] == "finished"
    assert read_header(federation.begun["run3"]).metrics["initial"] == 1.0
    federation.run(run="run4", rounds=1)
    for name, tensor in decode(federation.begun["run4"])[1].items():
        np.testing.assert_array_equal(tensor, decode(common)[1][name], err_msg="fedavg had no update of east")


def test_what_is_no_longer_kept_means_the_beginning(make: Make) -> None:
    federation = make()
    federation.run(rounds=1)
    federation.sites["east"] = Site("east", federation.plan)
    federation.coordinator.admit([*NAMES, "east"])
    federation.run(run="run2", rounds=KEEP + 1)
    lineage = federation.folder / "lineage"
    assert len(list((lineage / "payloads").iterdir())) == KEEP
    assert Lineage(lineage, federation.plan.sha256).without("east") == {"fedavg": None}
    forget(federation, "east")
    federation.run(run="run3")
    assert read_header(federation.begun["run3"]).metrics["initial"] == 1.0


def test_a_round_that_is_aggregated_again_after_a_fault_is_recorded_once(make: Make) -> None:
    federation = make()
    federation.step()
    federation.ask("north", rounds=1)
    while not offers(federation):
        federation.step()
    saved = federation.coordinator._ledger.store.load(federation.plan.sha256)
    saved.phase, saved.adapters = "train", {}
    federation.coordinator._ledger.store.save(saved)
    federation.start()
    assert federation.finish()["state"] == "finished"
    past = Lineage(federation.folder / "lineage", federation.plan.sha256).past
    assert [(entry.run, entry.round) for entry in past] == [("run1", 0)]


def test_very_old_aggregates_are_still_known_to_have_had_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fed_backend.flare.lineage._MOST", 3)
    store, lineage = CheckpointStore(tmp_path), Lineage(tmp_path / "lineage", "ab" * 32)
    for number in range(6):
        digest = store.put(bytes([number]))
        sites = ["north", "west"] if number == 1 else ["north"]
        lineage.add(Past.of("fedavg", "run", number, sites, {"north": digest}, ""), store.path)
    again = Lineage(tmp_path / "lineage", "ab" * 32)
    assert [past.round for past in again.past] == [past.round for past in again.after("west")] == [3, 4, 5]
    assert again.without("west") == {"fedavg": None}
    saved = Checkpoint(plan_sha256="ab" * 32, adapters={"north": "x"})
    again.take_back(saved, store, "west", ["north"], "fedavg")
    assert saved.adapters == {}


def test_a_damaged_or_foreign_record_stops_the_hub_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text("{")
    with pytest.raises(FederationError, match="cannot be read") as caught:
        Lineage(tmp_path, "ab" * 32)
    assert "backup" in caught.value.hint
    (tmp_path / "lineage.json").write_text(json.dumps({"plan_sha256": "cd" * 32}))
    with pytest.raises(FederationError, match="another plan"):
        Lineage(tmp_path, "ab" * 32)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fedseg, [str(argument) for argument in arguments])


def test_the_command_refuses_who_was_never_there(tmp_path: Path) -> None:
    folder = provision(plan(quorum=1), ["north", "west"], tmp_path / "federation")
    result = run("federation", "forget", folder, "east")
    assert (result.exit_code, "'east' is no member" in result.output) == (2, True)
    result = run("federation", "forget", folder, "west")
    assert result.exit_code == 0, result.output
    assert "no aggregate that is known here" in result.output
    assert "west" not in run("federation", "members", folder).output


@pytest.mark.slow
def test_a_running_hub_forgets_a_site(tmp_path: Path) -> None:
    """Real processes: site k adds k with weight k, from zero; after west has gone it is as if it had not been there."""
    running = RunningFederation(tmp_path, ["north", "south", "west"], quorum=2, starters=["north"])
    try:
        running.start_all()
        first, verdict = running.ask("north", rounds=2)
        assert verdict["status"] == 202, verdict
        assert running.ended("south", first)["state"] == "finished"
        result = run("federation", "forget", running.kits, "west")
        assert result.exit_code == 0, result.output
        assert "the next rounds of fedavg go on from the beginning" in result.output
        listed = [line.split("\t") for line in result.output.splitlines() if "\t" in line]
        assert [line[0] for line in listed] == ["north", "south"] * 2
        for site, _, of_run, of_round, digest in listed:
            number = int(of_round.split()[1]) - 1
            assert of_run == f"run {first}"
            offered = (running.peer(site) / f"offer-{first}-{number}.safetensors").read_bytes()
            assert digest == hashlib.sha256(offered).hexdigest(), "as the site's version names it"
        record = running.kits / "hub" / "state" / "lineage" / "lineage.json"
        until("the hub", lambda: json.loads(record.read_text())["forgotten"])
        second, verdict = running.ask("north", rounds=1)
        assert verdict["status"] == 202, verdict
        assert running.ended("north", second)["state"] == "finished"
        mean = decode((running.peer("north") / f"offer-{second}-0.safetensors").read_bytes())[1]
        for tensor in mean.values():
            np.testing.assert_allclose(tensor, (1 * 1 + 2 * 2) / 3, atol=1e-6)
        running.kill("hub")
        running.start_hub()
        running.wait_ready("north", "south")
        third, verdict = running.ask("north", rounds=1)
        assert verdict["status"] == 202, verdict
        assert running.ended("north", third)["state"] == "finished"
        mean = decode((running.peer("north") / f"offer-{third}-0.safetensors").read_bytes())[1]
        np.testing.assert_allclose(next(iter(mean.values())), 2 * (1 * 1 + 2 * 2) / 3, atol=1e-6)
    finally:
        running.stop_all()
