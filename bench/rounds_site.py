"""A site server that trains in no time: what is left of a round is the federation.

Run as ``python -m bench.rounds_site FOLDER [PORT]``; the folder holds ``plan.json``, ``courier.token``,
``settings.json`` and ``tensors`` (values of one update). It answers what a courier asks of a site, under a
plan of a hub or of peers, and never holds a payload in memory. ``GET /bench/state`` tells when the first
training of each run was asked for, on the clock that all processes of a machine share.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fed_backend.payload import PayloadHeader, read_header
from fed_backend.plan import Plan, load_plan

CHUNK = 2**20


def head_of(header: PayloadHeader, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """What comes before the values in a payload of float32 tensors."""
    entries: dict[str, Any] = {"__metadata__": {"fedseg": json.dumps(header.as_json(), sort_keys=True)}}
    at = 0
    for name in sorted(shapes):
        end = at + 4 * math.prod(shapes[name])
        entries[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


class Site:
    """What it knows."""

    def __init__(self, folder: Path) -> None:
        self.plan = load_plan(folder / "plan.json")
        self.token = (folder / "courier.token").read_text()
        self.name = str(json.loads((folder / "settings.json").read_text())["name"])
        self.tensors = folder / "tensors"
        self.came = threading.Condition()
        self.pending: dict[str, dict[str, Any]] = {}
        self.verdicts: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self.trained: dict[str, float] = {}
        self.peers: list[dict[str, Any]] = []
        self.lent = -1

    def requests(self, wait: float) -> list[dict[str, Any]]:
        with self.came:
            self.came.wait_for(lambda: self.pending, timeout=wait)
            found, self.pending = list(self.pending.values()), {}
        return found

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """``POST /federation/rounds``: the verdict, once it is there."""
        run = str(request["id"])
        with self.came:
            self.pending[run] = request
            self.came.notify_all()
            self.came.wait_for(lambda: run in self.verdicts, timeout=60)
            return self.verdicts[run]

    def decide(self, run: str, verdict: dict[str, Any]) -> None:
        with self.came:
            self.verdicts[run] = verdict
            self.came.notify_all()

    def note(self, status: dict[str, Any]) -> None:
        """Keep the newest state of a run."""
        self.statuses[status["id"]] = status

    def update(self, run: str, number: int, parent: str = "") -> PayloadHeader:
        return update_of(self.plan, self.name, run, number, parent)


def update_of(plan: Plan, site: str, run: str, number: int, parent: str = "") -> PayloadHeader:
    """The header of what a site sends."""
    return PayloadHeader(
        kind="update",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site=site,
        federation_round=run,
        round=number,
        method=plan.method.name,
        examples=3,
        parent_sha256=parent,
    )


REPORT = {"version": "v1", "promoted": True, "chosen": "mean", "reason": "not worse", "dice_challenger": 0.5}


class Handler(BaseHTTPRequestHandler):
    """Routes; ``server.site`` holds the state."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _json(self, data: object, status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _payload(self, header: PayloadHeader) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        head = head_of(header, site.plan.adapter)
        with open(site.tensors, "rb") as values:
            length = os.fstat(values.fileno()).st_size
            self.send_response(200)
            self.send_header("Content-Length", str(len(head) + length))
            self.end_headers()
            self.wfile.write(head)
            self.connection.sendfile(values)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _read_payload(self) -> tuple[PayloadHeader, str]:
        """Header and SHA-256 of a body that is not kept."""
        left = int(self.headers["Content-Length"])
        start = self.rfile.read(8)
        start += self.rfile.read(struct.unpack("<Q", start)[0])
        hasher, left = hashlib.sha256(start), left - len(start)
        # read_header looks at the length of the whole, not at what comes after the header
        header = read_header(start)
        while left:
            part = self.rfile.read(min(left, CHUNK))
            hasher.update(part)
            left -= len(part)
        return header, hasher.hexdigest()

    def _handle(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        query, path = parse_qs(url.query), url.path.strip("/").split("/")
        if path[:2] != ["federation", "rounds"] and path[0] == "federation":
            assert self.headers["Authorization"] == f"Bearer {site.token}"
        match path:
            case ["federation", "courier", "requests"]:
                found = site.requests(float(query["wait"][0]))
                told = {"lent": site.lent, "examples": 3, "plan_sha256": site.plan.sha256}
                self._json({**told, "requests": found})
            case ["federation", "courier", "requests", run]:
                site.decide(run, json.loads(self._body()))
                self._json({})
            case ["federation", "courier", "status"]:
                status = json.loads(self._body())
                site.note(status)
                self._json({})
            case ["federation", "courier", "peers"]:
                site.peers = json.loads(self._body())["peers"]
                self._json({})
            case ["federation", "courier", "progress"]:
                self._json({"progress": 0.5})
            case ["federation", "train"]:
                asked = time.monotonic()
                header, digest = self._read_payload()
                site.trained.setdefault(header.federation_round, asked)
                self._payload(site.update(header.federation_round, header.round, digest))
            case ["federation", "offer"] | ["federation", "visit"]:
                self._read_payload()
                self._json(REPORT)
            case ["federation", "leaving"]:
                self._body()
                self._json({})
            case ["federation", "lend"]:
                site.lent = int(json.loads(self._body())["number"])
                self._payload(site.update("gossip", site.lent))
            case ["federation", "rounds"]:
                self._json(site.ask(json.loads(self._body())), 202)
            case ["bench", "state"]:
                self._json({"statuses": site.statuses, "trained": site.trained, "peers": site.peers})
            case _:
                self._json({"detail": url.path}, 404)

    do_GET = do_POST = _handle


def main() -> None:
    folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
    server.daemon_threads = True
    server.site = Site(folder)  # type: ignore[attr-defined]
    ready = folder / "peer.json.tmp"
    ready.write_text(json.dumps({"pid": os.getpid(), "url": f"http://127.0.0.1:{server.server_port}"}))
    os.replace(ready, folder / "peer.json")
    server.serve_forever()


if __name__ == "__main__":
    main()
