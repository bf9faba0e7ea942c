"""The version store: immutable adapters with lineage, and one champion that serves.

Layout of ``versions/<model>/``::

    <id>/adapter.safetensors   the tensors, float32
    <id>/version.json          lineage, data, settings, digests; never changes
    <id>/verdict.json          what the gate decided, once it did
    champion, history.jsonl    the version that serves, and those that did; see champion.py

A version appears by renaming a complete, flushed folder, so kill -9 at any moment leaves a store in
which every listed version is whole. Writers (server and learner) hold ``.lock``; readers need none.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fed_backend.payload import Tensors
from monailabel_app.errors import Conflict, NotFound, StateError
from monailabel_app.state.champion import Champion
from monailabel_app.state.files import (
    TEMPORARY,
    clean_temporaries,
    create_folder,
    file_errors,
    inside,
    utc_now,
    write_atomic,
)
from monailabel_app.state.records import VERSION_ID, DataId, NewVersion, Origin, Version

__all__ = ["DataId", "NewVersion", "Origin", "Version", "VersionState", "VersionStore", "adapter_sha256", "model_of"]

VersionState = Literal["champion", "accepted", "refused", "candidate"]

_MODEL = re.compile(r"^[a-z][a-z0-9_]{0,31}$")


def adapter_sha256(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    """Digest of an adapter as it would be stored."""
    return hashlib.sha256(_encode(tensors)).hexdigest()


def model_of(version: str) -> str:
    """The model that a version id names.

    Raises:
        NotFound: it is no version id.
    """
    match = VERSION_ID.match(version)
    if match is None:
        raise NotFound(f"there is no version {version[:80]!r}", "GET /versions lists the versions of this site")
    return match["model"]


class VersionStore:
    """All versions of one model at one site.

    Args:
        folder: ``versions/<model>``, created when absent.
        model: name of the model; part of every id.
        clock: gives the time as ISO 8601.
        corrections: gives the number of the site's newest correction; kept with every new version.

    Raises:
        StateError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        clock: Callable[[], str] = utc_now,
        corrections: Callable[[], int] | None = None,
    ) -> None:
        if not _MODEL.match(model):
            raise NotFound(f"there is no model {model[:80]!r}")
        self.model = model
        self._folder = folder
        self._clock = clock
        self._corrections = corrections
        with file_errors("the version store"):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock", timeout=60)  # re-entrant in a thread, exclusive between them
        self._champion = Champion(folder, model)
        with self._lock:
            clean_temporaries(folder)

    def create(self, tensors: Mapping[str, npt.NDArray[Any]], record: NewVersion) -> Version:
        """Store an adapter as a new version; it does not serve until it is promoted.

        Raises:
            StateError: a tensor is not finite, or the disk refuses; the store is then as it was.
        """
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise StateError(f"tensor {name!r} of a new {self.model} version holds NaN or infinity")
        data = _encode(tensors)
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            identifier = f"{self.model}-{self._next_number():04d}-{digest[:6]}"
            version = Version(
                **dict(record),
                id=identifier,
                model=self.model,
                created=self._clock(),
                corrections=self._corrections() if self._corrections else None,
                sha256=digest,
                bytes=len(data),
            )

            def fill(folder: Path) -> None:
                (folder / "adapter.safetensors").write_bytes(data)
                (folder / "version.json").write_text(version.model_dump_json(indent=2), encoding="utf-8")

            create_folder(self._folder / identifier, fill)
        return version

    def ensure_base(self, tensors: Mapping[str, npt.NDArray[Any]], base_sha256: str, code_version: str = "") -> str:
        """The champion; where there is none, the initial adapter is stored and promoted first.

        Raises:
            Conflict: the versions of this site adapt another base.
        """
        with self._lock:
            if not self._champion.exists():
                record = NewVersion(origin="base", base_sha256=base_sha256, code_version=code_version)
                first = next((v for v in self.list() if v.origin == "base" and v.base_sha256 == base_sha256), None)
                first = first or self.create(tensors, record)
                self.promote(first.id, "the initial adapter")
        champion = self.get(self.champion())
        if champion.base_sha256 != base_sha256:
            raise Conflict(
                f"the versions of {self.model!r} at this site adapt base {champion.base_sha256[:12]}…, "
                f"but the site was started with base {base_sha256[:12]}…",
                "start with the model settings, plan and checkpoint used before, or with another state folder",
            )
        return champion.id

    def base(self) -> str:
        """Id of the initial adapter.

        Raises:
            NotFound: there is none.
        """
        for version in self.list():
            if version.origin == "base":
                return version.id
        raise NotFound(f"model {self.model!r} has no initial version", "start the site with this model")

    def get(self, identifier: str) -> Version:
        """The record of a version.

        Raises:
            NotFound: no such version.
            StateError: its record is damaged.
        """
        path = self._of(identifier) / "version.json"
        try:
            return Version.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise _damaged(identifier, "its record cannot be read") from None

    def load(self, identifier: str) -> Tensors:
        """The tensors of a version, verified against the digest in its record.

        Raises:
            NotFound: no such version.
            StateError: the file is missing or is not what was stored.
        """
        version = self.get(identifier)
        try:
            data = (self._of(identifier) / "adapter.safetensors").read_bytes()
        except OSError as error:
            raise _damaged(identifier, f"its tensors cannot be read: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != version.sha256:
            raise _damaged(identifier, "its tensors are not the ones that were stored")
        try:
            return {name: np.array(tensor) for name, tensor in load(data).items()}
        except SafetensorError:
            raise _damaged(identifier, "its tensors are malformed") from None

    def list(self) -> list[Version]:
        """All readable versions, oldest first."""
        found = []
        for folder in self._folder.iterdir():
            if VERSION_ID.match(folder.name):
                try:
                    found.append(self.get(folder.name))
                except StateError:
                    continue  # load() and get() name it when it is asked for; a list must not fail
        return sorted(found, key=lambda v: _number(v.id))

    def champion(self) -> str:
        """Id of the version that serves.

        Raises:
            NotFound: nothing was promoted yet.
            StateError: the pointer is damaged.
        """
        return str(self.champion_record()["version"])

    def champion_record(self) -> dict[str, Any]:
        """``{version, previous, reason, at}`` of the last change of the champion; see :meth:`champion`."""
        return self._champion.record()

    def promote(self, identifier: str, reason: str, *, expected: str | None = None) -> str | None:
        """Let a version serve; returns the champion before it.

        Args:
            identifier: the version.
            reason: kept with the pointer.
            expected: the champion that the decision was made against; ``None`` accepts any.

        Raises:
            NotFound: no such version.
            Conflict: another version than ``expected`` serves by now.
            StateError: the version is damaged, or the disk refuses; the champion is as it was.
        """
        with self._lock:
            self.load(identifier)
            try:
                previous: str | None = self.champion()
            except (NotFound, StateError):
                previous = None
            if expected not in (None, previous):
                raise Conflict(
                    f"{previous} serves by now, not {expected}", "compare with the version in use, then promote"
                )
            self._champion.replace({"version": identifier, "previous": previous, "reason": reason, "at": self._clock()})
            return previous

    def rollback(self, reason: str, identifier: str | None = None) -> str:
        """Let the nearest ancestor of the champion that served serve again; returns its id.

        Args:
            reason: kept with the pointer.
            identifier: the version to roll back, which must be the champion; ``None`` is the champion.

        Raises:
            Conflict: ``identifier`` is not the champion, or the champion has no parent.
            StateError: the ancestor is damaged too; the champion is as it was.
        """
        with self._lock:
            champion = self.champion()
            if identifier not in (None, champion):
                self.get(str(identifier))
                raise Conflict(
                    f"version {identifier} does not serve, so it cannot be rolled back",
                    f"the champion is {champion}; promote another version instead",
                )
            before = self._served_before(champion)
            if before is None:
                raise Conflict(f"{champion} is the initial adapter: there is nothing before it")
            self.promote(before, reason)
            return before

    def locked(self) -> FileLock:
        """Hold the store against other writers, of this and other processes; re-entrant."""
        return self._lock

    def remove(self, identifier: str) -> None:
        """Delete a version for good; see :func:`.retention.prune` for which.

        Raises:
            Conflict: it serves.
        """
        folder = self._of(identifier)
        with self._lock, file_errors("the version store"):
            if self.champion() == identifier:
                raise Conflict(f"{identifier} serves and cannot be deleted", "promote another version first")
            temporary = folder.with_name(f"{TEMPORARY}{folder.name}")  # gone in one step, for readers too
            folder.rename(temporary)
            shutil.rmtree(temporary)

    def record_verdict(self, identifier: str, verdict: Mapping[str, Any]) -> None:
        """Keep what the gate decided on a version: JSON with at least ``promoted`` and ``reason``."""
        folder = self._of(identifier)
        write_atomic(folder / "verdict.json", json.dumps(verdict, indent=2).encode())

    def verdict(self, identifier: str) -> dict[str, Any] | None:
        """What the gate decided, or ``None`` before it did."""
        try:
            verdict = json.loads((self._of(identifier) / "verdict.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise _damaged(identifier, "its gate report cannot be read") from None
        return dict(verdict)

    def state_of(self, identifier: str) -> tuple[VersionState, str]:
        """``champion``, ``accepted``, ``refused`` or ``candidate``, and the reason for it."""
        verdict = self.verdict(identifier)
        reason = str(verdict["reason"]) if verdict else ""
        try:
            champion = self.champion_record()
            if champion["version"] == identifier:
                return "champion", str(champion["reason"])
        except (NotFound, StateError):
            pass
        if verdict is None:
            return ("accepted", "the initial adapter") if self.get(identifier).origin == "base" else ("candidate", "")
        return ("accepted" if verdict["promoted"] else "refused"), reason

    def history(self) -> Sequence[dict[str, Any]]:
        """Changes of the champion, oldest first."""
        return self._champion.history()

    def _served_before(self, identifier: str) -> str | None:
        """The nearest ancestor that served, else the initial adapter; ``None`` for the initial adapter itself.

        A parent need not have served: of older versions made among peers it may be one that the gate refused.
        """
        served = {change["version"] for change in self.history()}
        passed, parent = {identifier}, self.get(identifier).parent
        if parent is None:
            return None
        while parent is not None and parent not in passed:  # a circle in damaged records ends
            if parent in served:
                return parent
            passed.add(parent)
            parent = self.get(parent).parent
        return self.base()

    def _of(self, identifier: str) -> Path:
        match = VERSION_ID.match(identifier)
        folder = inside(self._folder, identifier, "version") if match and match["model"] == self.model else None
        if folder is None or not folder.is_dir():
            raise NotFound(f"there is no version {identifier[:80]!r}", "GET /versions lists the versions of this site")
        return folder

    def _next_number(self) -> int:
        return max((_number(f.name) for f in self._folder.iterdir() if VERSION_ID.match(f.name)), default=-1) + 1


def _number(identifier: str) -> int:
    return int(identifier.split("-")[1])


def _encode(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    return save({name: np.ascontiguousarray(tensors[name], dtype="<f4") for name in sorted(tensors)})


def _damaged(identifier: str, what: str) -> StateError:
    return StateError(
        f"version {identifier} is damaged: {what}",
        "roll back to another version: POST /versions/{id}/rollback or /versions/{id}/promote",
    )
