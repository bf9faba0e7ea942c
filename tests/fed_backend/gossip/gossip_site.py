"""A site server of a plan of peers, as small as it can be: its model is an array, a visit takes the mean.

Run as ``python gossip_site.py FOLDER [PORT]``; what it has in common with a site of a hub, and how
tests steer it, is in ``site_peer.py``. While ``FOLDER/hold`` exists, visits wait in it.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from site_peer import Handler, Peer, serve

from fed_backend.errors import FedSegError, ReplayError
from fed_backend.methods import Update
from fed_backend.methods.gcml import GCML
from fed_backend.payload import PayloadHeader, Tensors, check, encode


class Visited(Peer):
    """A site that lends its model and lets others visit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        settings = self.settings()
        self.name, self.examples = str(settings["name"]), int(settings["examples"])
        start = np.float32(settings["add"])
        self.tensors: Tensors = {n: np.full(shape, start, np.float32) for n, shape in self.plan.adapter.items()}
        self.lent = -1
        self.visits: list[tuple[str, int]] = []
        self.peers: list[dict[str, object]] = []
        self.answers: dict[bytes, dict[str, object]] = {}
        self.learning = threading.Lock()

    def lend(self, number: int) -> bytes:
        if number <= self.lent:
            raise ReplayError(f"exchange {number} comes after exchange {self.lent}")
        self.lent = number
        header = PayloadHeader(
            kind="update",
            plan_sha256=self.plan.sha256,
            base_sha256=self.plan.base_sha256,
            site=self.name,
            federation_round="gossip",
            round=number,
            method="gcml",
            examples=self.examples,
        )
        return encode(header, self.tensors)

    def visit(self, data: bytes, sender: str | None = None) -> dict[str, object]:
        with self.learning:
            if data in self.answers:
                return self.answers[data]
            header, tensors = check(data, self.plan, kind="update", federation_round="gossip", site=sender)
            if last := [number for name, number in self.visits if name == header.site and number >= header.round]:
                raise ReplayError(f"visit {header.round} comes after visit {last[-1]}")
            while (self.folder / "hold").exists():
                time.sleep(0.02)
            both = Update(self.name, self.tensors, self.examples), Update(header.site, tensors, header.examples)
            self.tensors = GCML(self.plan).candidates(*both)["mean"]
            self.visits.append((header.site, header.round))
            self.answers[data] = {"chosen": "mean", "promoted": True, "reason": "not worse", "dice_challenger": 0.5}
            return self.answers[data]


class GossipHandler(Handler):
    """The routes of peers beside those of a hub."""

    def _routes(self, path: str, query: str, body: bytes) -> bool:
        site: Visited = self.server.peer  # type: ignore[attr-defined]
        match path.strip("/").split("/"):
            case ["federation", "courier", "requests"]:
                wait = float(parse_qs(query)["wait"][0])
                found = {"plan_sha256": site.plan.sha256, "requests": site.fetch(wait)}
                self._json({**found, "lent": site.lent, "examples": site.examples})
            case ["federation", "courier", "peers"]:
                site.peers = json.loads(body)["peers"]
                self._json({})
            case ["federation", "lend"]:
                self._reply(200, site.lend(json.loads(body)["number"]), "application/octet-stream")
            case ["federation", "visit"]:
                self._json(site.visit(body, parse_qs(query)["sender"][0]))
            case ["test", "site"]:
                value = float(next(iter(site.tensors.values())).flat[0])
                self._json({"visits": site.visits, "lent": site.lent, "peers": site.peers, "value": value})
            case ["test", "model"]:
                self._reply(200, next(iter(site.tensors.values())).tobytes(), "application/octet-stream")
            case _:
                return False
        return True

    def _handle(self) -> None:
        site: Visited = self.server.peer  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        ours = url.path.startswith(("/federation/courier/requests", "/federation/courier/peers", "/federation/lend"))
        if not (ours or url.path in ("/federation/visit", "/test/site", "/test/model")) or url.path.count("/") > 3:
            super()._handle()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if url.path.startswith("/federation/") and self.headers.get("Authorization") != f"Bearer {site.token}":
            self._json({"error": "Unauthorised", "detail": "bad token", "hint": ""}, 401)
            return
        try:
            self._routes(url.path, url.query, body)
        except FedSegError as error:
            self._json({"error": type(error).__name__, "detail": error.detail, "hint": error.hint}, 422)

    do_GET = do_POST = _handle


if __name__ == "__main__":
    serve(GossipHandler, Visited)
