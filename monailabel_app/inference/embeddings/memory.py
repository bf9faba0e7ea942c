"""Features used last, in memory, bounded in bytes; shared by all threads of the site."""

from __future__ import annotations

import threading
from collections import OrderedDict

from torch import Tensor

__all__ = ["MemoryStore"]


class MemoryStore:
    """Least recently used features by key digest.

    Args:
        limit: bytes kept in all; one entry is kept whatever its size.
    """

    def __init__(self, limit: int = 256 * 2**20) -> None:
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, digest: object) -> bool:
        return digest in self._entries

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, digest: str) -> Tensor | None:
        """The features, now the most recently used; ``None`` where they are not kept."""
        with self._lock:
            if digest not in self._entries:
                return None
            self._entries.move_to_end(digest)
            return self._entries[digest]

    def put(self, digest: str, features: Tensor) -> None:
        """Keep features (not a view of something larger); the oldest go when the limit is passed."""
        with self._lock:
            if (old := self._entries.pop(digest, None)) is not None:
                self._bytes -= old.nbytes
            self._entries[digest] = features
            self._bytes += features.nbytes
            while self._bytes > self._limit and len(self._entries) > 1:
                self._bytes -= self._entries.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0
