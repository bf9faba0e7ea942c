"""Serves one promptable model to all sessions: the champion's network, features, work ahead.

Shared: the current snapshot behind a lock that is held for a pointer only. When the champion
changes, a thread of its own builds the new snapshot, computes the slices that are looked at, and
then swaps: clicks meanwhile are answered by the version before, and say so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from monailabel_app.errors import SiteError
from monailabel_app.inference.embeddings.cache import FeatureCache, Found, SliceView
from monailabel_app.inference.embeddings.disk import DiskStore
from monailabel_app.inference.embeddings.later import LaterStore
from monailabel_app.inference.embeddings.memory import MemoryStore
from monailabel_app.inference.embeddings.prefetch import Prefetcher
from monailabel_app.inference.embeddings.priority import Turns
from monailabel_app.inference.embeddings.snapshot import Snapshot, take_snapshot
from monailabel_app.models.sam import SamSegmenter
from monailabel_app.state.versions import VersionStore

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

_ASK_S = 0.05
"""How often the champion pointer is read while clicks come in."""
_PREWARM_S = 2.0
"""How long a swap waits for the slices that are looked at."""


class Engine:
    """See the module.

    Args:
        name: name of the model.
        segmenter: gives the base; not changed.
        versions: the model's versions.
        disk: where features are kept; ``None`` keeps them in memory only.
        memory_bytes: encoder outputs in memory.
        numeric: number type of the encoder.
        device: where networks are computed and encoder outputs kept.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        name: str,
        segmenter: SamSegmenter,
        versions: VersionStore,
        disk: DiskStore | None,
        *,
        memory_bytes: int = 256 * 2**20,
        numeric: str = "float32",
        device: str = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.image_size = segmenter.spec.image_size
        self.turns = Turns()
        self._writer = None if disk is None else LaterStore(disk, self.turns.step_aside)
        self.cache = FeatureCache(MemoryStore(memory_bytes), self._writer, self.turns)
        self.prefetcher = Prefetcher(self.cache, self.turns, self.snapshot)
        self._segmenter = segmenter
        self._first = segmenter.adapter()  # what a version leaves out stays as it began
        self.versions = versions
        self._numeric = numeric
        self._device = device
        self._clock = clock
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._asked = -_ASK_S
        self._switch: threading.Thread | None = None

    def snapshot(self) -> Snapshot:
        """The network that serves now; never waits, but for the very first.

        Raises:
            StateError: the champion cannot be read, and no version was served before.
        """
        current = self._snapshot
        if current is None:
            with self._building:
                if self._snapshot is None:
                    self._snapshot = self._build(self.versions.champion())
                return self._snapshot
        now = self._clock()
        if now - self._asked >= _ASK_S:
            self._asked = now
            self._follow(current)
        return current

    def features(self, snapshot: Snapshot, view: SliceView) -> Found:
        """Encoder features of a slice; somebody waits for them."""
        return self.cache.features(snapshot, view)

    def forget(self, image: str) -> None:
        """Delete the features of an image on disk, by its identity."""
        if self._writer is not None:
            self._writer.forget(image)

    def close(self) -> None:
        """Stop working ahead, and write what is still to be written."""
        self.prefetcher.stop()
        if self._writer is not None:
            self._writer.close()

    def _follow(self, current: Snapshot) -> None:
        try:
            champion = self.versions.champion()
        except SiteError as error:  # a damaged pointer must not stop who is drawing
            logger.warning("the champion of %s cannot be read: %s", self.name, error)
            return
        with self._lock:
            busy = self._switch is not None and self._switch.is_alive()
            if champion == current.version or busy:
                return
            self._switch = threading.Thread(target=self._swap, args=(champion,), name="champion", daemon=True)
            self._switch.start()

    def _swap(self, champion: str) -> None:
        try:
            made = self._build(champion)
            deadline = time.monotonic() + _PREWARM_S
            for view in self.prefetcher.current():
                if time.monotonic() > deadline:
                    break
                self.cache.features(made, view, urgent=False)
        except SiteError as error:
            logger.warning("version %s cannot be served: %s", champion, error)
            return
        self._snapshot = made
        self.prefetcher.refresh()
        logger.info("%s answers prompts now", champion)

    def _build(self, version: str) -> Snapshot:
        tensors = {**self._first, **self.versions.load(version)}
        return take_snapshot(self._segmenter, version, tensors, numeric=self._numeric, device=self._device)
