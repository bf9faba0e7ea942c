"""The hub's checkpoint: one JSON record beside content-addressed payloads.

A payload is written under its sha256 before the record names it, and the record is replaced
atomically, so that after kill -9 at any moment the last record is whole and so is all it names.
Nothing here depends on the time: equal payloads give equal files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from fed_backend.errors import FederationError
from fed_backend.flare.run_state import Run
from fed_backend.tensor_file import Data, digest

__all__ = ["Checkpoint", "CheckpointStore"]


class Progress(BaseModel):
    """How far a method has come: its last aggregates, and what it remembers."""

    adapters: dict[str, str] = Field(default_factory=dict)
    state: str = ""


class Checkpoint(BaseModel):
    """Everything the hub needs to go on after a fault.

    Attributes:
        plan_sha256: the plan this belongs to.
        run: the last run, active or ended.
        phase: what the current round of an active run was doing: ``rest`` (between rounds),
            ``train`` or ``offer``.
        attempts: how often the current round was begun.
        globals: site -> digest of the payload its training starts from in this round.
        updates: site -> digest of the update it sent in this round.
        adapters: site -> digest of the last aggregate for it; where its next round starts.
        method: whose aggregates and memory these are; empty means the plan's own method.
        state: digest of what the method remembers between rounds; empty where it remembers nothing.
        others: method -> how far it had come when rounds of another one were started.
    """

    format: str = "fedseg-checkpoint/1"
    plan_sha256: str
    run: Run | None = None
    phase: str = "rest"
    attempts: int = 0
    globals: dict[str, str] = Field(default_factory=dict)
    updates: dict[str, str] = Field(default_factory=dict)
    adapters: dict[str, str] = Field(default_factory=dict)
    method: str = ""
    state: str = ""
    others: dict[str, Progress] = Field(default_factory=dict)

    def digests(self) -> set[str]:
        """Digests of all payloads that this record needs."""
        needed = {*self.globals.values(), *self.updates.values(), *self.adapters.values(), self.state}
        for progress in self.others.values():
            needed |= {*progress.adapters.values(), progress.state}
        return needed - {""}

    def last_for(self, site: str) -> str:
        """Digest of the aggregate that a site goes on from: its own, or the one that all others have; or empty."""
        known = set(self.adapters.values())
        return self.adapters.get(site) or (known.pop() if len(known) == 1 else "")

    def keep_only(self, sites: Collection[str]) -> set[str]:
        """Forget what belongs to others; returns their names."""
        gone: set[str] = set()
        for table in (self.globals, self.updates, self.adapters):
            for site in set(table) - set(sites):
                del table[site]
                gone.add(site)
        return gone

    def turn_to(self, method: str, before: str) -> None:
        """Go on where ``method`` was left, or at the beginning; ``before`` is kept aside."""
        self.others[before] = Progress(adapters=self.adapters, state=self.state)
        progress = self.others.pop(method, Progress())
        self.method, self.adapters, self.state = method, progress.adapters, progress.state


class CheckpointStore:
    """Checkpoints in a folder of their own.

    Attributes:
        folder: as given.
        scratch: a folder for payloads that are being made; empty at the beginning.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._payloads = folder / "payloads"
        self._payloads.mkdir(parents=True, exist_ok=True)
        self.scratch = folder / "scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        self._whole: set[str] = set()

    def put(self, data: Data, sha256: str = "") -> str:
        """Store a payload; returns its sha256, which the caller may know already.

        A file is moved here, so it must lie on the same disk.
        """
        name = sha256 or digest(data)
        path = self._payloads / name
        if name in self._whole and path.exists():
            if isinstance(data, Path):
                data.unlink()
        elif isinstance(data, Path):
            _move(data, path)
        else:
            _write_atomic(path, data)
        self._whole.add(name)
        return name

    def get(self, name: str) -> bytes:
        """Read a payload back.

        Raises:
            FederationError: it is missing or its bytes changed.
        """
        data = b""
        with contextlib.suppress(OSError):
            data = (self._payloads / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != name:
            raise _damaged(name)
        return data

    def path(self, name: str) -> Path:
        """The file of a payload; looked through once in the life of this process.

        Raises:
            FederationError: it is missing or its bytes changed.
        """
        path = self._payloads / name
        try:
            if name not in self._whole and digest(path) != name:
                raise _damaged(name)
            path.stat()
        except OSError:
            raise _damaged(name) from None
        self._whole.add(name)
        return path

    def view(self, digests: Mapping[str, str]) -> Mapping[str, Path]:
        """Files of stored payloads by the names of ``digests``."""
        return _View(self, digests)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the record, then drop payloads that it no longer names."""
        text = json.dumps(checkpoint.model_dump(mode="json"), sort_keys=True)
        _write_atomic(self.folder / "checkpoint.json", text.encode())
        wanted = checkpoint.digests()
        for path in self._stored():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Drop all payloads."""
        for path in self._stored():
            path.unlink(missing_ok=True)

    def load(self, plan_sha256: str) -> Checkpoint:
        """The last record, or a fresh one.

        Raises:
            FederationError: the record is unreadable or belongs to another plan.
        """
        path = self.folder / "checkpoint.json"
        if not path.exists():
            return Checkpoint(plan_sha256=plan_sha256)
        hint = "restore the hub's state folder from a backup, or move it away to begin anew"
        try:
            checkpoint = Checkpoint.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            raise FederationError("the hub's checkpoint cannot be read", hint) from None
        if checkpoint.plan_sha256 != plan_sha256:
            raise FederationError("the hub's checkpoint belongs to another plan", hint)
        return checkpoint

    def _stored(self) -> Iterator[Path]:
        return self._payloads.iterdir()


class _View(Mapping[str, Path]):
    def __init__(self, store: CheckpointStore, digests: Mapping[str, str]) -> None:
        self._store, self._digests = store, dict(digests)

    def __getitem__(self, name: str) -> Path:
        return self._store.path(self._digests[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


def _damaged(name: str) -> FederationError:
    return FederationError(
        f"payload {name[:12]}… of the hub's checkpoint is missing or damaged",
        "restore the hub's state folder from a backup, or move it away to begin anew",
    )


def _move(source: Path, path: Path) -> None:
    _sync(source)
    os.replace(source, path)
    _sync(path.parent)


def _write_atomic(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
