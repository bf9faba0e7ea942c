"""A site server as the couriers see it: the courier routes of a site, with numpy tensors for training.

Run as ``python site_peer.py FOLDER``: serves on a free port and writes ``FOLDER/peer.json``. It is
the other end of the courier's protocol, as small as it can be: one training adds a constant to
every tensor, the gate promotes everything. Tests steer it through routes under ``/test/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from fed_backend.methods import build_method
from fed_backend.methods.fedsm import SECOND_MOMENT, SELECTOR_STEPS
from fed_backend.payload import PayloadHeader, Tensors, check, decode, encode, read_header
from fed_backend.plan import load_plan


def noise_of(site: str, round_: int, scale: float, shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """What a site's data teach it: the same for a site and a round, different between sites."""
    rng = np.random.default_rng([*site.encode(), round_])
    return {name: np.float32(scale) * rng.standard_normal(shapes[name], np.float32) for name in sorted(shapes)}


class Peer:
    """State of the site.

    Args:
        folder: holds ``plan.json``, ``settings.json`` (name, add, examples, seconds) and the token.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = load_plan(folder / "plan.json")
        self.token = (folder / "courier.token").read_text().strip()
        self.pending: dict[str, dict[str, object]] = {}
        self.handed_out: dict[str, float] = {}
        self.came = threading.Condition()
        self.verdicts: dict[str, dict[str, object]] = {}
        self.statuses: dict[str, dict[str, object]] = {}
        self.replies: dict[tuple[str, int], bytes] = {}
        self.trainings = 0
        self.training = threading.Event()
        self.offered: list[str] = []
        self.left: list[dict[str, object]] = []

    def settings(self) -> dict[str, float | str]:
        return dict(json.loads((self.folder / "settings.json").read_text()))

    def fetch(self, wait: float) -> list[dict[str, object]]:
        """Requests without a verdict; one that a dead courier took is handed out again."""

        def fresh() -> list[str]:
            now = time.monotonic()
            return [i for i in self.pending if now - self.handed_out.get(i, -9.0) > 2.0]

        with self.came:
            self.came.wait_for(fresh, timeout=wait)
            found = fresh()
            self.handed_out.update(dict.fromkeys(found, time.monotonic()))
            return [self.pending[i] for i in found]

    def request(self, data: dict[str, object]) -> None:
        with self.came:
            self.pending[str(data["id"])] = data
            self.handed_out.pop(str(data["id"]), None)
            self.verdicts.pop(str(data["id"]), None)
            self.came.notify_all()

    def decide(self, request_id: str, verdict: dict[str, object]) -> None:
        with self.came:
            self.pending.pop(request_id, None)
            self.verdicts[request_id] = verdict

    def train(self, data: bytes) -> bytes:
        settings = self.settings()
        header, tensors = decode(data)
        key = (header.federation_round, header.round)
        if key not in self.replies:
            self.training.set()
            self.trainings += 1
            time.sleep(float(settings.get("seconds", 0)))
            plan = self.plan.under(header.method)
            shapes = {name: plan.adapter[name] for name in build_method(plan).shared_keys()}
            start = tensors or {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            add = float("nan") if settings.get("nan") else float(settings["add"])
            noise = noise_of(str(settings["name"]), header.round, float(settings.get("noise", 0)), shapes)
            update = PayloadHeader(
                kind="update",
                plan_sha256=plan.sha256,
                base_sha256=plan.base_sha256,
                site=str(settings["name"]),
                federation_round=header.federation_round,
                round=header.round,
                method=header.method,
                examples=int(settings["examples"]),
                parent_sha256=hashlib.sha256(data).hexdigest(),
            )
            trained = {n: t + np.float32(add) + noise[n] for n, t in start.items()}
            never_below_zero = (SECOND_MOMENT, SELECTOR_STEPS)
            self.replies[key] = encode(
                update, {n: np.abs(t) if n.startswith(never_below_zero) else t for n, t in trained.items()}
            )
            self.training.clear()
        return self.replies[key]

    def offer(self, data: bytes) -> dict[str, object]:
        plan = self.plan.under(read_header(data).method)
        header, tensors = check(data, plan, kind="aggregate", site="hub", keys=build_method(plan).shared_keys())
        path = self.folder / f"offer-{header.federation_round}-{header.round}.safetensors"
        path.write_bytes(data)
        self.offered.append(path.name)
        dice = float(np.clip(next(iter(tensors.values())).mean() / 10, 0, 1))
        return {
            "version": f"v{len(self.offered)}",
            "promoted": True,
            "reason": "not worse",
            "dice_champion": 0.0,
            "dice_challenger": dice,
            "cases": 1,
            "seconds": 0.0,
        }


class Handler(BaseHTTPRequestHandler):
    """Routes; ``server.peer`` holds the state."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, data: object, status: int = 200) -> None:
        self._reply(status, json.dumps(data).encode())

    def _handle(self) -> None:
        peer: Peer = self.server.peer  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if url.path.startswith("/federation/") and self.headers.get("Authorization") != f"Bearer {peer.token}":
            self._json({"error": "Unauthorised", "detail": "bad token", "hint": ""}, 401)
            return
        name = url.path.strip("/").split("/")
        match name:
            case ["federation", "courier", "requests"]:
                wait = float(parse_qs(url.query)["wait"][0])
                self._json({"site": "peer", "plan_sha256": peer.plan.sha256, "requests": peer.fetch(wait)})
            case ["federation", "courier", "requests", request_id]:
                peer.decide(request_id, json.loads(body))
                self._json({})
            case ["federation", "courier", "status"]:
                status = json.loads(body)
                peer.statuses[status["id"]] = status
                self._json({})
            case ["federation", "courier", "progress"]:
                self._json({"progress": 0.5})
            case ["federation", "train"]:
                self._reply(200, peer.train(body), "application/octet-stream")
            case ["federation", "offer"]:
                self._json(peer.offer(body))
            case ["federation", "leaving"]:
                told = {name: values[0] for name, values in parse_qs(url.query).items()}
                peer.left.append({**told, "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)})
                time.sleep(float(peer.settings().get(f"stall_{told['step']}", 0)))
                self._reply(204, b"")
            case ["test", "request"]:
                peer.request(json.loads(body))
                self._json({})
            case ["test", "state"]:
                self._json(
                    {
                        "verdicts": peer.verdicts,
                        "statuses": peer.statuses,
                        "trainings": peer.trainings,
                        "training": peer.training.is_set(),
                        "left": peer.left,
                    }
                )
            case _:
                self._json({"error": "NotFound", "detail": url.path, "hint": ""}, 404)

    do_GET = do_POST = _handle


def serve(handler: type[BaseHTTPRequestHandler], kind: Callable[[Path], Peer]) -> None:
    """Serve the folder (and port) that the command line names; its address is in ``peer.json``."""
    folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), handler)
    server.peer = kind(folder)  # type: ignore[attr-defined]
    ready = folder / "peer.json.tmp"
    ready.write_text(json.dumps({"pid": os.getpid(), "url": f"http://127.0.0.1:{server.server_port}"}))
    os.replace(ready, folder / "peer.json")
    server.serve_forever()


if __name__ == "__main__":
    serve(Handler, Peer)
