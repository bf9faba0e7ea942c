"""A site leaves: its courier ends for good, the others go on, its log says so, its key goes if it wishes."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from builders import plan
from click.testing import CliRunner, Result
from running import RunningFederation, until

from fed_backend.cli import fedseg
from fed_backend.errors import FederationError, ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, KEY
from fed_backend.flare.kit import hold, load_kit
from fed_backend.flare.leaving import leave, left_at, require_member
from fed_backend.flare.provisioning import provision
from monailabel_app.federation.consent import Consent
from monailabel_app.state.audit import read_audit, verify
from monailabel_app.state.database import Database


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision(plan(), ["north"], tmp_path_factory.mktemp("leaving") / "federation") / "sites" / "north"


@pytest.fixture
def kit(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "kit"))


@pytest.fixture
def state(kit: Path, tmp_path: Path) -> Path:
    """Of a site that approved its plan."""
    folder, agreed = tmp_path / "state", load_kit(kit, "site").plan
    folder.mkdir()
    with closing(Database(folder / "site.sqlite")) as database:
        Consent(database).approve(agreed, agreed.sha256, "dr-lee")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fedseg, [str(argument) for argument in arguments])


def test_leaving_withdraws_consent_and_keeps_the_log_and_the_key(kit: Path, state: Path) -> None:
    result = run("site", "leave", kit, "--state", state, "--yes")
    assert result.exit_code == 0, result.output
    assert "not taken back" in result.output
    assert "fedseg federation forget FOLDER north" in result.output
    agreed = load_kit(kit, "site").plan
    with closing(Database(state / "site.sqlite")) as database:
        assert Consent(database).of(agreed) is None
    assert [entry.event for entry in read_audit(state)] == ["approved", "withdrawn", "left"]
    assert verify(read_audit(state)).entries == 3
    assert (kit / KEY).is_file()
    with pytest.raises(ProvisionError, match=f"'north' left this federation on {left_at(load_kit(kit, 'site'))[:10]}"):
        require_member(load_kit(kit, "site"))


def test_the_key_is_destroyed_on_demand_only(kit: Path, state: Path) -> None:
    key = (kit / KEY).read_bytes()
    assert "destroyed" not in run("site", "leave", kit, "--state", state, "--yes").output
    assert (kit / KEY).read_bytes() == key
    assert "destroyed" in run("site", "leave", kit, "--state", state, "--yes", "--forget").output
    assert not (kit / KEY).exists()
    assert (kit / CERTIFICATE).is_file()
    result = run("site", "leave", kit, "--state", state, "--yes", "--forget")
    assert (result.exit_code, "destroyed" in result.output) == (0, False), "again does no harm"


def test_one_who_hesitates_stays(kit: Path, state: Path) -> None:
    result = CliRunner().invoke(fedseg, ["site", "leave", str(kit), "--state", str(state)], input="n\n")
    assert result.exit_code == 1
    assert not left_at(load_kit(kit, "site"))
    assert [entry.event for entry in read_audit(state)] == ["approved"]


def test_what_is_no_kit_or_no_site_changes_nothing(kit: Path, state: Path, tmp_path: Path) -> None:
    result = run("site", "leave", kit, "--state", tmp_path, "--yes")
    assert (result.exit_code, "no state folder of a site" in result.output) == (2, True)
    assert not left_at(load_kit(kit, "site"))
    result = run("site", "leave", state, "--state", state, "--yes")
    assert (result.exit_code, "is no kit of a federation" in result.output) == (2, True)
    assert [entry.event for entry in read_audit(state)] == ["approved"]


def test_a_courier_that_does_not_end_is_told(kit: Path) -> None:
    member = load_kit(kit, "site")
    with (
        hold(member.run / "lock", "a courier"),
        pytest.raises(FederationError, match="the courier of 'north' still runs"),
    ):
        leave(member, "dr-lee", wait_s=0.2)
    assert left_at(member), "it does not start again all the same"


@pytest.mark.slow
def test_a_running_site_leaves_and_the_others_go_on(tmp_path: Path) -> None:
    running = RunningFederation(tmp_path, ["north", "south", "west"], starters=["north"])
    west, state = running.kits / "sites" / "west", tmp_path / "state"
    state.mkdir()
    with closing(Database(state / "site.sqlite")) as database:
        Consent(database).approve(running.plan, running.plan.sha256, "dr-lee")
    try:
        running.start_all()
        family = running.tree("courier-west")
        result = run("site", "leave", west, "--state", state, "--yes", "--forget")
        assert result.exit_code == 0, result.output
        until("the courier's end", lambda: running.processes["courier-west"].poll() is not None)
        assert running.processes["courier-west"].returncode == 0, "a service manager does not start it again"
        until("the end of what it started", lambda: not [process for process in family if process.is_running()])
        assert "has left the federation" in (tmp_path / "courier-west.log").read_text()
        again = run("courier", "start", west, "--site-url", running.urls["west"], "--token-file", state / "none")
        assert (again.exit_code, "left this federation" in again.output) == (2, True)
        run_id, verdict = running.ask("north", rounds=1)
        assert verdict["status"] == 202, verdict
        status = running.ended("north", run_id)
        assert status["state"] == "finished", status
        records = status["history"][0]["sites"]
        assert records["west"]["state"] == "failed"
        assert {site for site, record in records.items() if record["state"] == "aggregated"} == {"north", "south"}
        assert [entry.event for entry in read_audit(state)] == ["approved", "withdrawn", "left"]
    finally:
        running.stop_all()
