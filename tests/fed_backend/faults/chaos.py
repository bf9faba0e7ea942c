"""kill -9 of the processes of a federation, in an order and at moments drawn from a seed; every kill is recorded."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
from lasting import LastingFederation
from running import until


@dataclass(frozen=True)
class Kill:
    """One kill: of what, when (seconds from the first), and what the hub's checkpoint said then."""

    target: str
    seconds: float
    round: int
    phase: str
    arrived: list[str] = field(default_factory=list)


class Chaos:
    """Kills and starts again; every target comes up once before any comes up again.

    Args:
        federation: its processes.
        seed: of targets and moments.
    """

    def __init__(self, federation: LastingFederation, seed: int) -> None:
        self._federation = federation
        self._rng = random.Random(seed)
        self._deck: list[str] = []
        self._began: float | None = None
        self.kills: list[Kill] = []

    def targets(self) -> list[str]:
        """Whatever may be killed."""
        sites = self._federation.sites
        return ["hub", "hub job", *(f"courier-{site}" for site in sites), *(f"peer-{site}" for site in sites)]

    def moment(self, most_s: float) -> float:
        """How long to wait before the next kill."""
        return self._rng.uniform(0, most_s)

    def strike(self) -> Kill:
        """Kill the next target, and start it again as a service manager does."""
        if not self._deck:
            self._deck = self.targets()
            self._rng.shuffle(self._deck)
        target = self._deck.pop()
        jobs = until("the hub's job", self._jobs, 300) if target == "hub job" else []
        if self._began is None:
            self._began = time.monotonic()
        saved = self._federation.checkpoint()
        kill = Kill(
            target,
            round(time.monotonic() - self._began, 2),
            int((saved.get("run") or {}).get("round", 0)),
            str(saved.get("phase", "")),
            sorted(saved.get("updates", {})),
        )
        self.kills.append(kill)
        if target == "hub job":
            for process in jobs:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return kill
        self._federation.kill(target)
        kind, _, site = target.partition("-")
        {"hub": lambda _: self._federation.start_hub(), "courier": self._federation.start_courier,
         "peer": self._federation.start_peer}[kind](site)  # fmt: skip
        return kill

    def _jobs(self) -> list[psutil.Process]:
        """The process of whichever job the hub runs now; while it renews the job there may be none."""
        return [p for p in self._federation.tree("hub")[1:] if any("runner_process" in part for part in _command(p))]

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(kill) for kill in self.kills]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []
