"""What ``make bench-rounds`` measures of a hub: overhead, start, memory, bytes on the wire, encodings."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.rounds_processes import Bare, Memory, Ours, names, plan_of
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.pieces import LEAST_BYTES
from fed_backend.payload import PayloadHeader, Tensors, decode, encode, encode_update
from fed_backend.plan import Plan
from fed_backend.privacy import KEY_BYTES, released

Figures = dict[str, Any]


def round_cell(
    folder: Path, megabytes: float, sites: int, rounds: int, runs: int, *, bare: bool, **changes: Any
) -> Figures:
    """Rounds of ours, then of a bare job with as many clients: medians without the first run, which warms up.

    ``start_seconds`` are from the click to the first training; ``hub_rss_mb`` is the most that the hub's processes
    hold above what they held before the first round. ``changes`` are of the plan.
    """
    plan = plan_of(megabytes, sites, **changes)
    ours = Ours(folder / "ours", plan, sites)
    try:
        ours.start_all()
        spent, starts = [], []
        with Memory(ours.tree("hub")) as memory:
            for number in range(1 + runs):
                run, start = ours.click(rounds)
                status = ours.end(run)
                if number:
                    starts.append(start)
                    spent += [entry["seconds"] for entry in status["history"]]
    finally:
        ours.stop_all()
    found: Figures = {
        "overhead_ms": 1e3 * median(spent),
        "start_seconds": median(starts),
        "start_seconds_worst": max(starts),
        "hub_rss_mb": memory.peak - memory.idle,
        "hub_idle_mb": memory.idle,
    }
    if bare:
        other = Bare(folder / "bare", plan, sites, (1 + runs) * rounds)
        try:
            found["bare_flare_ms"] = 1e3 * median(other.run()[rounds:])
        finally:
            other.stop()
        found["overhead_ratio"] = found["overhead_ms"] / found["bare_flare_ms"]
    return found


def secure_cell(folder: Path, megabytes: float, sites: int, rounds: int) -> Figures:
    """Rounds whose updates the hub sees as a sum only, and the same rounds without."""
    secure = round_cell(folder / "secure", megabytes, sites, rounds, 1, bare=False, secure={}, quorum=3)
    plain = round_cell(folder / "plain", megabytes, sites, rounds, 1, bare=False)
    return {"secure_ms": secure["overhead_ms"], "plain_ms": plain["overhead_ms"], "secure_rss_mb": secure["hub_rss_mb"]}


class Proxy:
    """Passes TCP connections on and counts what they carry, in both directions."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target, self._lock = target, threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port, self.bytes = int(self._door.getsockname()[1]), 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the hub does not listen yet
                near.close()
                continue
            for source, drain in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, drain), daemon=True).start()

    def _pass_on(self, source: socket.socket, drain: socket.socket) -> None:
        try:
            while part := source.recv(2**18):
                with self._lock:
                    self.bytes += len(part)
                drain.sendall(part)
            drain.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            drain.close()

    def close(self) -> None:
        self._door.close()


def wire_cell(folder: Path, megabytes: float, sites: int, rounds: int) -> Figures:
    """Bytes on the wire between hub and couriers from the click to the end of a run, against its payloads."""
    ours = Ours(folder / "ours", plan_of(megabytes, sites), sites)
    port = json.loads((ours.kits / "hub" / "federation.json").read_text())["port"]
    proxy = Proxy(("localhost", port))
    for site in ours.sites:
        for file in ("federation.json", "startup/fed_client.json"):
            path = ours.kits / "sites" / site / file
            path.write_text(path.read_text().replace(str(port), str(proxy.port)))
    try:
        ours.start_all()
        ours.end(ours.click(1)[0])
        before, began = proxy.bytes, time.monotonic()
        time.sleep(5)
        idle = (proxy.bytes - before) / (time.monotonic() - began)
        before = proxy.bytes
        status = ours.end(ours.click(rounds)[0])
        wire = proxy.bytes - before
    finally:
        ours.stop_all()
        proxy.close()
    # each way once: the update, the offer, and the start of those that are sent one (a large one lies at the site
    # already); the hub's own count has also what it meant to repeat
    ways = 2 if 1e6 * megabytes > LEAST_BYTES else 3
    carried = ways * sum(entry["bytes_up"] for entry in status["history"])
    return {"wire_ratio": wire / carried, "idle_bytes_per_s": idle / sites}


def cost_cell(folder: Path, megabytes: float, name: str, sites: int = 3, repeats: int = 5) -> Figures:
    """What an encoding or noise costs a site (to make an update) and the hub (to check and to average it)."""
    changes = {
        "float32": {},
        "float16": {"encoding": "float16"},
        "int8": {"encoding": "int8"},
        "privacy": {"privacy": {"clip": 1.0, "noise": 0.01, "delta": 1e-5}},
    }[name]
    folder.mkdir(parents=True)
    plan = plan_of(megabytes, sites, max_update_norm=1e6, **changes)
    aggregator, rng = Aggregator(plan, plan.method.name), np.random.default_rng(0)
    tensors = {n: 1e-3 * rng.standard_normal(shape, np.float32) for n, shape in plan.adapter.items()}
    begun = folder / "begun"
    begun.write_bytes(encode(_header(plan, "hub", "global"), tensors, half=plan.encoding != "float32"))
    start = decode(begun)[1]
    trained = {n: t + 1e-4 * rng.standard_normal(t.shape, np.float32) for n, t in start.items()}

    def update(site: str) -> bytes:
        own: Tensors = trained if plan.privacy is None else released(trained, start, plan.privacy, bytes(KEY_BYTES))
        return encode_update(_header(plan, site, "update"), own, plan, start=start, residual={}, exact=())[0]

    files = {site: folder / site for site in names(sites)}
    for site, path in files.items():
        path.write_bytes(update(site))
    one, path = next(iter(files.items()))

    def average() -> None:
        aggregator.combine("cost", 0, files, dict.fromkeys(files, begun), folder)

    return {
        "update_mb": path.stat().st_size / 1e6,
        "site_ms": _milliseconds(lambda: update(one), repeats),
        "check_ms": _milliseconds(lambda: aggregator.check(path, one, "cost", 0, begun), repeats),
        "average_ms_per_site": _milliseconds(average, repeats) / sites,
    }


def _header(plan: Plan, site: str, kind: Any) -> PayloadHeader:
    return PayloadHeader(
        kind=kind,
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site=site,
        federation_round="cost",
        round=0,
        method=plan.method.name,
        examples=3,
    )


def _milliseconds(work: Callable[[], object], repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - began))
    return median(spent)
