"""What the aggregates of a federation descend from, so that a site's updates can be left out of rounds to come.

For every aggregate: method, run, round, whose updates are in it, and where each member goes on from. All
of that is kept as a record; the payloads of the newest :data:`KEEP` aggregates of each method are kept too,
as links to the files of the checkpoint, which costs nothing while the checkpoint has them. To forget a
site is to go back, in each method, to the last aggregate before the site's first update: to the
beginning where that is no longer kept. What descends from it elsewhere, at the sites, is listed and stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from fed_backend.errors import FederationError
from fed_backend.flare.checkpoint import Checkpoint, CheckpointStore, Progress
from fed_backend.flare.kit import write_json_atomic

__all__ = ["KEEP", "Forgotten", "Lineage", "Past"]

KEEP = 10
_MOST = 500
"""Aggregates that are recorded; of older ones it is only known who was in them."""


class Past(BaseModel):
    """One aggregate.

    Attributes:
        method: whose it is.
        run: identifier of the run.
        round: from 0.
        sites: whose updates are in it; they were offered it.
        common: digest of the payload that all go on from; empty where each has its own.
        adapters: member -> digest of its own.
        state: digest of what the method remembers; empty where it remembers nothing.
    """

    method: str
    run: str
    round: int
    sites: list[str]
    common: str = ""
    adapters: dict[str, str] = Field(default_factory=dict)
    state: str = ""

    @classmethod
    def of(
        cls, method: str, run: str, round_: int, sites: Iterable[str], adapters: Mapping[str, str], state: str
    ) -> Past:
        """The aggregate after which ``adapters`` (member -> digest) are what the members go on from."""
        known = set(adapters.values())
        own = {} if len(known) == 1 else dict(adapters)
        common = "" if own else known.pop()
        return cls(method=method, run=run, round=round_, sites=sorted(sites), common=common, adapters=own, state=state)

    def digests(self) -> set[str]:
        """Of all payloads that are needed to go on from here."""
        return {*self.adapters.values(), self.common, self.state} - {""}

    def offered(self, site: str) -> str:
        """Digest of the payload that a site was offered, which its version names as ``payload_sha256``."""
        return self.common or self.adapters.get(site, "")


class Forgotten(BaseModel):
    """A site that was forgotten: which request asked for it, when it was done, and what descended from the site."""

    site: str
    asked: str
    at: str
    undone: list[Past] = Field(default_factory=list)


class _Record(BaseModel):
    format: str = "fedseg-lineage/1"
    plan_sha256: str
    past: list[Past] = Field(default_factory=list)
    before: dict[str, list[str]] = Field(default_factory=dict)
    forgotten: list[Forgotten] = Field(default_factory=list)


class Lineage:
    """The aggregates of one federation, in a folder of their own.

    Args:
        folder: created when something is added.
        plan_sha256: the federation's plan.

    Raises:
        FederationError: the record is unreadable or belongs to another plan.
    """

    def __init__(self, folder: Path, plan_sha256: str) -> None:
        self._folder, self._payloads = folder, folder / "payloads"
        self._record = _read(folder / "lineage.json", plan_sha256)

    @property
    def past(self) -> list[Past]:
        """Aggregates that rounds may still go on from, oldest first."""
        return list(self._record.past)

    @property
    def forgotten(self) -> list[Forgotten]:
        """Sites that were forgotten, oldest first."""
        return list(self._record.forgotten)

    def add(self, past: Past, path_of: Callable[[str], Path]) -> None:
        """Record an aggregate; one that is made again after a fault replaces what it was.

        Args:
            past: the aggregate.
            path_of: digest -> file of the checkpoint.

        Raises:
            OSError: the disk refuses; the record is then as it was.
        """
        self._payloads.mkdir(parents=True, exist_ok=True, mode=0o700)
        for digest in past.digests():
            _link(path_of(digest), self._payloads / digest)
        key = (past.method, past.run, past.round)
        kept = [entry for entry in self._record.past if (entry.method, entry.run, entry.round) != key]
        self._write([*kept, past])

    def after(self, site: str) -> list[Past]:
        """Aggregates that descend from an update of ``site``, oldest first."""
        tainted: set[str] = {method for method, sites in self._record.before.items() if site in sites}
        found = []
        for past in self._record.past:
            if site in past.sites:
                tainted.add(past.method)
            if past.method in tainted:
                found.append(past)
        return found

    def without(self, site: str) -> dict[str, Past | None]:
        """Method -> the aggregate to go back to (``None``: the beginning), for methods that a site contributed to."""
        undone = self.after(site)
        found: dict[str, Past | None] = {}
        for method in dict.fromkeys(past.method for past in undone):
            first = next(past for past in undone if past.method == method)
            older = [past for past in self._record.past if past.method == method]
            at = older.index(first)
            last = older[at - 1] if at and site not in self._record.before.get(method, []) else None
            kept = last is not None and all((self._payloads / digest).is_file() for digest in last.digests())
            found[method] = last if kept else None
        return found

    def take_back(
        self, saved: Checkpoint, store: CheckpointStore, site: str, members: Iterable[str], method: str
    ) -> None:
        """Set a checkpoint back to where nothing in it descends from ``site``; the record is not changed yet.

        Args:
            saved: changed.
            store: gets the payloads that are needed again.
            site: whose updates are to be left out.
            members: who goes on from a common aggregate.
            method: whose progress ``saved`` holds itself, not under ``others``.

        Raises:
            OSError: the disk refuses.
        """
        for name, past in self.without(site).items():
            progress = Progress()
            if past is not None:
                for digest in past.digests():
                    store.put((self._payloads / digest).read_bytes())
                adapters = past.adapters or dict.fromkeys(members, past.common)
                progress = Progress(adapters=adapters, state=past.state)
            if name == method:
                saved.adapters, saved.state = progress.adapters, progress.state
            else:
                saved.others[name] = progress

    def has_forgotten(self, site: str, asked: str) -> bool:
        """Whether this request was fulfilled."""
        return any((entry.site, entry.asked) == (site, asked) for entry in self._record.forgotten)

    def forget(self, site: str, asked: str) -> None:
        """Note that rounds go on without what descends from ``site``.

        Raises:
            OSError: the disk refuses; the record is then as it was.
        """
        undone = self.after(site)
        done = Forgotten(site=site, asked=asked, at=datetime.now(UTC).isoformat(timespec="seconds"), undone=undone)
        before = {method: [s for s in sites if s != site] for method, sites in self._record.before.items()}
        self._write([past for past in self._record.past if past not in undone], before, [*self._record.forgotten, done])

    def _write(
        self,
        past: list[Past],
        before: dict[str, list[str]] | None = None,
        forgotten: list[Forgotten] | None = None,
    ) -> None:
        old, past = past[:-_MOST], past[-_MOST:]
        known = {method: set(sites) for method, sites in (self._record.before if before is None else before).items()}
        for entry in old:
            known.setdefault(entry.method, set()).update(entry.sites)
        changes: dict[str, object] = {
            "past": past,
            "before": {method: sorted(sites) for method, sites in known.items()},
        }
        if forgotten is not None:
            changes["forgotten"] = forgotten
        record = self._record.model_copy(update=changes)
        write_json_atomic(self._folder / "lineage.json", record.model_dump(mode="json"))
        self._record = record
        self._drop(_needed(past))

    def _drop(self, needed: set[str]) -> None:
        if self._payloads.is_dir():
            for path in self._payloads.iterdir():
                if path.name not in needed:
                    path.unlink(missing_ok=True)


def _needed(past: Iterable[Past]) -> set[str]:
    """Digests of the newest aggregates of each method."""
    newest: dict[str, list[Past]] = {}
    for entry in past:
        newest.setdefault(entry.method, []).append(entry)
    return {digest for entries in newest.values() for entry in entries[-KEEP:] for digest in entry.digests()}


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    with suppress(OSError):
        os.link(source, target)
        return
    temporary = target.with_suffix(".tmp")  # a file system without links
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _read(path: Path, plan_sha256: str) -> _Record:
    if not path.exists():
        return _Record(plan_sha256=plan_sha256)
    hint = "restore the hub's state folder from a backup, or move it away to begin anew"
    try:
        record = _Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise FederationError("the hub's record of its aggregates cannot be read", hint) from None
    if record.plan_sha256 != plan_sha256:
        raise FederationError("the hub's record of its aggregates belongs to another plan", hint)
    return record
