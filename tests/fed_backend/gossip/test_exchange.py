"""A sender and a line that breaks: the visit arrives once, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from line import CutLine, Receiver, SlowPeer, visit_of

from fed_backend.flare.kit import Kit
from fed_backend.gossip import client as gossip_client
from fed_backend.gossip import exchange
from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.exchange import Outcome, carry
from fed_backend.gossip.peers import Peer
from fed_backend.gossip.protocol import PeerBusy, PeerUnreachable, VisitState


@pytest.fixture
def south(kits: dict[str, Kit], tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(kits["south"], tmp_path / "inbox", {"north"})
    yield receiver
    receiver.stop()


def sent(south: Receiver, kit: Kit, number: int, *, port: int = 0, deadline_s: float = 20, **options: Any) -> Outcome:
    options.setdefault("stopped", lambda seconds: bool(time.sleep(seconds / 10)))
    with south.client(kit, port=port) as client:
        return carry(client, number, visit_of("north", number), deadline_s, **options)


@pytest.mark.parametrize("cuts", [[0], [300], [1500], [3000], [6000], [9000], [10_500], [700, 3000, 8000]])
def test_a_line_that_breaks_anywhere_is_mended(kits: dict[str, Kit], south: Receiver, cuts: list[int]) -> None:
    line = CutLine(south.gateway.port, cuts)
    try:
        outcome = sent(south, kits["north"], 0, port=line.port)
    finally:
        line.stop()
    assert outcome.arrived, outcome
    assert outcome.report["chosen"] == "mean"
    assert len(south.delivered) == 1, "and was let in once"
    assert line.connections >= len(cuts)
    assert south.left == []


def test_a_receiver_that_is_not_there_is_given_up_soon(
    kits: dict[str, Kit], south: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PATIENCE_S", 0.5)
    south.gateway.stop()
    outcome = sent(south, kits["north"], 0)
    assert (outcome.arrived, outcome.unreachable) == (False, True)
    assert "'south' cannot be reached" in outcome.reason


def test_a_receiver_that_restarts_is_sent_the_same_visit_again(kits: dict[str, Kit], tmp_path: Path) -> None:
    """Its courier dies while its site learns; the new one knows nothing, and the site answers the repeat."""
    first = Receiver(kits["south"], tmp_path / "first", {"north"})
    first.go_on.clear()
    line = CutLine(first.gateway.port, [])
    found: list[Outcome] = []
    sender = threading.Thread(target=lambda: found.append(sent(first, kits["north"], 3, port=line.port)))
    sender.start()
    assert first.at_work.wait(10)
    second = Receiver(kits["south"], tmp_path / "second", {"north"})
    try:
        line._to = second.gateway.port
        first.gateway.stop()
        sender.join(20)
        assert found
        assert found[0].arrived, found
        assert found[0].bytes_sent == 2 * len(visit_of("north", 3))
        assert len(second.delivered) == 1
    finally:
        line.stop()
        first.stop()
        second.stop()


def test_an_exchange_can_be_stopped_and_has_a_deadline(kits: dict[str, Kit], south: Receiver) -> None:
    south.go_on.clear()
    stop = threading.Event()
    stages: list[str] = []

    def staged(stage: str) -> None:
        stages.append(stage)
        if stage == "learning":
            stop.set()

    outcome = sent(south, kits["north"], 0, stopped=stop.wait, on_stage=staged)
    assert (outcome.arrived, outcome.reason) == (False, "stopped")
    assert stages[0] == "sending"
    late = sent(south, kits["north"], 0, deadline_s=0.3)
    assert (late.arrived, late.reason) == (False, "no outcome within 0.3 s")


SLOW: dict[str, int] = {"takes": 20_000_000, "head": 100, "body": 100}
"""What a peer is slow in -> bytes of a visit that make it so."""


@pytest.fixture(params=SLOW)
def slow(kits: dict[str, Kit], request: pytest.FixtureRequest) -> Iterator[PeerClient]:
    """The line to a peer that never stands still, and never comes to an end."""
    peer = SlowPeer(kits["south"], request.param)
    client = PeerClient(kits["north"], Peer(name="south", host="127.0.0.1", port=peer.port))
    yield client
    client.close()
    peer.stop()


def soon(call: Callable[[], Outcome]) -> Outcome:
    """What an exchange comes to, which it must within a few seconds."""
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(4)
    assert found, "it still goes on"
    return found[0]


@pytest.fixture
def data(slow: PeerClient, request: pytest.FixtureRequest) -> bytes:
    return bytes(SLOW[request.node.callspec.params["slow"]])


def test_the_deadline_and_nothing_before_ends_a_call_that_is_slow_and_alive(
    slow: PeerClient, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip_client, "CONNECT_S", 0.5)  # which says nothing about a large payload
    late = soon(lambda: carry(slow, 0, data, 2.0, stopped=lambda seconds: bool(time.sleep(seconds))))
    assert (late.arrived, late.unreachable, late.reason) == (False, False, "no outcome within 2 s")
    assert late.bytes_sent == len(data), "it was sent once"


def test_a_stop_ends_a_call_that_is_slow_and_alive(
    slow: PeerClient, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PATIENCE_S", 0.1)  # the peer is not blamed, however long it took
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    ended = soon(lambda: carry(slow, 0, data, 600, stopped=stop.wait))
    assert (ended.arrived, ended.unreachable, ended.reason) == (False, False, "stopped")


@pytest.mark.parametrize("slow", ["head", "body"], indirect=True)
def test_a_greeting_has_an_end_too(slow: PeerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip_client, "_HELLO_S", 0.5)
    begun = time.monotonic()
    with pytest.raises(PeerUnreachable, match="'south' does not answer in time"):
        slow.hello()
    assert time.monotonic() - begun < 5


def test_a_busy_receiver_is_asked_again_when_it_said(kits: dict[str, Kit]) -> None:
    waited: list[float] = []

    class Busy:
        """A receiver that is busy twice."""

        def __init__(self) -> None:
            self.calls = 0

        def send(self, number: int, data: bytes, over: Callable[[], bool]) -> VisitState:
            self.calls += 1
            if self.calls < 3:
                raise PeerBusy("the queue of visits is full", 40.0)
            return VisitState(state="done", report={"reason": "not worse"})

        def state(self, number: int, wait_s: float, over: Callable[[], bool]) -> VisitState | None:
            raise AssertionError("it was done at once")

    outcome = carry(Busy(), 0, b"x", 1000, stopped=lambda seconds: bool(waited.append(seconds)))
    assert (outcome.arrived, outcome.reason) == (True, "not worse")
    assert len(waited) == 2
    assert all(30 <= seconds <= 50 for seconds in waited), "spread around what it asked for"
    hopeless = carry(Busy(), 0, b"x", 20, stopped=lambda seconds: False)
    assert (hopeless.arrived, hopeless.reason) == (False, "the queue of visits is full")


def test_nothing_is_waited_for_between_sending_and_asking(kits: dict[str, Kit], south: Receiver) -> None:
    waited: list[float] = []
    outcome = sent(south, kits["north"], 0, stopped=lambda seconds: bool(waited.append(seconds)))
    assert outcome.arrived, outcome
    assert sum(waited) == 0


def test_replies_are_not_held_back(kits: dict[str, Kit], south: Receiver) -> None:
    """A reply is two writes; where the second waits for the first to be acknowledged, each takes 40 ms."""
    with south.client(kits["north"]) as client:
        client.hello()
        spent = []
        for _ in range(30):
            began = time.perf_counter()
            client.hello()
            spent.append(time.perf_counter() - began)
    assert min(spent) < 0.035, spent
