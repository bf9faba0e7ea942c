"""What hub and courier tell a monitoring system, read from the files that they keep in their kits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from cryptography import x509
from prometheus_client.core import Metric
from pydantic import ValidationError

from fed_backend import __version__
from fed_backend.flare.certificates import CERTIFICATE
from fed_backend.flare.checkpoint import Checkpoint
from fed_backend.flare.kit import COURIER_READY, JOB_STATE, Kit
from fed_backend.flare.run_state import Run
from fed_backend.methods import GOSSIP
from fed_backend.monitoring import gauge

__all__ = ["courier_figures", "courier_trouble", "hub_figures", "hub_trouble"]

_SILENT_S = 30.0


def hub_figures(kit: Kit) -> Iterable[Metric]:
    """Members, the federation job, the last run, memory."""
    state, members = _read(kit.run / JOB_STATE), kit.members()
    living = set(state.get("living", ())) & set(members)
    yield gauge("info", "Version of the program.", {__version__: 1}, "version")
    yield gauge("members", "Members of the federation.", len(members))
    yield gauge("member_connected", "Whether the hub hears a member.", {s: s in living for s in members}, "site")
    yield gauge("job_up", "Whether the federation job runs and responds.", not hub_trouble(kit))
    yield gauge("resident_bytes", "Memory of the hub's job process.", _memory(state.get("pid")))
    yield from _expiry(kit.folder / "startup" / "server.crt")
    run = _run(kit.folder / "state" / "checkpoint.json")
    if run is not None:
        yield from _of_run(run)


def _of_run(run: Run) -> Iterable[Metric]:
    yield gauge("run_state", "State of the last run of rounds.", {run.state: 1}, "state")
    yield gauge("run_rounds", "Rounds that the last run was asked for.", run.rounds)
    yield gauge("run_rounds_finished", "Rounds of the last run that ended.", len(run.history))
    failed = {site: sum(r.sites[site].state == "failed" for r in run.history if site in r.sites) for site in run.sites}
    yield gauge("run_site_failures", "Rounds of the last run in which a site failed.", failed, "site")
    if run.history:
        last = run.history[-1]
        yield gauge("round_seconds", "Seconds of the last round.", last.seconds)
        moved = {"up": last.bytes_up, "down": last.bytes_down}
        yield gauge("round_bytes", "Payload bytes of the last round.", moved, "way")
        odd = sum(bool(record.note) for record in last.sites.values())
        yield gauge("round_updates_treated", "Updates of the last round that were scaled down or left out.", odd)


def hub_trouble(kit: Kit) -> str:
    """Why the hub cannot run rounds; empty while it can."""
    path = kit.run / JOB_STATE
    try:
        silent = time.time() - path.stat().st_mtime
    except OSError:
        return "no federation job runs yet"
    return f"the federation job has been silent for {silent:.0f} s" if silent > _SILENT_S else ""


def courier_figures(kit: Kit) -> Iterable[Metric]:
    """Whether hub and site server answer, and how long the certificate lasts."""
    yield gauge("info", "Version of the program.", {__version__: 1}, "version")
    yield gauge("courier_ready", "Whether hub and site server both answer.", not courier_trouble(kit))
    yield from _expiry(kit.folder / CERTIFICATE)


def courier_trouble(kit: Kit) -> str:
    """Why the courier carries nothing; empty while it can, and always among peers, who may all be away."""
    if kit.plan.method.name in GOSSIP:
        return ""
    return "" if (kit.run / COURIER_READY).is_file() else "hub and site server have not both answered yet"


def _expiry(path: Path) -> Iterable[Metric]:
    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return
    yield gauge("certificate_expiry_seconds", "When the certificate ends, in seconds since 1970.", ends.timestamp())


def _memory(pid: object) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) if isinstance(pid, int) else 0.0
    except psutil.Error:
        return 0.0


def _run(path: Path) -> Run | None:
    try:
        return Checkpoint.model_validate_json(path.read_bytes()).run
    except (OSError, ValidationError):
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
