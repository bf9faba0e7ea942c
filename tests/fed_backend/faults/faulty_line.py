"""A TCP line to a port on which bytes are lost, changed or late: one fault at a time, at a chosen byte."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """What happens to the line once.

    Attributes:
        kind: ``cut`` (the connection ends), ``corrupt`` (one bit of one byte), ``hold`` (nothing moves for a while).
        after: bytes that still pass unharmed.
        up: whether the caller's bytes are meant, or the answers.
        seconds: of ``hold``.
    """

    kind: Literal["cut", "corrupt", "hold"]
    after: int
    up: bool = True
    seconds: float = 0.0


class FaultyLine:
    """Leads to ``port``; any number of connections, of which the one that reaches the fault's byte suffers it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._passed = 0
        self.struck = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, fault: Fault) -> None:
        """Let a fault happen; :attr:`struck` tells when it has."""
        with self._lock:
            self._fault, self._passed = fault, 0
            self.struck.clear()

    def stop(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                for source, target, up in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._copy, args=(source, target, up), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                fault, data = self._due(data, up)
                if fault is not None and fault.kind == "hold":
                    time.sleep(fault.seconds)
                target.sendall(data)
                if fault is not None and fault.kind == "cut":
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _due(self, data: bytes, up: bool) -> tuple[Fault | None, bytes]:
        """The fault that these bytes suffer, if any, and what becomes of them."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.up != up:
                return None, data
            at = fault.after - self._passed
            self._passed += len(data)
            if at >= len(data):
                return None, data
            self._fault = None
            self.struck.set()
        if fault.kind == "cut":
            return fault, data[:at]
        if fault.kind == "corrupt":
            return fault, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return fault, data
