"""A federation's kits: who gets which key, what a job may name, and how mistakes are told."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from builders import plan
from click.testing import CliRunner
from cryptography import x509

from fed_backend.cli import fedseg
from fed_backend.errors import FederationError, ProvisionError
from fed_backend.flare.certificates import check_certificate
from fed_backend.flare.kit import CLASSES, hold, load_kit
from fed_backend.flare.provisioning import provision
from fed_backend.plan import save_plan

PLAN = plan(quorum=2)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision(PLAN, ["north", "south_2"], tmp_path_factory.mktemp("kits") / "federation")


@pytest.fixture
def own(kits: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(kits, tmp_path / "own")
    return tmp_path / "own"


def test_every_member_gets_a_kit_with_the_plan(kits: Path) -> None:
    hub = load_kit(kits / "hub", "hub")
    assert hub.sites == ("north", "south_2")
    for name in hub.sites:
        kit = load_kit(kits / "sites" / name, "site")
        assert (kit.name, kit.plan, kit.host, kit.port) == (name, PLAN, "localhost", hub.port)
        check_certificate(kit)


def test_each_key_is_in_one_place_and_private(kits: Path) -> None:
    keys = [path for path in kits.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert {str(path.relative_to(kits)) for path in keys} == {
        "hub/startup/server.key",
        "hub/supervisor/startup/client.key",
        "sites/north/startup/client.key",
        "sites/south_2/startup/client.key",
        "admin/startup/client.key",
        "admin/authority/cert.json",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert len({path.read_bytes() for path in keys}) == len(keys)
    assert {path.read_bytes().count(b"BEGIN RSA PRIVATE KEY") for path in keys} == {1}


def test_all_connections_need_certificates_of_this_federation(kits: Path) -> None:
    server = json.loads((kits / "hub/startup/fed_server.json").read_text())["servers"][0]
    client = json.loads((kits / "sites/north/startup/fed_client.json").read_text())
    assert server["connection_security"] == client["client"]["connection_security"] == "mtls"
    assert server["service"]["scheme"] == client["servers"][0]["service"]["scheme"] == "grpc"
    root = x509.load_pem_x509_certificate((kits / "hub/startup/rootCA.pem").read_bytes())
    for path in kits.rglob("*.crt"):
        x509.load_pem_x509_certificate(path.read_bytes()).verify_directly_issued_by(root)


def test_a_job_may_name_our_classes_only_and_sites_send_no_logs(kits: Path) -> None:
    for kit in (kits / "hub", kits / "sites" / "north"):
        local = json.loads((kit / "local/resources.json").read_text())
        assert local["class_list_enforcement_mode"] == "enforce"
        own = {component["path"] for component in local["components"]}
        assert set(local["class_allow_list"]) - own == set(CLASSES)
    assert local["allow_log_streaming"] is False
    assert "log_streamer" not in json.dumps(local["components"])


def test_nothing_is_left_beside_the_federation(kits: Path) -> None:
    assert [path.name for path in kits.parent.iterdir()] == ["federation"]
    assert not list(kits.rglob("*.sh"))


def test_an_existing_federation_is_never_overwritten(own: Path) -> None:
    before = (own / "hub/startup/server.key").read_bytes()
    with pytest.raises(ProvisionError, match="already exists"):
        provision(PLAN, ["north", "south"], own)
    assert (own / "hub/startup/server.key").read_bytes() == before


@pytest.mark.parametrize(
    ("sites", "word"),
    [
        ([], "at least one"),
        (["north", "../south"], "'../south'"),
        (["north", "a b"], "'a b'"),
        (["north", "-south"], "'-south'"),
        (["north", "x" * 64], "cannot be a site name"),
        (["north", "North"], "twice"),
        (["north", "server"], "reserved"),
        (["north"], "needs 2 updates"),
    ],
)
def test_bad_members_are_refused(tmp_path: Path, sites: list[str], word: str) -> None:
    with pytest.raises(ProvisionError, match=word):
        provision(PLAN, sites, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("host", "port"), [("no host", 0), ("10.0.0.1", 0), ("a/b", 0), ("localhost", 70000)])
def test_bad_addresses_are_refused(tmp_path: Path, host: str, port: int) -> None:
    with pytest.raises(ProvisionError, match=r"host|port|address"):
        provision(PLAN, ["north", "south"], tmp_path / "out", host, port)
    assert not (tmp_path / "out").exists()


def test_a_starter_that_is_no_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="'east'"):
        provision(plan(starters=["east"]), ["north"], tmp_path / "out")


# --- using kits ----------------------------------------------------------------------------


def test_the_wrong_kit_is_told(kits: Path, tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="kit of a site, not of a hub"):
        load_kit(kits / "sites" / "north", "hub")
    with pytest.raises(ProvisionError, match="no kit"):
        load_kit(tmp_path, "hub")


def test_a_changed_plan_is_noticed(own: Path) -> None:
    save_plan(PLAN.model_copy(update={"rounds": 999}), own / "sites/north/plan.json")
    with pytest.raises(ProvisionError, match="changed after provisioning"):
        load_kit(own / "sites" / "north", "site")


def test_a_certificate_of_another_site_or_federation_is_noticed(own: Path, tmp_path: Path) -> None:
    north, south = own / "sites/north/startup/client.crt", own / "sites/south_2/startup/client.crt"
    shutil.copy(south, north)
    with pytest.raises(ProvisionError, match="'south_2'"):
        check_certificate(load_kit(own / "sites" / "north", "site"))
    other = provision(PLAN, ["north", "south"], tmp_path / "other")
    shutil.copy(other / "sites/north/startup/client.crt", north)
    with pytest.raises(ProvisionError, match="not signed by this federation"):
        check_certificate(load_kit(own / "sites" / "north", "site"))


def test_two_processes_cannot_run_from_one_kit(own: Path) -> None:
    lock = own / "hub/run/lock"
    with (
        hold(lock, "a hub from this kit"),
        pytest.raises(FederationError, match="already running"),
        hold(lock, "a hub"),
    ):
        pass
    with hold(lock, "a hub from this kit"):
        pass


# --- the command line ----------------------------------------------------------------------


def test_provision_on_the_command_line(tmp_path: Path) -> None:
    save_plan(PLAN, tmp_path / "plan.json")
    arguments = ["provision", "--plan", str(tmp_path / "plan.json"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(fedseg, [*arguments, "--site", "north", "--site", "south"])
    assert result.exit_code == 0, result.output
    assert load_kit(tmp_path / "out/sites/south", "site").name == "south"
    again = CliRunner().invoke(fedseg, [*arguments, "--site", "north", "--site", "south"])
    assert again.exit_code == 2
    assert again.output.splitlines() == [
        "error: out already exists and is not empty",
        "hint:  a federation is never overwritten: choose another --out",
    ]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["provision", "--plan", "missing.json", "--site", "north", "--out", "x"], "missing.json"),
        (["hub", "start", "nowhere"], "nowhere is no kit"),
        (["courier", "start", "nowhere", "--site-url", "http://localhost:1", "--token-file", "t"], "nowhere is no kit"),
    ],
)
def test_errors_are_one_line_and_a_hint(arguments: list[str], word: str) -> None:
    result = CliRunner().invoke(fedseg, arguments)
    assert result.exit_code == 2
    error, hint = result.output.splitlines()
    assert error.startswith("error: ")
    assert word in error
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "file:///etc/passwd", ""])
def test_a_courier_wants_an_address(kits: Path, url: str) -> None:
    arguments = ["courier", "start", str(kits / "sites/north"), "--site-url", url, "--token-file", "t"]
    result = CliRunner().invoke(fedseg, arguments)
    assert result.exit_code == 2
    assert "is no address of a site server" in result.output
