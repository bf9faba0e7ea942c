"""The state of a site: one folder, opened by one server (and by the server's learner).

Layout::

    site.sqlite        records (see migrations/)
    site.lock          held by the server that owns the folder
    versions/<model>/  adapters
    corrections/       submitted masks
    shown/             masks last shown
    exchange/          payloads of federated rounds, requests and replies
    local/<plan>/      what federated rounds trained and the plan's method keeps here
    courier.token      what a courier shows, readable by the owner only
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from fed_backend.plan import LabelSchema
from monailabel_app.errors import Conflict, NotFound
from monailabel_app.learning.jobs import Jobs
from monailabel_app.state.acquisition import Acquisition
from monailabel_app.state.audit import AuditLog
from monailabel_app.state.corrections import Corrections
from monailabel_app.state.database import Database
from monailabel_app.state.exchanges import Exchanges
from monailabel_app.state.files import clean_temporaries, file_errors, utc_now, write_atomic
from monailabel_app.state.prompts import PromptStore
from monailabel_app.state.rounds import RoundStore
from monailabel_app.state.scores import Scores
from monailabel_app.state.settings import StoredSettings
from monailabel_app.state.splits import Splits
from monailabel_app.state.versions import Version, VersionStore, model_of

__all__ = ["SiteState"]


class SiteState:
    """Everything a site must not lose.

    Args:
        folder: the state folder, created when absent.
        studies: folder of the images.
        own: take the folder for this server; the learner opens it with ``own=False``.
        clock: gives the time as ISO 8601.

    Raises:
        Conflict: another server owns the folder.
        StateError: it cannot be read or written.
    """

    def __init__(self, folder: Path, studies: Path, *, own: bool = True, clock: Callable[[], str] = utc_now) -> None:
        self.folder = folder
        self.studies = studies
        with file_errors("the state folder"):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "site.lock", timeout=0, thread_local=False)
            if own:
                self._own()
        self._clock = clock
        self._stores: dict[str, VersionStore] = {}
        self._stores_lock = threading.Lock()
        try:
            self.database = Database(folder / "site.sqlite")
            with file_errors("the state folder"):
                self._open(own)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, own: bool) -> None:
        database, clock = self.database, self._clock
        self.settings = StoredSettings(database)
        self.splits = Splits(database, self.settings.site_key, clock)
        self.prompts = PromptStore(database, self.folder / "shown", clock)
        self.corrections = Corrections(
            database, self.folder / "corrections", self.studies, self.splits, self.prompts, clock
        )
        self.jobs = Jobs(database, clock)
        self.rounds = RoundStore(database, clock)
        self.audit = AuditLog(database, clock)
        self.scores = Scores(database)
        self.acquisition = Acquisition(database)
        self.exchanges = Exchanges(database, self.folder / "exchange", clock)
        if own:
            for folder in (self.folder, self.folder / "shown", self.folder / "exchange"):
                clean_temporaries(folder)
            self.corrections.clean()
            self.jobs.recover("the site was stopped")

    def versions(self, model: str) -> VersionStore:
        """The versions of one model; the store is made when the model is new."""
        with self._stores_lock:
            if model not in self._stores:
                folder = self.folder / "versions" / model
                self._stores[model] = VersionStore(folder, model, self._clock, self.corrections.count)
            return self._stores[model]

    def models(self) -> list[str]:
        """Models that have versions here."""
        root = self.folder / "versions"
        return sorted(f.name for f in root.iterdir() if (f / "champion").is_file()) if root.is_dir() else []

    def store_of(self, version: str) -> VersionStore:
        """The store that holds a version.

        Raises:
            NotFound: no such version at this site.
        """
        model = model_of(version)
        if model not in self.models():
            raise NotFound(f"there is no version {version[:80]!r}", "GET /versions lists the versions of this site")
        return self.versions(model)

    def version(self, identifier: str) -> Version:
        """The record of a version of any model.

        Raises:
            NotFound: no such version at this site.
        """
        return self.store_of(identifier).get(identifier)

    def check_labels(self, labels: LabelSchema) -> None:
        """Whether the site may be started with a label schema: its corrections and versions are of one.

        Raises:
            Conflict: it was started with another before.
        """
        before = self.settings.get("labels", labels)  # state folders from before this was kept: whatever is given
        if before != labels:
            then, now = (", ".join(f"{n}={value}" for n, value in schema.items()) for schema in (before, labels))
            raise Conflict(
                f"the corrections and versions of this site are of the labels {then}, "
                f"but the site was started with {now}",
                "start with the labels or plan used before, or with another state folder",
            )

    def courier_token(self) -> str:
        """The token that this site's courier shows; made at first use."""
        return _token(self.courier_token_file, "the courier's token")

    def metrics_token(self) -> str:
        """The token with which a monitoring system reads ``/metrics``; made at first use."""
        return _token(self.folder / "metrics.token", "the token for metrics")

    @property
    def courier_token_file(self) -> Path:
        """Where :meth:`courier_token` is kept."""
        return self.folder / "courier.token"

    def close(self) -> None:
        """Give the folder back; another server may then open it."""
        self.database.close()
        self._lock.release()

    def __enter__(self) -> SiteState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _own(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise Conflict(
                "this state folder is in use by another running site",
                "stop that site first, or start this one with another --state folder",
            ) from None


def _token(path: Path, what: str) -> str:
    with file_errors(what):
        if not path.is_file():
            write_atomic(path, secrets.token_urlsafe(32).encode(), mode=0o600)
        return path.read_text(encoding="ascii").strip()
