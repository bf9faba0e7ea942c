"""``/metrics`` in Prometheus' text format and ``/health``, for processes that are no web servers themselves.

Figures are read when they are asked for. They count things and never name a case, a person or a key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from fed_backend.errors import FederationError

__all__ = ["CONTENT_TYPE_LATEST", "Monitor", "exposition", "gauge"]

Collect = Callable[[], Iterable[Metric]]


def gauge(name: str, text: str, value: float | Mapping[str, float], label: str = "") -> Metric:
    """One figure, or one for each value of a label."""
    family = GaugeMetricFamily(f"fedseg_{name}", text, labels=[label] if label else None)
    for key, number in value.items() if isinstance(value, Mapping) else [("", value)]:
        family.add_metric([key] if label else [], float(number))
    return family


def exposition(collect: Collect) -> bytes:
    """The figures with those of this process (memory, CPU, open files), as Prometheus reads them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Figures(collect))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from self._collect()


class Monitor:
    """Serves until the process ends, in a thread of its own.

    Args:
        host: address to listen on; plain HTTP, so loopback or a network of the monitoring's own.
        port: TCP port; 0 takes a free one.
        collect: gives the figures.
        trouble: what is wrong, in a few words; empty while all is well.

    Attributes:
        url: where it listens.

    Raises:
        FederationError: the port is in use.
    """

    def __init__(self, host: str, port: int, collect: Collect, trouble: Callable[[], str]) -> None:
        self._collect, self._trouble = collect, trouble
        try:
            server = make_server(host, port, self._answer, server_class=_Server, handler_class=_Quiet)
        except OSError as error:
            raise FederationError(
                f"metrics cannot be served on port {port}: {error.strerror}", "choose another --metrics-port"
            ) from None
        self.url = f"http://{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = environ.get("PATH_INFO")
        if environ.get("REQUEST_METHOD") != "GET" or path not in ("/metrics", "/health"):
            return _reply(start, "404 Not Found", {"detail": "there are /metrics and /health"})
        if path == "/metrics":
            body = exposition(self._collect)
            start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))])
            return [body]
        if wrong := self._trouble():
            return _reply(start, "503 Service Unavailable", {"status": "unhealthy", "detail": wrong})
        return _reply(start, "200 OK", {"status": "ok"})


def _reply(start: Callable[..., Any], status: str, data: Mapping[str, str]) -> list[bytes]:
    body = json.dumps(data).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Questions every few seconds are no news."""
