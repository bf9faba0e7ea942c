"""Encoder features of the slices seen last, so that the next prompt on a slice costs a decoder pass only."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

__all__ = ["EmbeddingCache"]


class EmbeddingCache:
    """Least recently used features by (volume identity, slice), bounded in bytes.

    The owner clears it whenever the adapter changes.
    """

    def __init__(self, limit: int = 128 * 2**20) -> None:
        self._limit = limit
        self._bytes = 0
        self._entries: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: tuple[str, int]) -> Tensor:
        """The features under ``key``, now the most recently used."""
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: tuple[str, int], features: Tensor) -> None:
        """Keep features, dropping the ones used longest ago when the limit is passed."""
        if key in self._entries:
            self._bytes -= self._entries.pop(key).nbytes
        self._entries[key] = features.clone()  # a row of a batch would keep the whole batch alive
        self._bytes += features.nbytes
        while self._bytes > self._limit and len(self._entries) > 1:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0
