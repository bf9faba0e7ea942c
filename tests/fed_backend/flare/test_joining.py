"""Joining by three files, of which none is secret; and who cannot join."""

from __future__ import annotations

import datetime
import json
import shutil
import socket
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders import plan
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from fed_backend.cli import fedseg
from fed_backend.errors import FederationError, ProvisionError
from fed_backend.flare import authority as administration
from fed_backend.flare.authority import Authority
from fed_backend.flare.certificates import announce_expiry, check_certificate
from fed_backend.flare.joining import accept, complete, request_file
from fed_backend.flare.kit import CLASSES, Kit, hold, load_kit
from fed_backend.flare.provisioning import provision
from fed_backend.plan import save_plan

PLAN = plan(quorum=2, starters=["north"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation that nobody has joined yet, and an invitation for north."""
    folder = tmp_path_factory.mktemp("joining")
    provision(PLAN, [], folder / "federation", inviting=True)
    (folder / "north.json").write_bytes(Authority(folder / "federation").invite("north"))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def kit(folder: Path) -> Kit:
    return accept(folder / "north.json", folder / "kit")


def joined(folder: Path, kit: Kit) -> Kit:
    (folder / "north.crt").write_bytes(Authority(folder / "federation").sign(request_file(kit)))
    complete(kit, folder / "north.crt")
    return kit


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(fedseg, [str(argument) for argument in arguments])


def request_for(name: str, bits: int = 2048) -> bytes:
    """A request of a stranger with a key of its own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def test_a_hospital_joins_with_four_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_plan(PLAN, Path("plan.json"))
    for arguments in (
        ("federation", "create", "--plan", "plan.json", "--out", "federation"),
        ("federation", "invite", "federation", "north"),
        ("site", "join", "north.invitation.json", "--out", "kit"),
        ("federation", "sign", "federation", "kit/north.csr"),
        ("site", "join", "kit", "--certificate", "kit/north.crt"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    check_certificate(load_kit("kit", "site"))
    assert run("federation", "members", "federation").output.startswith("north\tuntil 20")


def test_a_folder_that_cannot_be_made_is_said_in_one_line(folder: Path) -> None:
    refused = run("site", "join", folder / "north.json", "--out", folder / "north.json" / "kit")
    assert refused.exit_code == 2
    assert refused.output.startswith("error: north.json: ")
    assert isinstance(refused.exception, SystemExit)


def test_the_key_is_made_at_the_site_and_is_in_none_of_the_files(folder: Path, kit: Kit) -> None:
    key = kit.folder / "startup" / "client.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    joined(folder, kit)
    files = (folder / "north.json", request_file(kit), folder / "north.crt")
    assert not any(b"PRIVATE" in path.read_bytes() for path in files)
    elsewhere = [path for path in (folder / "federation").rglob("*") if path.is_file()]
    assert not any(key.read_bytes()[100:200] in path.read_bytes() for path in elsewhere)


def test_the_hub_serves_who_has_joined_and_nobody_else(folder: Path, kit: Kit) -> None:
    startup = folder / "federation" / "hub" / "startup"
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(startup / "rootCA.pem"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(startup / "server.crt", startup / "server.key")
    joined(folder, kit)
    own = kit.folder / "startup"
    member = ssl.create_default_context(cafile=str(own / "rootCA.pem"))
    member.load_cert_chain(own / "client.crt", own / "client.key")
    assert greeted(server, member)
    assert not greeted(server, ssl.create_default_context(cafile=str(own / "rootCA.pem")))


def greeted(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether a TLS server with a context answers a client with another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with server.wrap_socket(connection, server_side=True) as secure:
                        secure.sendall(b"welcome")
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as raw,
                client.wrap_socket(raw, server_hostname="localhost") as secure,
            ):
                return secure.recv(7) == b"welcome"
        except OSError:
            return False
        finally:
            thread.join(10)


def test_a_kit_without_a_certificate_says_what_comes_next(kit: Kit) -> None:
    with pytest.raises(ProvisionError, match="holds no certificate yet") as caught:
        check_certificate(kit)
    assert "north.csr" in caught.value.hint


def test_only_invited_sites_are_signed_and_each_for_one_key(folder: Path, kit: Kit) -> None:
    authority = Authority(folder / "federation")
    stranger = folder / "stranger.csr"
    stranger.write_bytes(request_for("south"))
    with pytest.raises(ProvisionError, match="no invited site"):
        authority.sign(stranger)
    joined(folder, kit)
    stranger.write_bytes(request_for("north"))
    with pytest.raises(ProvisionError, match="another key"):
        authority.sign(stranger)
    authority.sign(request_file(kit))  # the same key again: the next certificate
    authority.revoke("north")
    with pytest.raises(ProvisionError, match="no invited site"):
        authority.sign(request_file(kit))
    authority.invite("north")
    authority.sign(stranger)


def test_a_request_that_was_tampered_with_or_is_weak_is_refused(folder: Path, kit: Kit) -> None:
    authority = Authority(folder / "federation")
    path = folder / "bad.csr"
    for data in (b"", b"nonsense", request_for("north", bits=1024)):
        path.write_bytes(data)
        with pytest.raises(ProvisionError, match=r"no certificate request|2048 bits"):
            authority.sign(path)
    der = bytearray(x509.load_pem_x509_csr(request_file(kit).read_bytes()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    path.write_bytes(x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM))
    with pytest.raises(ProvisionError, match="not signed with its own key"):
        authority.sign(path)


def test_a_certificate_that_is_not_this_kits_is_refused_and_the_good_one_stays(folder: Path, kit: Kit) -> None:
    joined(folder, kit)
    before = (kit.folder / "startup" / "client.crt").read_bytes()
    authority = Authority(folder / "federation")
    (folder / "south.json").write_bytes(authority.invite("south"))
    south = accept(folder / "south.json", folder / "south")
    other = provision(plan(), ["north"], folder / "other") / "sites" / "north" / "startup" / "client.crt"
    (folder / "south.crt").write_bytes(authority.sign(request_file(south)))
    (folder / "text.crt").write_text("nonsense")
    for path, why in (
        (folder / "south.crt", "is that of 'south'"),
        (other, "not signed by this federation"),
        (folder / "text.crt", "no certificate"),
    ):
        with pytest.raises(ProvisionError, match=why):
            complete(kit, path)
    authority.revoke("north")
    authority.invite("north")
    (folder / "stranger.csr").write_bytes(request_for("north"))
    (folder / "stranger.crt").write_bytes(authority.sign(folder / "stranger.csr"))
    with pytest.raises(ProvisionError, match="another key"):
        complete(kit, folder / "stranger.crt")
    assert (kit.folder / "startup" / "client.crt").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("site", "../evil"),
        ("site", "hub"),
        ("host", "10.0.0.1"),
        ("host", "hub/../../evil"),
        ("port", 0),
        ("root", "nonsense"),
        ("plan", {}),
        ("plan", plan(rounds=99).as_json()),
        ("format", "fedseg-invitation/9"),
        ("class_allow_list", ["os.system"]),
    ],
)
def test_an_invitation_that_says_something_else_leaves_nothing_behind(folder: Path, name: str, value: object) -> None:
    path = folder / "north.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    before = sorted(folder.rglob("*"))
    with pytest.raises(ProvisionError) as caught:
        accept(path, folder / "kit")
    assert caught.value.hint
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("hub", "welcome"), [("0.1.7", True), ("", True), ("0.9.0", False), ("1.1.0", False)])
def test_a_hub_of_another_version_is_told_at_once(folder: Path, hub: str, welcome: bool) -> None:
    path = folder / "north.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": hub}))
    if welcome:
        assert accept(path, folder / "kit").name == "north"
    else:
        with pytest.raises(ProvisionError, match=rf"the hub runs fedseg {hub}, this site 0\.1"):
            accept(path, folder / "kit")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b"[" * 100_000, bytes(2**23)])
def test_what_is_no_invitation_is_refused(folder: Path, data: bytes) -> None:
    (folder / "north.json").write_bytes(data)
    with pytest.raises(ProvisionError, match=r"no invitation|too large"):
        accept(folder / "north.json", folder / "kit")


def test_the_site_itself_says_what_a_job_may_name(kit: Kit) -> None:
    resources = json.loads((kit.folder / "local" / "resources.json").read_text())
    assert set(CLASSES) <= set(resources["class_allow_list"])
    assert resources["allow_log_streaming"] is False


def test_a_member_is_invited_again_until_it_has_joined(folder: Path, kit: Kit) -> None:
    authority = Authority(folder / "federation")
    authority.invite("north")
    with pytest.raises(ProvisionError, match="named twice"):
        authority.invite("North")
    joined(folder, kit)
    with pytest.raises(ProvisionError, match="has joined already"):
        Authority(folder / "federation").invite("north")
    assert [(member.name, member.ends is not None) for member in Authority(folder / "federation").members()] == [
        ("north", True)
    ]
    authority.revoke("north")
    assert load_kit(folder / "federation" / "hub", "hub").sites == ()
    with pytest.raises(ProvisionError, match="no member"):
        authority.revoke("north")


def test_commands_that_overlap_keep_each_others_changes(folder: Path) -> None:
    federation = folder / "federation"
    one, other = Authority(federation), Authority(federation)  # both have read the members
    one.revoke("north")
    other.invite("south")
    assert load_kit(federation / "hub", "hub").sites == ("south",)
    names = [f"site{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: Authority(federation).invite(name), names))
        assert {member.name for member in Authority(federation).members()} == {"south", *names}
        list(pool.map(lambda name: Authority(federation).revoke(name), names))
    assert load_kit(federation / "hub", "hub").sites == ("south",)


def test_certificates_that_are_signed_at_once_are_all_remembered(folder: Path, kit: Kit) -> None:
    federation = folder / "federation"
    (folder / "south.json").write_bytes(Authority(federation).invite("south"))
    south = accept(folder / "south.json", folder / "south")
    one, other = Authority(federation), Authority(federation)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda who, of: who.sign(request_file(of)), (one, other), (kit, south)))
    assert {member.name for member in Authority(federation).members() if member.ends} == {"north", "south"}


def test_a_command_says_that_another_one_is_at_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "_WAIT_S", 0.2)
    federation, request = folder / "federation", folder / "request"
    request.write_bytes(request_for("north"))
    with hold(federation / "admin" / "authority" / "lock", "the other"):
        for arguments in (("invite", "south"), ("revoke", "north"), ("forget", "north")):
            refused = run("federation", arguments[0], federation, arguments[1])
            assert refused.exit_code == 2
            assert "another command that changes this federation is already running" in refused.output
            assert "try again once it has ended" in refused.output
        with pytest.raises(FederationError, match="already running"):
            Authority(federation).sign(request)
    assert load_kit(federation / "hub", "hub").sites == ("north",)


def test_a_certificate_that_ends_soon_is_announced() -> None:
    said: list[str] = []
    now = datetime.datetime.now(datetime.UTC)
    announce_expiry("north", now + datetime.timedelta(days=200), said.append)
    assert said == []
    announce_expiry("north", now + datetime.timedelta(days=12, hours=1), said.append)
    assert "'north' ends in 12 days" in said[0]
