"""Exchanges through the hub: two sites in one process over a relay that loses frames, and real ones over FLARE."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from line import Receiver, visit_of
from running import read_json, until
from running_peers import RunningPeers

from fed_backend.flare.kit import Kit
from fed_backend.flare.messages import Message
from fed_backend.gossip import relay
from fed_backend.gossip.exchange import Outcome, carry
from fed_backend.gossip.peers import Peer, PeerList, save_peers
from fed_backend.gossip.protocol import PeerUnreachable
from fed_backend.gossip.relay import Switchboard, Tunnel
from fed_backend.tensor_file import whole


class Post:
    """What carries messages between tunnels: ``loss`` of them get lost, there or back; ``shown`` forges senders."""

    def __init__(self) -> None:
        self.tunnels: dict[str, Tunnel] = {}
        self.frames: list[tuple[str, str, Message]] = []
        self.rng = random.Random(3)
        self.loss = 0.0
        self.shown: dict[str, str] = {}

    def ask(self, sender: str, member: str, message: Message) -> dict[str, Any] | None:
        self.frames.append((sender, member, message))
        if self.rng.random() < self.loss or member not in self.tunnels:
            return None
        answer = self.tunnels[member].receive(self.shown.get(sender, sender), message)
        return None if self.rng.random() < self.loss else answer


@pytest.fixture
def south(kits: dict[str, Kit], tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(kits["south"], tmp_path / "inbox", {"north"})
    yield receiver
    receiver.stop()


@pytest.fixture
def post(south: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    """North and south with a tunnel each."""
    monkeypatch.setattr(relay, "_TRY_AGAIN_S", 0.01)
    carrying = Post()
    for name in ("north", "south"):
        carrying.tunnels[name] = Tunnel(
            lambda member, message, name=name: carrying.ask(name, member, message),
            lambda: ("127.0.0.1", south.gateway.port),
            lambda sender: sender in south.listed,
        )
    yield carrying
    for tunnel in carrying.tunnels.values():
        tunnel.stop()


def sent(south: Receiver, kit: Kit, port: int, number: int = 0) -> Outcome:
    with south.client(kit, port=port) as client:
        return carry(client, number, visit_of("north", number), 30, stopped=lambda s: bool(time.sleep(s / 10)))


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_visit_goes_through_the_relay_and_stays_sealed(
    kits: dict[str, Kit], south: Receiver, post: Post, loss: float
) -> None:
    post.loss = loss
    outcome = sent(south, kits["north"], post.tunnels["north"].port("south"))
    assert outcome.arrived, outcome
    assert len(south.delivered) == 1
    carried = b"".join(message.body for sender, _, message in post.frames if sender == "north")
    assert len(carried) > len(visit_of("north", 0))
    assert b"fedseg" not in carried, "the relay sees ciphertext only"


def carried(post: Post) -> list[bytes]:
    """Bodies of the frames that north sent."""
    return [whole(message.body) for sender, _, message in post.frames if sender == "north" and message.body]


@pytest.fixture
def heard() -> Iterator[tuple[int, bytearray]]:
    """A port, and what is said there; unlike a gateway it hears everything, TLS or not."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def listen() -> None:
            line, _ = door.accept()
            with line:
                while data := line.recv(2**16):
                    heard.extend(data)

        threading.Thread(target=listen, daemon=True).start()
        yield door.getsockname()[1], heard


def test_what_comes_while_a_frame_is_on_its_way_makes_one_more(post: Post, heard: tuple[int, bytearray]) -> None:
    """Each frame waits for its answer: many small ones would make a long way of a short one."""
    port, arrived = heard
    post.tunnels["south"] = Tunnel(lambda *_: {"ok": True}, lambda: ("127.0.0.1", port), lambda _: True)
    said, on_its_way, go_on = bytes(range(256)) * 2**13, threading.Event(), threading.Event()
    ask = post.ask

    def slowly(sender: str, member: str, message: Message) -> dict[str, Any] | None:
        if sender == "north":
            on_its_way.set()
            assert go_on.wait(10)
        return ask(sender, member, message)

    post.ask = slowly  # type: ignore[method-assign]
    with socket.create_connection(("127.0.0.1", post.tunnels["north"].port("south")), timeout=10) as line:
        line.sendall(b"first")
        assert on_its_way.wait(10)
        line.sendall(said)  # more than lies in a socket
        go_on.set()
        until("all of it", lambda: len(arrived) >= len(b"first" + said), 10)
    assert bytes(arrived) == b"first" + said
    assert len(carried(post)) <= 4


def test_the_relay_cannot_pretend_to_be_the_peer(kits: dict[str, Kit], south: Receiver, post: Post) -> None:
    """The relay leads north, who means west, to south."""
    post.tunnels["west"], post.shown["south"] = post.tunnels["south"], "west"
    port = post.tunnels["north"].port("west")
    with (
        south.client(kits["north"], name="west", port=port) as client,
        pytest.raises(PeerUnreachable, match="is not 'west'"),
    ):
        client.hello()


def test_who_is_no_peer_opens_no_stream_and_odd_frames_end_one(
    kits: dict[str, Kit], south: Receiver, post: Post
) -> None:
    tunnel = post.tunnels["south"]
    hello = {"stream": "a", "role": "caller", "frame": 0, "end": False}
    assert not tunnel.receive("stranger", Message("tunnel", hello, b"x"))["ok"]
    assert tunnel.receive("north", Message("tunnel", hello, b"x"))["ok"]
    assert tunnel.receive("north", Message("tunnel", hello, b"x"))["ok"], "a repeat counts once"
    assert not tunnel.receive("north", Message("tunnel", {**hello, "frame": 2}, b"x"))["ok"], "one is missing"
    assert not tunnel.receive("south", Message("tunnel", {**hello, "frame": 1}, b"x"))["ok"], "not this site's stream"
    for odd in ({}, {"stream": 5, "frame": 0}, {"stream": "b", "frame": "0"}, {**hello, "stream": "b" * 40}):
        assert not tunnel.receive("north", Message("tunnel", odd, b"x"))["ok"]
    assert not tunnel.receive("north", Message("beat", hello))["ok"]


def test_a_hub_of_peers_only_knows_who_is_there() -> None:
    now = [0.0]
    board = Switchboard("a" * 64, ["north", "south"], clock=lambda: now[0])
    assert board.receive("north", Message("beat", {"plan_sha256": "a" * 64})) == {"ok": True, "gone": False}
    assert not board.receive("south", Message("beat", {"plan_sha256": "b" * 64}))["ok"]
    assert not board.receive("west", Message("beat", {"plan_sha256": "a" * 64}))["ok"]
    assert not board.receive("north", Message("request", {"action": "start"}))["ok"]
    assert board.living() == ["north"]
    now[0] = 60.0
    assert board.living() == []
    board.draining = True
    board.tick()
    assert board.drained


@pytest.mark.slow
def test_sites_that_only_dial_out_exchange_through_a_real_hub(tmp_path: Path) -> None:
    federation = RunningPeers(tmp_path, ["north", "south"])
    try:
        for site, other in (("north", "south"), ("south", "north")):
            save_peers(federation.kit(site), PeerList(relay=True, peers=(Peer(name=other),)))
            federation.start_peer(site)
        federation.start_hub()
        for site in federation.sites:
            federation.start_courier(site)
        for site in federation.sites:
            until(f"{site} is ready", lambda site=site: read_json(federation.ready_file(site)), 60)
        until("they see each other", lambda: federation.sees("north") == {"south"}, 90)
        run, verdict = federation.ask("north", rounds=2)
        assert verdict["status"] == 202, verdict
        status = federation.ended("north", run)
        assert status["state"] == "finished", status
        assert federation.site("south")["visits"] == [["north", 0], ["north", 1]]
    finally:
        federation.stop_all()
