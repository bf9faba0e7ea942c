"""A central federation in one process: the hub's own round logic over sites that are called directly.

The same method objects, payloads and checks as over FLARE (:class:`~fed_backend.flare.aggregator.Aggregator`),
so tensors and bytes are those of a real federation; only transport, clocks and faults are left out.
Updates wait in a temporary folder, as at the hub: for an average, memory does not grow with the
number of sites.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fed_backend.errors import FederationError, FedSegError
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.plan import Plan
from fed_backend.tensor_file import whole

__all__ = ["SimulatedRound", "SimulatedSite", "simulate"]


class SimulatedSite(Protocol):
    """A site as its courier sees it; both calls are those of ``/federation/*``."""

    name: str

    def train(self, data: bytes) -> bytes:
        """Payload of kind ``global`` in, payload of kind ``update`` out.

        Raises:
            FedSegError: the site takes no part in this round.
        """
        ...

    def offer(self, data: bytes) -> Mapping[str, Any]:
        """Payload of kind ``aggregate`` in, a report out."""
        ...


@dataclass(frozen=True)
class SimulatedRound:
    """What happened in one round.

    Attributes:
        number: from 0.
        bytes_up: site -> bytes of its update.
        bytes_down: site -> bytes that it was sent, offer included.
        reports: site -> what it answered to its offer.
        failed: site -> why its update is not part of the aggregate.
        notes: site -> what robust aggregation did with its update; others counted in full.
        seconds: wall time.
        aggregating: wall seconds of the aggregation alone.
    """

    number: int
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    aggregating: float = 0.0
    notes: dict[str, str] = field(default_factory=dict)


def simulate(
    plan: Plan,
    sites: Sequence[SimulatedSite],
    rounds: int,
    *,
    method: str | None = None,
    start: bytes | None = None,
    run: str = "simulation",
    workers: int = 1,
    attends: Callable[[str, int], bool] = lambda site, round_: True,
) -> Iterator[SimulatedRound]:
    """Run rounds of a fresh federation; yields after each.

    Args:
        plan: what all sites hold.
        sites: the members; their order does not matter.
        rounds: how many.
        method: one of the plan's; its own by default.
        start: payload with the tensors that all sites start from, where the method compares with them.
        run: identifier of the run in the payloads.
        workers: sites that work at once, in threads; changes no bit, as sites share nothing.
        attends: whether a site takes part in a round.

    Raises:
        PlanError: the plan does not list the method, or its settings do not fit.
        FederationError: fewer updates than the plan's quorum, or updates that cannot be combined.
    """
    aggregator = Aggregator(plan, method or plan.method.name, start=start)
    members = {site.name: site for site in sorted(sites, key=lambda site: site.name)}
    last: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="fedseg-") as folder, ThreadPoolExecutor(workers) as pool:
        store = CheckpointStore(Path(folder))
        for number in range(rounds):
            present = {name: site for name, site in members.items() if attends(name, number)}
            yield _round(aggregator, plan.quorum, present, members, last, store, pool, run, number)


def _round(
    aggregator: Aggregator,
    quorum: int,
    present: Mapping[str, SimulatedSite],
    members: Mapping[str, SimulatedSite],
    last: dict[str, bytes],
    store: CheckpointStore,
    pool: ThreadPoolExecutor,
    run: str,
    number: int,
) -> SimulatedRound:
    done, began = SimulatedRound(number), time.perf_counter()

    def train(name: str) -> tuple[str, str, str]:
        begun = aggregator.begin(run, number, last.get(name))
        done.bytes_down[name] = len(begun)
        try:
            update = present[name].train(begun)
            aggregator.check(update, name, run, number, begun)
        except FedSegError as error:
            done.failed[name] = str(error)
            return name, "", ""
        done.bytes_up[name] = len(update)
        return name, store.put(update), store.put(begun)

    trained = [row for row in pool.map(train, present) if row[1]]
    updates, begun = {name: digest for name, digest, _ in trained}, {name: digest for name, _, digest in trained}
    if len(updates) < quorum:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(done.failed.items()))
        raise FederationError(f"round {number + 1} has {len(updates)} updates and needs {quorum} ({reasons})")
    aggregated = time.perf_counter()
    try:
        combined = aggregator.combine(run, number, store.view(updates), store.view(begun))
    except ValueError as error:
        raise FederationError(f"the updates of round {number + 1} cannot be combined: {error}") from None
    aggregating = time.perf_counter() - aggregated
    offers = {name: whole(data) for name, data in combined.offers.items()}
    if combined.for_all is not None:
        last.update(dict.fromkeys(members, whole(combined.for_all)))
    last.update(offers)
    store.clear()

    def offer(name: str) -> tuple[str, Mapping[str, Any]]:
        done.bytes_down[name] += len(offers[name])
        return name, present[name].offer(offers[name])

    done.reports.update(pool.map(offer, offers))
    seconds = time.perf_counter() - began
    return SimulatedRound(
        number,
        done.bytes_up,
        done.bytes_down,
        done.reports,
        done.failed,
        round(seconds, 3),
        round(aggregating, 4),
        combined.notes,
    )
