"""The same exchange through the hub, for sites that may only dial out: TCP streams carried by FLARE's messages.

::

    courier ── loopback ── Tunnel ══ messages, relayed by the hub ══ Tunnel ── loopback ── gateway

Only the way differs: inside the stream runs the same TLS between the two couriers, so the hub sees
ciphertext, and cannot speak for a site. A stream is a sequence of numbered frames in each direction, one
at a time, each with all that came while the one before it was on its way; a frame that is repeated counts
once, and one that is missing ends the stream, which for the couriers is a line that broke.

Messages between sites: topic ``tunnel``; fields ``stream``, ``role`` of the sender (``caller`` or
``callee``), ``frame`` (from 0), ``end``; the body holds the bytes.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fed_backend.flare.messages import Message

__all__ = ["Ask", "Switchboard", "Tunnel"]

logger = logging.getLogger(__name__)

FRAME_BYTES = 4 * 2**20
_TRIES, _TRY_AGAIN_S = 3, 0.3
_STALL_S = 20.0
_MOST_STREAMS = 32
_ALIVE_S = 10.0


class Ask(Protocol):
    """The line to another member: its answer, or ``None`` if there is none in time."""

    def __call__(self, member: str, message: Message) -> dict[str, Any] | None: ...


class Switchboard:
    """The hub's half: it carries what sites say to each other, and only knows who is there.

    Args:
        plan_sha256: the plan of the federation.
        sites: its members.
        clock: monotonic seconds.

    Attributes:
        draining: set by the caller: this process is to be replaced.
        drained: it may be replaced.
    """

    def __init__(self, plan_sha256: str, sites: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._plan_sha256, self._clock = plan_sha256, clock
        self._heard: dict[str, float] = {}
        self.admit(sites)
        self.draining = self.drained = False

    def admit(self, sites: Sequence[str]) -> None:
        """Change the members."""
        self._sites = frozenset(sites)

    def living(self) -> list[str]:
        """Members whose courier is heard of."""
        now = self._clock()
        return sorted(site for site in self._sites if now - self._heard.get(site, -_ALIVE_S) < _ALIVE_S)

    def receive(self, site: str, message: Message) -> dict[str, Any]:
        """Answer a beat; nothing else is for the hub."""
        if site not in self._sites or message.topic != "beat":
            return {"ok": False, "detail": f"{site!r} is no member, or asks what a plan of peers does not know"}
        if message.fields.get("plan_sha256") != self._plan_sha256:
            return {"ok": False, "detail": "its courier holds another plan"}
        self._heard[site] = self._clock()
        return {"ok": True, "gone": self.drained}

    def tick(self) -> None:
        """Let go when asked to: streams that break are made again."""
        self.drained = self.drained or self.draining


class _Backlog:
    """What a socket says, read ahead while earlier bytes are on their way; at most about a frame."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._bytes, self._ended = bytearray(), False
        self._changed = threading.Condition()

    def read(self) -> None:
        """Until the socket ends; for a thread of its own."""
        try:
            while True:
                try:
                    data = self._line.recv(FRAME_BYTES)
                except TimeoutError:  # the other side may be learning: nothing to carry is no end
                    continue
                with self._changed:
                    self._bytes += data
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: len(self._bytes) < FRAME_BYTES or self._ended)
                    if not data or self._ended:
                        return
        except OSError:
            return
        finally:
            self.end()

    def take(self) -> bytes:
        """All that waits, once there is some; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes or self._ended)
            taken = bytes(self._bytes[:FRAME_BYTES])
            del self._bytes[:FRAME_BYTES]
            self._changed.notify_all()
            return taken

    def end(self) -> None:
        """Nothing more is read."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class _Stream:
    """One TCP connection on this side, and the frames that go to and come from the other side."""

    def __init__(self, line: socket.socket, peer: str, name: str, role: str, ask: Ask) -> None:
        line.settimeout(_STALL_S)
        self._line, self._peer, self._name, self._role, self._ask = line, peer, name, role, ask
        self._lock = threading.Lock()
        self._expected = 0

    def pump(self, over: Callable[[], None]) -> None:
        """Carry what the socket says to the other side, until either ends."""
        backlog, number = _Backlog(self._line), 0
        threading.Thread(target=backlog.read, name="backlog", daemon=True).start()
        try:
            while self._send(number, data := backlog.take()) and data:
                number += 1
        finally:
            backlog.end()
            over()
            self.close()

    def take(self, number: int, data: bytes, end: bool) -> bool:
        """Frame of the other side; ``False`` where the stream cannot go on."""
        with self._lock:
            if number < self._expected:
                return True
            if number > self._expected:
                return False
            self._expected += 1
            try:
                if data:
                    self._line.sendall(data)
                if end:
                    self._line.shutdown(socket.SHUT_RDWR)
            except OSError:
                return False
            return True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def _send(self, number: int, data: bytes) -> bool:
        fields = {"stream": self._name, "role": self._role, "frame": number, "end": not data}
        for _ in range(_TRIES):
            answer = self._ask(self._peer, Message("tunnel", fields, data))
            if answer is not None:
                return bool(answer.get("ok"))
            time.sleep(_TRY_AGAIN_S)
        return False


class Tunnel:
    """A site's half of the relay.

    Args:
        ask: the line to other members.
        gateway: where this site's own gateway listens, or ``None`` while there is none.
        is_peer: whether a name is that of a peer; nobody else may open a stream.
    """

    def __init__(self, ask: Ask, gateway: Callable[[], tuple[str, int] | None], is_peer: Callable[[str], bool]) -> None:
        self._ask, self._gateway, self._is_peer = ask, gateway, is_peer
        self._lock = threading.Lock()
        self._streams: dict[tuple[str, str, str], _Stream] = {}
        self._doors: dict[str, socket.socket] = {}

    def port(self, peer: str) -> int:
        """A local TCP port that leads to the gateway of ``peer``."""
        with self._lock:
            if peer not in self._doors:
                door = self._doors[peer] = socket.create_server(("127.0.0.1", 0))
                threading.Thread(target=self._accept, args=(peer, door), name=f"relay-{peer}", daemon=True).start()
            return int(self._doors[peer].getsockname()[1])

    def receive(self, sender: str, message: Message) -> dict[str, Any]:
        """A frame of another site; ``sender`` is the member that FLARE knows it from."""
        fields = message.fields
        name, number, end = fields.get("stream"), fields.get("frame"), bool(fields.get("end"))
        if message.topic != "tunnel" or not isinstance(message.body, bytes):
            return {"ok": False, "detail": "malformed"}
        if not isinstance(name, str) or len(name) > 32 or not isinstance(number, int):
            return {"ok": False, "detail": "malformed"}
        mine = "callee" if fields.get("role") == "caller" else "caller"
        with self._lock:
            stream = self._streams.get((sender, name, mine))
        if stream is None and mine == "callee" and number == 0 and not end:
            stream = self._serve(sender, name)
        if stream is None:
            return {"ok": False, "detail": "no such stream"}
        return {"ok": stream.take(number, message.body, end)}

    def stop(self) -> None:
        """End every stream."""
        with self._lock:
            doors, streams = list(self._doors.values()), list(self._streams.values())
            self._doors.clear()
        for door in doors:
            door.close()
        for stream in streams:
            stream.close()

    def _accept(self, peer: str, door: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                line, _ = door.accept()
                if self._open(line, peer, secrets.token_hex(8), "caller") is None:
                    line.close()

    def _serve(self, sender: str, name: str) -> _Stream | None:
        address = self._gateway()
        if address is None or not self._is_peer(sender):
            return None
        try:
            line = socket.create_connection(address, timeout=5)
        except OSError:
            return None
        stream = self._open(line, sender, name, "callee")
        if stream is None:
            line.close()
        return stream

    def _open(self, line: socket.socket, peer: str, name: str, role: str) -> _Stream | None:
        key = (peer, name, role)
        with self._lock:
            if len(self._streams) >= _MOST_STREAMS or key in self._streams:
                return None
            stream = self._streams[key] = _Stream(line, peer, name, role, self._ask)

        def over() -> None:
            with self._lock:
                self._streams.pop(key, None)

        threading.Thread(target=stream.pump, args=(over,), name=f"stream-{peer}", daemon=True).start()
        return stream
