"""What a peer's gateway lets in over real TLS, and what it refuses; refused means: nothing has changed."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from line import PLAN, Receiver, answer, holding, put, visit_of
from running import until

from fed_backend.flare.kit import Kit
from fed_backend.gossip import gateway, protocol
from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.protocol import PeerBusy, PeerRefused, PeerUnreachable

OTHER = PLAN.model_copy(update={"rounds": 9})


@pytest.fixture
def south(kits: dict[str, Kit], tmp_path: Path) -> Iterator[Receiver]:
    """A site that knows north and west as peers."""
    receiver = Receiver(kits["South_2"], tmp_path / "inbox", {"north", "west"})
    yield receiver
    receiver.stop()


def done(south: Receiver, kit: Kit, number: int, data: bytes) -> protocol.VisitState:
    """Send a visit and wait for its outcome."""
    with south.client(kit) as client:
        until("its turn", lambda: _taken(client, number, data), 20)
        return until("the outcome", lambda: (s := client.state(number, 5)) and s.over and s, 20)


def _taken(client: PeerClient, number: int, data: bytes) -> bool:
    try:
        client.send(number, data)
    except PeerBusy:  # what is left of an earlier transfer has not been swept away yet
        return False
    return True


def untouched(south: Receiver) -> bool:
    return not south.delivered and not south.left


def test_a_visit_is_let_in_once_however_often_it_is_sent(kits: dict[str, Kit], south: Receiver) -> None:
    data = visit_of("north", 4)
    first = done(south, kits["north"], 4, data)
    assert (first.state, first.report["visit"]) == ("done", 1)
    with south.client(kits["north"]) as again:
        assert again.send(4, data) == first
        assert again.state(5, 0) is None, "nothing is known of a visit that never came"
        assert again.hello().examples == 7
    assert len(south.delivered) == 1
    assert south.left == [], "the visitor's bytes are gone"
    assert done(south, kits["north"], 5, visit_of("north", 5)).report["visit"] == 2
    assert done(south, kits["west"], 0, visit_of("west", 0)).report["visit"] == 3, "every sender counts for itself"


def test_other_bytes_under_a_number_and_earlier_numbers_are_refused(kits: dict[str, Kit], south: Receiver) -> None:
    done(south, kits["north"], 4, visit_of("north", 4))
    with south.client(kits["north"]) as client:
        with pytest.raises(PeerRefused, match="visit 4 of 'north' had other bytes"):
            client.send(4, visit_of("north", 4, seed=1))
        with pytest.raises(PeerRefused, match="visit 3 of 'north' comes after its visit 4"):
            client.send(3, visit_of("north", 3))
    assert len(south.delivered) == 1


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_a_certificate_of_the_federation_nobody_is_heard(
    kits: dict[str, Kit], south: Receiver, who: str
) -> None:
    heard = b""
    try:
        with south.raw(kits.get(who)) as line:
            line.sendall(put(0, visit_of("north", 0)))
            heard = line.recv(1)
    except OSError:  # an alert, or a reset
        pass
    assert heard == b"", "closed without a word"
    assert untouched(south)


def test_a_client_is_told_that_its_certificate_is_refused(
    kits: dict[str, Kit], south: Receiver, tmp_path: Path
) -> None:
    foreign = holding(kits["stranger"], PLAN)
    with south.client(foreign) as client, pytest.raises(PeerUnreachable, match="is not 'South_2' of this federation"):
        client.hello()


def test_a_sender_speaks_only_to_the_peer_it_means(kits: dict[str, Kit], south: Receiver) -> None:
    with south.client(kits["north"], name="west") as client, pytest.raises(PeerUnreachable, match="is not 'west' of"):
        client.send(0, visit_of("north", 0))
    assert untouched(south)


def test_a_member_that_is_no_peer_is_refused_and_one_that_was_removed(kits: dict[str, Kit], south: Receiver) -> None:
    south.listed = {"west"}
    with south.client(kits["north"]) as client:
        with pytest.raises(PeerRefused, match="'north' is no peer of this site"):
            client.send(0, visit_of("north", 0))
        with pytest.raises(PeerRefused, match="no peer"):
            client.hello()
    assert untouched(south)


def test_a_member_cannot_visit_in_anothers_name(kits: dict[str, Kit], south: Receiver) -> None:
    with (
        south.client(kits["west"]) as client,
        pytest.raises(PeerRefused, match="has site 'north', and it came from 'west'"),
    ):
        client.send(0, visit_of("north", 0))
    assert untouched(south)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (visit_of("north", 1), "has number '1'"),
        (visit_of("north", 0, kind="aggregate"), "has kind 'aggregate'"),
        (visit_of("north", 0, method="fedavg"), "has method 'fedavg'"),
        (visit_of("north", 0, plan_sha256="0" * 64), "has plan '000"),
        (b"", "too short"),
        (b"\xff" * 100, "announces a header"),
        (b"\x02" + b"\0" * 7 + b"{}", "no fedseg header"),
        (visit_of("north", 0)[:40], "announces a header"),
    ],
)
def test_what_is_no_visit_of_this_sender_is_refused_in_words(
    kits: dict[str, Kit], south: Receiver, data: bytes, words: str
) -> None:
    with south.client(kits["north"]) as client, pytest.raises(PeerRefused, match=words):
        client.send(0, data)
    assert untouched(south)
    assert done(south, kits["north"], 0, visit_of("north", 0)).state == "done", "and the number is not used up"


def test_what_only_the_site_sees_is_refused_with_its_words(kits: dict[str, Kit], south: Receiver) -> None:
    poisoned = visit_of("north", 0, base_sha256="0" * 64)
    outcome = done(south, kits["north"], 0, poisoned)
    assert outcome.state == "refused"
    assert "has base 000" in outcome.detail
    assert untouched(south)


def test_another_plan_is_refused_at_both_ends(kits: dict[str, Kit], south: Receiver) -> None:
    with south.client(holding(kits["north"], OTHER)) as client, pytest.raises(PeerRefused, match="holds plan"):
        client.send(0, visit_of("north", 0, of=OTHER))
    assert untouched(south)
    with south.raw(kits["north"]) as line:  # past the sender's own check of the reply
        line.sendall(put(0, visit_of("north", 0, of=OTHER), of=OTHER))
        status, said = answer(line)
        assert (status, said["detail"][:20]) == (409, "the peer holds plan ")
        assert OTHER.sha256[:12] in said["detail"]


def test_another_protocol_is_refused_at_both_ends(
    kits: dict[str, Kit], south: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("2", ""):
        with south.raw(kits["north"]) as line:
            line.sendall(put(0, visit_of("north", 0), Fedseg_Gossip=version))
            status, said = answer(line)
            assert status == 426
            assert "this site speaks '1'" in said["detail"]
    monkeypatch.setattr(protocol, "PROTOCOL_VERSION", "2")  # what a later release would say, on its side
    with south.client(kits["north"]) as client, pytest.raises(PeerRefused, match="speaks gossip protocol '1'"):
        client.hello()
    assert untouched(south)


def test_lengths_that_lie_are_refused_unread(kits: dict[str, Kit], south: Receiver) -> None:
    data = visit_of("north", 0)
    with south.raw(kits["north"]) as line:
        line.sendall(put(0, data, Content_Length="200001"))
        status, said = answer(line)
        assert (status, said["detail"]) == (413, "the visit has 200001 bytes; the plan allows 200000")
    with south.raw(kits["north"]) as line:
        line.sendall(put(0, b"", Content_Length="", Transfer_Encoding="chunked"))
        assert answer(line)[0] == 411
    with south.raw(kits["north"]) as line:
        line.sendall(put(0, data, Fedseg_Sha256="0" * 64))
        status, said = answer(line)
        assert (status, said["detail"]) == (422, f"the visit's {len(data)} bytes are not those that were announced")
    with south.raw(kits["north"]) as line:
        line.sendall(put(0, data[:-1] + bytes([data[-1] ^ 1]), Fedseg_Sha256=""))
        assert answer(line)[0] == 422
    assert untouched(south)


@pytest.mark.parametrize("number", ["-1", "x", "1.0", "9" * 16, "9" * 400, "%2e%2e%2fpasswd", "٣"])
def test_numbers_that_are_none_are_refused(kits: dict[str, Kit], south: Receiver, number: str) -> None:
    request = put(0, visit_of("north", 0)).replace(b"/visits/0", f"/visits/{number}".encode(), 1)
    with south.raw(kits["north"]) as line:
        line.sendall(request)
        assert answer(line)[0] in (400, 404, 422)
    assert untouched(south)


REQUEST = put(0, visit_of("north", 0))
BODY = len(REQUEST) - len(visit_of("north", 0))


@pytest.mark.parametrize(
    "kept", [0, 1, 30, BODY - 1, BODY, BODY + 1, BODY + 8, BODY + 200, BODY + 5000, len(REQUEST) - 1]
)
def test_a_visit_cut_at_any_byte_leaves_nothing_and_can_be_sent_again(
    kits: dict[str, Kit], south: Receiver, kept: int
) -> None:
    with south.raw(kits["north"]) as line:
        line.sendall(REQUEST[:kept])
    assert done(south, kits["north"], 0, visit_of("north", 0)).state == "done"
    assert len(south.delivered) == 1
    until("the rest is swept away", lambda: not south.left, 10)


def test_a_peer_that_stalls_loses_its_place(
    kits: dict[str, Kit], south: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_STALL_S", 0.2)
    with south.raw(kits["north"]) as line:
        line.sendall(REQUEST[: BODY + 100])
        status, said = answer(line)
        assert (status, said["detail"]) == (408, "nothing came for 0.2 s")
    assert untouched(south)
    assert done(south, kits["north"], 0, visit_of("north", 0)).state == "done"


def test_a_visit_that_drips_in_loses_its_place_when_its_time_is_over(kits: dict[str, Kit], tmp_path: Path) -> None:
    settings = PLAN.method.model_copy(update={"settings": {"deadline_s": 1}})
    of = PLAN.model_copy(update={"method": settings})
    south = Receiver(holding(kits["South_2"], of), tmp_path / "inbox", {"north"})
    try:
        data = visit_of("north", 0, of=of)
        for number in (0, 10**20):  # one that is taken in, and one whose body is read only to answer
            request = put(0, data, of=of).replace(b"/visits/0", f"/visits/{number}".encode(), 1)
            with south.raw(kits["north"]) as line:
                line.settimeout(0.1)
                line.sendall(request[: -len(data)])
                begun, status = time.monotonic(), 0
                for byte in data:
                    line.sendall(bytes([byte]))
                    with contextlib.suppress(TimeoutError):
                        status, said = answer(line)
                        break
            assert 0.9 < time.monotonic() - begun < 10
            assert (status, said["detail"]) in (
                (408, "not all came within 1 s"),
                (422, f"'{number}' is no number of a visit"),
            )
        assert untouched(south)
    finally:
        south.stop()


def test_a_full_disk_is_told_as_busy(kits: dict[str, Kit], south: Receiver) -> None:
    south.folder.rmdir()
    with south.client(kits["north"]) as client, pytest.raises(PeerBusy, match="cannot be stored") as full:
        client.send(0, visit_of("north", 0))
    assert full.value.retry_after_s == 60
    south.folder.mkdir()
    assert done(south, kits["north"], 0, visit_of("north", 0)).state == "done"


def test_a_full_queue_and_an_impatient_sender_are_asked_to_wait(kits: dict[str, Kit], tmp_path: Path) -> None:
    south = Receiver(kits["South_2"], tmp_path / "inbox", {"north", "west"}, most=1)
    try:
        south.go_on.clear()
        with south.client(kits["north"]) as north, south.client(kits["west"]) as west:
            assert north.send(0, visit_of("north", 0)).state == "waiting"
            assert south.at_work.wait(10)
            assert north.send(0, visit_of("north", 0)).state == "learning"
            with pytest.raises(PeerBusy, match="queue of visits is full") as full:
                west.send(0, visit_of("west", 0))
            assert full.value.retry_after_s == 5
            with pytest.raises(PeerBusy, match="a visit of 'north' is under way"):
                north.send(1, visit_of("north", 1))
            waited = threading.Timer(0.3, south.go_on.set)
            waited.start()
            state = north.state(0, 10)
            assert state is not None
            assert state.state == "done"
            assert west.send(0, visit_of("west", 0)).state in ("waiting", "learning", "done")
    finally:
        south.stop()


def test_noise_at_the_port_harms_nobody(kits: dict[str, Kit], south: Receiver) -> None:
    for noise in (b"\x16\x03\x01\x00\x00", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", south.gateway.port), timeout=10) as plain:
            plain.sendall(noise)
    with south.raw(kits["north"]) as line:
        line.sendall(b"\0" * 1000 + b"\r\n\r\n")
        assert answer(line)[0] == 400
    for path in ("/", "/federation", "/visits", "/visits/0/x", "/hello/x"):
        with south.raw(kits["north"]) as line:
            line.sendall(put(0, b"").replace(b"/visits/0", path.encode(), 1))
            assert answer(line)[0] in (404, 405)
    assert untouched(south)
    assert done(south, kits["north"], 0, visit_of("north", 0)).state == "done"
