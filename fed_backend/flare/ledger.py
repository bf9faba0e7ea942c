"""What a coordinator keeps: its checkpoint, the payloads, what aggregates descend from, and the aggregator's memory."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fed_backend.errors import plain
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.lineage import Lineage, Past
from fed_backend.flare.round_payloads import Combined
from fed_backend.flare.run_state import Run
from fed_backend.plan import Plan
from fed_backend.tensor_file import Data, joined

__all__ = ["Ledger"]

logger = logging.getLogger(__name__)


class Ledger:
    """The hub's memory. What a step changes is on disk once :meth:`save` was called, and whole.

    Args:
        plan: the federation's plan.
        store: where checkpoints go and come from.
        start: payload with the tensors that all sites start from, for methods that compare with them.

    Attributes:
        saved: the checkpoint.
        store: as given.
        aggregator: of the method whose progress ``saved`` holds.

    Raises:
        FederationError: the checkpoint is unreadable or belongs to another plan, or a method of the
            plan needs a start and there is none.
        PlanError: a method of the plan is not installed.
    """

    def __init__(self, plan: Plan, store: CheckpointStore, start: bytes | None) -> None:
        self._plan, self._start = plan, start
        self.store = store
        self.saved = store.load(plan.sha256)
        self._lineage = Lineage(store.folder / "lineage", plan.sha256)
        for name in plan.methods:
            Aggregator(plan, name, start=start)  # a method that cannot run should not be found out by night
        self.aggregator = self._aggregator_of(self.saved.method or plan.method.name)

    def save(self) -> None:
        """Write the checkpoint; where the disk refuses, the one before it stays and the log says so."""
        try:
            self.store.save(self.saved)
        except OSError as error:  # a full disk must not end the process: what was saved before is whole
            logger.error("the checkpoint cannot be written: %s", plain(error))

    # --- runs ------------------------------------------------------------------------------

    def start(self, run: Run) -> None:
        """A new run, of any method of the plan."""
        self.saved.run = run
        self.rest()
        self.saved.updates = {}
        if run.method != self.aggregator.name:
            self.saved.turn_to(run.method, self.aggregator.name)
            self.aggregator = self._aggregator_of(run.method)

    def rest(self) -> None:
        """A round is over."""
        self.saved.phase, self.saved.attempts = "rest", 0

    def end(self, state: str, reason: str) -> None:
        """The run is over."""
        assert self.saved.run is not None
        self.saved.run = self.saved.run.model_copy(update={"state": state, "reason": reason})
        self.rest()
        self.saved.globals, self.saved.updates = {}, {}

    def has_forgotten(self, site: str, asked: str) -> bool:
        """Whether this request to forget a site was fulfilled."""
        return self._lineage.has_forgotten(site, asked)

    def forget(self, site: str, asked: str, members: Iterable[str]) -> None:
        """Go back to where nothing descends from a site's updates.

        Raises:
            OSError: the disk refuses; asking again goes on where it stopped.
        """
        self._lineage.take_back(self.saved, self.store, site, members, self.aggregator.name)
        self.store.save(self.saved)
        self.aggregator = self._aggregator_of(self.aggregator.name)
        self._lineage.forget(site, asked)

    # --- rounds ----------------------------------------------------------------------------

    def begin_training(self, run: Run, sites: Sequence[str]) -> list[str]:
        """Make what each member's training starts from, once for all that go on from the same.

        Returns:
            Those that can take part: a method with a model for each has none for a site that came later.
        """
        ready = [site for site in sites if run.round == 0 or self.saved.last_for(site)]
        made = {last: self._start_from(last, run) for last in {self.saved.last_for(site) for site in ready}}
        self.saved.globals = {site: made[self.saved.last_for(site)] for site in ready}
        return ready

    def _start_from(self, last: str, run: Run) -> str:
        """What training starts from that goes on from an aggregate, or from nothing; its SHA-256."""
        if not last:
            return self.store.put(self.aggregator.begin(run.id, run.round, None))
        aggregate, path = self.store.path(last), self.store.scratch / "global"
        sha256 = joined(self.aggregator.front(run.id, run.round, aggregate), aggregate, path)
        return self.store.put(path, sha256)

    def holds_start(self, site: str, sha256: str) -> bool:
        """Whether the payload of this SHA-256, which a site has, is the aggregate with the tensors of its start."""
        return bool(sha256) and sha256 == self.saved.last_for(site)

    def sha256_of(self, topic: str, site: str) -> str:
        """Of the payload that a site is sent to ``train`` from, or as ``offer``; empty for anything else."""
        table = {"train": self.saved.globals, "offer": self.saved.adapters}.get(topic, {})
        return table.get(site, "")

    @property
    def globals(self) -> Mapping[str, Path]:
        """Site -> what its training starts from in this round."""
        return self.store.view(self.saved.globals)

    @property
    def updates(self) -> Mapping[str, Path]:
        """Site -> its update in this round."""
        return self.store.view(self.saved.updates)

    @property
    def offers(self) -> Mapping[str, Path]:
        """Site -> the aggregate for it, for those whose update is in it."""
        return self.store.view({site: self.saved.adapters[site] for site in self.saved.updates})

    def take_update(self, site: str, data: Data, sha256: str) -> None:
        """Keep a site's update; its SHA-256 may be empty where nobody has reckoned it yet.

        Raises:
            OSError: the disk refuses.
        """
        self.saved.updates[site] = self.store.put(data, sha256)

    def keep(self, combined: Combined, run: Run, members: Sequence[str]) -> None:
        """Keep a round's aggregates together with what the method remembers: never one without the other.

        Raises:
            OSError: the disk refuses.
        """
        saved, method = self.saved, self.aggregator.name
        try:
            kept = {data: self.store.put(data) for data in dict.fromkeys(combined.offers.values())}
            common = combined.for_all
            adapters = dict(saved.adapters) if common is None else dict.fromkeys(members, kept[common])
            adapters |= {site: kept[data] for site, data in combined.offers.items()}
            memory = self.aggregator.state()
            state = self.store.put(memory) if memory else ""
            past = Past.of(method, run.id, run.round, combined.offers, adapters, state)
            self._lineage.add(past, self.store.path)
        except OSError:
            self.aggregator = self._aggregator_of(method)  # it has come further than what is kept
            raise
        saved.adapters, saved.state, saved.phase = adapters, state, "offer"

    def _aggregator_of(self, method: str) -> Aggregator:
        state = self.store.get(self.saved.state) if self.saved.state else b""
        return Aggregator(self._plan, method, state=state, start=self._start)
