"""A courier between a real coordinator and a real HTTP site, without FLARE between them."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import plan
from in_process import in_memory
from running import until
from site_peer import Handler, Peer

from fed_backend.errors import FederationError
from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.coordinator import Coordinator
from fed_backend.flare.exchange import Timing
from fed_backend.flare.messages import Message
from fed_backend.flare.session import CourierSession
from fed_backend.flare.site_client import SiteClient, SiteRefused, SiteUnreachable, token_reader
from fed_backend.payload import decode
from fed_backend.plan import Plan, save_plan
from fed_backend.tensor_file import digest, size

PLAN = plan(quorum=1, round_deadline_s=30)


class Hub:
    """Coordinator with a ticking thread; ``deaf`` lets it answer nobody, as a hub whose job died.

    ``files``: a folder through which bodies reach the courier as files, as large ones do.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = threading.Lock()
        self.session: CourierSession | None = None
        self.deaf = False
        self.files: Path | None = None
        self.trainings: list[Message] = []
        self.asked = 0
        timing = Timing(repeat_s=1.5)
        self.coordinator = Coordinator(PLAN, ["north"], self, CheckpointStore(folder), timing=timing)
        self.stopped = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self.stopped.wait(0.05):
            with self.lock:
                self.coordinator.tick()

    def post(self, site: str, message: Message) -> None:
        if message.topic == "train":
            self.trainings.append(message)
        if self.session and not self.deaf:
            self.session.receive(self._arrived(message))

    def _arrived(self, message: Message) -> Message:
        if self.files is None or not isinstance(message.body, Path):
            return in_memory(message)
        path = self.files / f"{len(list(self.files.iterdir()))}.{message.topic}"
        shutil.copy(message.body, path)
        path.with_suffix(".came").touch()  # the file itself is taken away
        return replace(message, body=path, sha256=digest(path))

    def ask(self, message: Message) -> dict[str, Any] | None:
        self.asked += 1
        if self.deaf:
            return None
        with self.lock:
            return self.coordinator.receive("north", in_memory(message))


class SiteServer:
    """The site's HTTP server in a thread; may be stopped and started again on the same port."""

    def __init__(self, folder: Path, held: Plan = PLAN) -> None:
        folder.mkdir()
        save_plan(held, folder / "plan.json")
        (folder / "courier.token").write_text("secret")
        (folder / "settings.json").write_text(json.dumps({"name": "north", "add": 1.0, "examples": 2}))
        self.peer = Peer(folder)
        self.port = 0
        self.start()

    def start(self, handler: type[BaseHTTPRequestHandler] = Handler) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.server.peer = self.peer  # type: ignore[attr-defined]
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def client(self, max_bytes: int = 10**6) -> SiteClient:
        return SiteClient(f"http://127.0.0.1:{self.port}", token_reader(self.peer.folder / "courier.token"), max_bytes)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SiteServer]:
    server = SiteServer(tmp_path / "site")
    yield server
    server.stop()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    running = Hub(tmp_path / "hub")
    yield running
    running.stopped.set()


@pytest.fixture
def ready(site: SiteServer, hub: Hub, tmp_path: Path) -> Iterator[threading.Event]:
    came = threading.Event()
    session = CourierSession(site.client(), hub, PLAN.sha256, came.set, tmp_path / "tasks")
    hub.session = session
    session.start()
    yield came
    session.stop()


def request(site: SiteServer, run: str, **fields: Any) -> None:
    site.peer.request({"id": run, "action": "start", "method": None, "rounds": 1, **fields})


def finished(site: SiteServer, run: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        status: dict[str, Any] = site.peer.statuses.get(run) or {}
        return status if status.get("state") in {"finished", "failed"} else None

    return until(f"end of {run}", ended, 20)


def test_an_annotators_request_becomes_a_round(site: SiteServer, ready: threading.Event) -> None:
    assert ready.wait(10)
    request(site, "run1", rounds=2)
    verdict = until("verdict", lambda: site.peer.verdicts.get("run1"), 10)
    assert verdict["status"] == 202
    status = finished(site, "run1")
    assert status["state"] == "finished"
    assert status["history"][1]["sites"]["north"]["promoted"] is True
    offer = decode((site.peer.folder / "offer-run1-1.safetensors").read_bytes())[1]
    np.testing.assert_array_equal(offer["conv.weight"], np.full((2, 3), 2.0))


@pytest.fixture
def files(hub: Hub, tmp_path: Path) -> None:
    hub.files = tmp_path / "incoming"
    hub.files.mkdir()


def whole_start(message: Message) -> bool:
    return isinstance(message.body, Path) and "rest_of" not in message.fields


@pytest.mark.usefixtures("files")
def test_what_a_site_was_offered_is_not_sent_to_it_again(site: SiteServer, hub: Hub, ready: threading.Event) -> None:
    assert ready.wait(10)
    for run in ("run1", "run2"):
        request(site, run, rounds=2)
        status = finished(site, run)
        assert status["state"] == "finished", status  # an update from other bytes than the hub's would be refused
    assert [whole_start(message) for message in hub.trainings] == [True, False, False, False]
    offered = (site.peer.folder / "offer-run2-1.safetensors").read_bytes()
    assert status["history"][1]["bytes_down"] == size(hub.trainings[-1].body) + len(offered), "what was sent counts"
    offer = decode(offered)[1]
    np.testing.assert_array_equal(offer["conv.weight"], np.full((2, 3), 4.0))


def lost(path: Path) -> None:
    path.unlink()


def spoilt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("harm", [lost, spoilt])
def test_what_a_courier_lost_is_sent_again(
    site: SiteServer, hub: Hub, ready: threading.Event, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    assert ready.wait(10)
    request(site, "run1")
    assert finished(site, "run1")["state"] == "finished"
    (held,) = (tmp_path / "tasks").glob("*.offer")
    harm(held)
    request(site, "run2")
    assert finished(site, "run2")["state"] == "finished"
    sent = [whole_start(message) for message in hub.trainings]
    assert (sent[0], any(sent[1:-1]), sent[-1]) == (True, False, True), "whole again once a beat said that it is gone"
    assert len(list((tmp_path / "tasks").iterdir())) == 1, "nothing but the last offer is kept"


def test_a_site_that_restarts_is_asked_again(site: SiteServer, ready: threading.Event) -> None:
    assert ready.wait(10)
    request(site, "run1")
    until("verdict", lambda: site.peer.verdicts.get("run1"), 10)
    site.stop()
    threading.Timer(1.5, site.start).start()
    assert finished(site, "run1")["state"] == "finished"


def test_a_request_waits_for_a_hub_that_comes_back(site: SiteServer, hub: Hub, ready: threading.Event) -> None:
    assert ready.wait(10)
    hub.deaf = True
    request(site, "run1")
    threading.Timer(1.5, lambda: setattr(hub, "deaf", False)).start()
    assert until("verdict", lambda: site.peer.verdicts.get("run1"), 15)["status"] == 202
    assert finished(site, "run1")["state"] == "finished"


def test_a_courier_without_a_hub_leaves_requests_alone(tmp_path: Path, site: SiteServer, hub: Hub) -> None:
    hub.deaf = True
    session = CourierSession(site.client(), hub, PLAN.sha256, lambda: None, tmp_path / "tasks")
    hub.session = session
    request(site, "run1")
    session.start()
    try:
        until("some beats", lambda: hub.asked >= 3, 10)
        assert not site.peer.handed_out
        hub.deaf = False
        assert until("verdict", lambda: site.peer.verdicts.get("run1"), 10)["status"] == 202
    finally:
        session.stop()


def test_a_drained_hub_ends_the_session(site: SiteServer, hub: Hub, ready: threading.Event) -> None:
    assert ready.wait(10)
    with hub.lock:
        hub.coordinator.draining = True
    until("the session has ended", lambda: hub.session is not None and hub.session._stop.is_set(), 10)
    request(site, "run1")
    assert "run1" not in site.peer.verdicts, "left for the session of the next job"


def test_a_site_with_another_plan_is_told_so(tmp_path: Path, hub: Hub) -> None:
    site = SiteServer(tmp_path / "other", plan(name="another"))
    session = CourierSession(site.client(), hub, PLAN.sha256, lambda: None, tmp_path / "tasks")
    hub.session = session
    session.start()
    try:
        request(site, "run1")
        verdict = until("verdict", lambda: site.peer.verdicts.get("run1"), 10)
        assert verdict["status"] == 409
        assert "different plans" in verdict["detail"]
    finally:
        session.stop()
        site.stop()


# --- the client alone ----------------------------------------------------------------------


def test_a_wrong_token_is_told(site: SiteServer) -> None:
    (site.peer.folder / "courier.token").write_text("guess")
    with pytest.raises(SiteRefused, match="token"):
        site.client().progress()
    shutil.move(site.peer.folder / "courier.token", site.peer.folder / "elsewhere")
    with pytest.raises(SiteUnreachable, match="token file"):
        site.client().progress()


def _answering(status: int, body: bytes, **headers: str) -> type[BaseHTTPRequestHandler]:
    class Odd(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Silent."""

        def _answer(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

    return Odd


@pytest.mark.parametrize(
    ("status", "body", "headers", "word"),
    [
        (200, b"<html>", {}, "no JSON"),
        (200, b"[1]", {}, "no object"),
        (500, b"Traceback: /srv/secret/path", {}, "with 500"),
        (422, b'{"detail": "tensor \'x\' holds NaN", "hint": "lower the rate"}', {}, "tensor 'x' holds NaN"),
        (302, b"", {"Location": "http://127.0.0.1:9/"}, "with 302"),
    ],
)
def test_odd_answers_are_plain_errors(
    site: SiteServer, status: int, body: bytes, headers: dict[str, str], word: str
) -> None:
    site.stop()
    site.start(_answering(status, body, **headers))
    with pytest.raises(SiteRefused, match=word) as caught:
        site.client().offer(b"payload", 5)
    assert "/srv" not in str(caught.value)


def test_a_site_that_is_stopping_is_asked_again_and_its_words_are_kept(site: SiteServer, tmp_path: Path) -> None:
    site.stop()
    site.start(_answering(503, b'{"detail": "the site is stopping", "hint": "ask again once it runs"}'))
    with pytest.raises(SiteUnreachable, match="the site is stopping"):
        site.client().train(b"payload", 5, tmp_path / "update")


def test_an_endless_update_is_not_read_to_its_end(site: SiteServer, tmp_path: Path) -> None:
    site.stop()
    site.start(_answering(200, b"x" * 50_000))
    with pytest.raises(FederationError, match="larger than the plan's 1000 bytes"):
        site.client(max_bytes=1000).train(b"payload", 5, tmp_path / "update")
