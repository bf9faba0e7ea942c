"""L0: the client against a real server that is slow, broken, refusing, unverified or gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import site_peer
from FedSegLib.address import parse_address
from FedSegLib.cancel import CancelSwitch
from FedSegLib.client import SegmentRequest, SiteClient
from FedSegLib.consent import Consent
from FedSegLib.errors import (
    Busy,
    Cancelled,
    ConsentMissing,
    FedSegError,
    NotAllowed,
    NotFound,
    ProtocolError,
    Refused,
    ServerFault,
    SignInNeeded,
    TimedOut,
    TlsRefused,
    Unreachable,
)
from FedSegLib.oversight import Timeouts
from FedSegLib.protocol import LabelSchema, Prompts
from FedSegLib.transport import Transport
from site_peer import Handler, SitePeer, multipart
from volume_files import read_nrrd

QUICK = Timeouts(quick=0.3, infer=0.3, transfer=0.3, round=0.3)


def client_of(url: str, *, ca_file: Path | None = None, timeouts: Timeouts | None = None) -> SiteClient:
    return SiteClient(Transport(parse_address(url), ca_file=ca_file), timeouts)


def consent_for(url: str) -> Consent:
    return Consent(url, "2026-01-01T00:00:00+00:00")


@pytest.fixture
def client(peer: SitePeer) -> SiteClient:
    return client_of(peer.url)


@pytest.fixture
def schema(client: SiteClient) -> LabelSchema:
    return client.info().schema


def test_info_of_a_site(client: SiteClient) -> None:
    info = client.info()
    assert (info.site, info.role, info.federation, info.stock) == ("north", "annotator", True, False)
    assert info.schema.values() == site_peer.LABELS
    assert info.schema.labels[0].color == tuple(site_peer.COLORS["edema"])
    assert [(m.name, m.automatic, m.prompts, m.champion) for m in info.models] == [
        ("unet", True, False, "unet-0001"),
        ("sam", True, True, "sam-0001"),
    ]
    assert info.strategies == ("random", "uncertainty")


def test_info_of_a_stock_server(stock_peer: SitePeer) -> None:
    info = client_of(stock_peer.url).info()
    assert info.stock
    assert (info.role, info.federation) == (None, False)
    assert info.schema.values() == site_peer.LABELS


def test_next_case_image_mask_and_submit(
    client: SiteClient, peer: SitePeer, schema: LabelSchema, tmp_path: Path
) -> None:
    case = client.next_case("uncertainty")
    assert case is not None
    assert (case.id, case.reason) == ("case-01", "least certain")
    steps: list[tuple[int, int | None]] = []
    path = client.download_image(case.id, tmp_path, progress=lambda count, total: steps.append((count, total)))
    assert path.read_bytes() == peer.image
    assert steps[-1] == (len(peer.image), len(peer.image))
    mask = client.segment(SegmentRequest(case.id, "unet"), schema)
    assert (mask.version, dict(mask.label_names), mask.seconds["total"]) == ("unet-0001", site_peer.LABELS, 0.4)
    assert np.array_equal(read_nrrd(mask.content)[0], site_peer.mask())
    sent = tmp_path / "correction.nrrd"
    sent.write_bytes(mask.content)
    receipt = client.submit(case.id, sent, schema, consent_for(peer.url), author="Ada", seconds=12.34)
    assert (receipt.correction, receipt.part, receipt.dice_shown) == ("7", "train", 0.91)
    put = peer.wait_for("PUT", "/datastore/label")[0]
    assert put.form["label"] == mask.content
    assert put.form["label.filename"] == "mask.nrrd"
    assert json.loads(put.form["params"]) == {
        "label_info": [{"name": "edema", "idx": 2}, {"name": "tumour", "idx": 5}],
        "author": "Ada",
        "seconds": 12.3,
    }


def test_no_case_left(client: SiteClient, peer: SitePeer) -> None:
    peer.cases.clear()
    assert client.next_case("random") is None


def test_names_with_odd_characters_stay_one_name(client: SiteClient, peer: SitePeer, schema: LabelSchema) -> None:
    client.segment(SegmentRequest("a&b=c/../d e", "unet"), schema)
    assert peer.wait_for("POST", "/infer/unet")[0].query["image"] == "a&b=c/../d e"
    with pytest.raises(NotFound):
        client.next_case("../info/")
    assert peer.received[-1].path == "/activelearning/../info/"


def test_prompts_are_sent_in_ijk_with_their_structure(client: SiteClient, peer: SitePeer, schema: LabelSchema) -> None:
    prompts = Prompts(((1, 2, 3),), ((4, 5, 6),), (0, 0, 3, 9, 9, 3))
    client.segment(SegmentRequest("case-01", "sam", "tumour", prompts), schema, consent_for(peer.url))
    params = json.loads(peer.wait_for("POST", "/infer/sam")[0].form["params"])
    assert params["label"] == "tumour"
    assert params["foreground"] == [[1, 2, 3]]
    assert params["background"] == [[4, 5, 6]]
    assert params["box"] == [0, 0, 3, 9, 9, 3]


@pytest.mark.parametrize("consent", [None, Consent("http://elsewhere:1", ""), Consent("", "", wording=0)])
def test_nothing_is_sent_without_consent_for_this_server(
    client: SiteClient, peer: SitePeer, schema: LabelSchema, tmp_path: Path, consent: Consent | None
) -> None:
    before = len(peer.received)
    path = tmp_path / "m.nrrd"
    path.write_bytes(b"x")
    with pytest.raises(ConsentMissing):
        client.segment(SegmentRequest("c", "sam", "tumour", Prompts(((1, 1, 1),))), schema, consent)
    with pytest.raises(ConsentMissing):
        client.submit("c", path, schema, consent)  # type: ignore[arg-type]
    assert len(peer.received) == before


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (401, SignInNeeded), (403, NotAllowed), (404, NotFound), (409, Busy), (429, Busy),
     (500, ServerFault), (503, ServerFault)],
)  # fmt: skip
def test_an_error_keeps_the_servers_words_and_hint(
    client: SiteClient, peer: SitePeer, status: int, kind: type[Refused]
) -> None:
    peer.refuse("GET", "/learning", status, error="Conflict", detail="Already running.", hint="Wait for it.")
    with pytest.raises(kind) as caught:
        client.learning()
    assert (str(caught.value), caught.value.hint) == ("Already running.", "Wait for it.")
    assert (caught.value.status, caught.value.name) == (status, "Conflict")


def test_an_error_without_words_gets_ours(client: SiteClient, peer: SitePeer) -> None:
    peer.replies[("GET", "/learning")] = lambda handler: handler.send_bytes(b"<html>oops", {}, 500)
    with pytest.raises(ServerFault, match="status 500") as caught:
        client.learning()
    assert caught.value.hint


def test_a_redirect_is_not_followed(client: SiteClient, peer: SitePeer) -> None:
    peer.replies[("GET", "/learning")] = lambda handler: handler.send_bytes(b"", {"Location": "http://evil.test/"}, 302)
    with pytest.raises(Refused, match=r"evil\.test"):
        client.learning()


def test_sign_in_sends_the_token_from_then_on(client: SiteClient, peer: SitePeer) -> None:
    peer.users["ada"] = "right"
    with pytest.raises(SignInNeeded) as caught:
        client.info()
    assert caught.value.hint == "Use your site account."
    with pytest.raises(SignInNeeded, match="Wrong name or password"):
        client.sign_in("ada", "wrong")
    client.sign_in("ada", "right")
    assert client.info().site == "north"
    assert peer.received[-1].headers["Authorization"] == "Bearer good"


def cut_short(handler: Handler) -> None:
    body, content_type = multipart({"label_names": {}}, b"12345" * 1000, "mask.nrrd")
    handler.send_bytes(body[:-40], {"Content-Type": content_type})


def broken_off(handler: Handler) -> None:
    body, content_type = multipart({"label_names": {}}, b"12345" * 1000, "mask.nrrd")
    handler.send_bytes(body[:200], {"Content-Type": content_type}, length=len(body))
    handler.close_connection = True


def no_mask(handler: Handler) -> None:
    handler.send_json({"label_names": {}})


def no_json(handler: Handler) -> None:
    handler.send_bytes(b"{'a': }", {"Content-Type": "application/json"})


def odd_file(handler: Handler) -> None:
    handler.send_mask({"label_names": {}}, b"", "../../evil.exe")


@pytest.mark.parametrize(
    ("reply", "words"),
    [(cut_short, "cut short"), (broken_off, "cut short|broke off"), (no_mask, "instead of parts"),
     (no_json, "instead of parts"), (odd_file, "unknown kind")],
)  # fmt: skip
def test_a_malformed_mask_is_refused(
    client: SiteClient, peer: SitePeer, schema: LabelSchema, reply: Callable[[Handler], None], words: str
) -> None:
    peer.replies[("POST", "/infer/unet")] = reply
    with pytest.raises(ProtocolError, match=words):
        client.segment(SegmentRequest("case-01", "unet"), schema)


def test_a_cut_off_image_leaves_no_file(client: SiteClient, peer: SitePeer, tmp_path: Path) -> None:
    def half(handler: Handler) -> None:
        handler.send_bytes(peer.image[:100], {"Content-Disposition": "filename=x.nrrd"}, length=len(peer.image))
        handler.close_connection = True

    peer.replies[("GET", "/datastore/image")] = half
    with pytest.raises(ProtocolError):
        client.download_image("case-01", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_servers_file_name_never_becomes_a_path(client: SiteClient, peer: SitePeer, tmp_path: Path) -> None:
    peer.image_name = "../../../etc/passwd.nrrd"
    folder = tmp_path / "inside"
    folder.mkdir()
    assert client.download_image("case-01", folder) == folder / "image.nrrd"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["image.nrrd"]


@pytest.mark.parametrize(
    "reply",
    [
        {"state": "training", "progress": "half"},
        {"progress": 0.5},
        {"state": "idle", "progress": float("nan")},
        [],
    ],
)
def test_malformed_json_is_refused_by_field(client: SiteClient, peer: SitePeer, reply: Any) -> None:
    peer.replies[("GET", "/learning")] = lambda handler: handler.send_json(reply)
    with pytest.raises(ProtocolError):
        client.learning()


def test_a_silent_server_times_out_in_words(peer: SitePeer) -> None:
    peer.hold("GET", "/info/")
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"silent for 0\.3 s"):
        client_of(peer.url, timeouts=QUICK).info()
    assert time.monotonic() - started < 5


def test_cancel_ends_a_blocked_read_at_once(client: SiteClient, peer: SitePeer) -> None:
    peer.hold("GET", "/info/")
    switch = CancelSwitch()
    ended: list[Exception] = []

    def ask() -> None:
        try:
            client.info(switch)
        except FedSegError as error:
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    peer.wait_for("GET", "/info/")
    started = time.monotonic()
    switch.cancel()
    thread.join(10)
    assert isinstance(ended[0], Cancelled)
    assert time.monotonic() - started < 2
    peer.gates.pop(("GET", "/info/")).set()
    assert client.info().site == "north"  # the client is as good as before


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match=f"Nothing answers at http://127.0.0.1:{port}"):
        client_of(f"http://127.0.0.1:{port}").info()


def test_another_kind_of_server(peer: SitePeer) -> None:
    peer.refuse("GET", "/info/", 404)
    with pytest.raises(ProtocolError, match="not a MONAI Label server"):
        client_of(peer.url).info()


def test_a_self_signed_server_is_refused_until_its_ca_is_chosen(certificate: tuple[Path, Path]) -> None:
    with SitePeer(tls=certificate) as peer:
        with pytest.raises(TlsRefused, match="signed by itself") as caught:
            client_of(peer.url).info()
        assert "CA file" in caught.value.hint
        assert peer.received == []
        assert client_of(peer.url, ca_file=certificate[0]).info().site == "north"


def test_a_certificate_for_another_name_is_refused(certificate: tuple[Path, Path]) -> None:
    with SitePeer(tls=certificate) as peer:
        url = peer.url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises((TlsRefused, Unreachable)):
            client_of(url, ca_file=certificate[0]).info()
        assert peer.received == []


def test_tls_to_a_plain_server_says_so(peer: SitePeer) -> None:
    with pytest.raises(TlsRefused, match="does not speak TLS"):
        client_of(peer.url.replace("http:", "https:")).info()


def test_a_missing_ca_file_says_so(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with SitePeer(tls=certificate) as peer, pytest.raises(TlsRefused, match="CA file cannot be read"):
        client_of(peer.url, ca_file=tmp_path / "none.pem").info()


def test_learning_and_rounds(client: SiteClient, peer: SitePeer) -> None:
    assert client.learning().state == "idle"
    started = client.start_learning("unet")
    assert (started.state, started.progress, started.seconds_left) == ("training", 0.35, 95.0)
    client.stop_learning()
    assert client.learning().state == "cancelled"
    assert client.federation().newest is None
    run = client.start_round(rounds=2)
    assert json.loads(peer.wait_for("POST", "/federation/rounds")[0].body) == {"rounds": 2}
    status = client.round(run)
    assert status.running
    assert [(s.name, s.state, s.dice, s.promoted) for s in status.sites] == [
        ("north", "training", 0.71, True),
        ("south", "aggregated", 0.66, False),
        ("west", "failed", None, None),
    ]
    assert status.history[0].dice == (("north", 0.68), ("south", 0.66), ("west", 0.59))
    client.stop_round(run)
    assert client.round(run).state == "stopped"
