"""A site that speaks HTTPS, and its courier: whom the courier trusts, and what it says where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from builders import plan
from running import read_json
from site_peer import Peer
from tls_site import Issuer, OverTls, serve

from fed_backend.errors import FederationError
from fed_backend.flare.site_client import SiteClient, SiteUnreachable, token_reader
from fed_backend.plan import save_plan

Start = Callable[[Path | None], Callable[[Path | None], SiteClient]]


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a site with a certificate; gives what makes its courier's client from whom it trusts."""
    save_plan(plan(), tmp_path / "plan.json")
    (tmp_path / "courier.token").write_text("secret")
    servers: list[ThreadingHTTPServer] = []

    def started(certificate: Path | None) -> Callable[[Path | None], SiteClient]:
        servers.append(serve(Peer(tmp_path), certificate))
        url, token = f"https://127.0.0.1:{servers[-1].server_port}", token_reader(tmp_path / "courier.token")
        return lambda ca: SiteClient(url, token, 10**6, ca)

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_site_is_trusted_by_its_authority_or_by_its_own_certificate(issuer: Issuer, start: Start) -> None:
    shown = issuer.issue("site")
    client = start(shown)
    assert client(issuer.file).progress() == 0.5
    assert client(shown).progress() == 0.5
    assert client(issuer.file).wait_for_requests(0)["requests"] == []


def test_a_certificate_that_is_not_trusted_is_refused_and_the_option_is_named(issuer: Issuer, start: Start) -> None:
    client = start(issuer.issue("site"))
    for ca in (None, issuer.issue("another")):
        with pytest.raises(SiteUnreachable, match="certificate is not accepted: unable to get local issuer") as caught:
            client(ca).progress()
        assert "courier start --site-ca FILE" in caught.value.hint


def test_what_is_wrong_with_a_trusted_authoritys_certificate_is_said(issuer: Issuer, start: Start) -> None:
    with pytest.raises(SiteUnreachable, match=r"not valid for '127\.0\.0\.1'") as caught:
        start(issuer.issue("elsewhere", host="127.0.0.2"))(issuer.file).progress()
    assert "--site-url" in caught.value.hint
    with pytest.raises(SiteUnreachable, match="certificate has expired") as caught:
        start(issuer.issue("old", days=-1))(issuer.file).progress()
    assert "renew" in caught.value.hint
    with pytest.raises(SiteUnreachable, match="no TLS connection") as caught:
        start(None)(issuer.file).progress()
    assert "--tls-cert" in caught.value.hint


def test_a_file_without_certificates_is_told_at_the_start_and_a_lost_one_later(issuer: Issuer, start: Start) -> None:
    shown = issuer.issue("site")
    client = start(shown)
    for wrong in (shown.with_suffix(".key"), shown.with_suffix(".none")):
        with pytest.raises(FederationError, match=f"{wrong.name} holds no certificates"):
            client(wrong)
    losing = client(issuer.file)
    issuer.file.unlink()
    with pytest.raises(SiteUnreachable, match="certificates to trust cannot be read"):
        losing.progress()


@pytest.mark.slow
def test_a_courier_of_a_hub_reaches_its_site_over_https(tmp_path: Path) -> None:
    """Supervisor and job process; the hub's line is ready only when the site has answered the latter."""
    running = OverTls(tmp_path, ["north"], quorum=1, starters=["north"], alternatives=[])
    try:
        running.start_all()
        assert read_json(running.ready_file("north"))["site"] == "north"
    finally:
        running.stop_all()
