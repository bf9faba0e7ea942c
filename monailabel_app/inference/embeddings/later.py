"""Writes features to disk after whoever waits for them was answered.

Writing a slice takes as long as a tenth of computing it with a small network. A thread of its own
does it, and steps aside while somebody is served. What waits to be written is found by readers, and
bounded in bytes: beyond that the caller writes by itself. kill -9 loses what waits; it is computed
again when it is needed.

Shared: the table of what waits behind one condition; nothing is written under it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from monailabel_app.inference.embeddings.disk import DiskStore

__all__ = ["LaterStore"]

logger = logging.getLogger(__name__)

Key = tuple[str, str]

_FORGET_S = 10.0
"""Features of an image are deleted once they are written, but no later than this: clicks may hold the writer up."""


class LaterStore:
    """A :class:`DiskStore` that is written to in the background.

    Args:
        disk: where features go.
        step_aside: called before each is written; may wait a little.
        limit: bytes that may wait.
    """

    def __init__(self, disk: DiskStore, step_aside: Callable[[], None], limit: int = 32 * 2**20) -> None:
        self._disk = disk
        self._step_aside = step_aside
        self._limit = limit
        self._condition = threading.Condition()
        self._waiting: OrderedDict[Key, tuple[Tensor, bool]] = OrderedDict()
        self._bytes = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def has(self, image: str, digest: str) -> bool:
        """Whether the features are on disk, or wait to be written."""
        with self._condition:
            waits = (image, digest) in self._waiting
        return waits or self._disk.has(image, digest)

    def get(self, image: str, digest: str) -> Tensor | None:
        """The features, or ``None``."""
        with self._condition:
            waiting = self._waiting.get((image, digest))
        return self._disk.get(image, digest) if waiting is None else waiting[0]

    def put(self, image: str, digest: str, features: Tensor, *, compact: bool = False) -> None:
        """Store features, which nobody changes any more, soon; see :meth:`DiskStore.put`."""
        with self._condition:
            later = not self._closed and self._bytes + features.nbytes <= self._limit
            if later and (image, digest) not in self._waiting:
                self._waiting[image, digest] = (features, compact)
                self._bytes += features.nbytes
                self._start()
        if not later:
            self._disk.put(image, digest, features, compact=compact)

    def forget(self, image: str) -> None:
        """Delete all features of an image, those that wait to be written too."""
        with self._condition:
            self._condition.wait_for(lambda: all(kept != image for kept, _ in self._waiting), _FORGET_S)
        self._disk.forget(image)

    def close(self) -> None:
        """Write what waits; what is put afterwards is written at once."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="features to disk", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                key, (features, compact) = next(iter(self._waiting.items()))
                closing = self._closed
            if not closing:
                self._step_aside()
            try:
                self._disk.put(*key, features, compact=compact)
            except Exception:  # a lost entry is computed again; a lost thread would lose them all
                logger.exception("features could not be written")
            finally:
                with self._condition:
                    del self._waiting[key]
                    self._bytes -= features.nbytes
                    self._condition.notify_all()
