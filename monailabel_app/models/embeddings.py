"""What was computed last for slices, so that it is not computed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["EmbeddingCache", "Recent"]


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=_Sized)


class Recent(Generic[K, V]):
    """The most recently used values, bounded in bytes; at least one is kept.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V:
        """The value under ``key``, now the most recently used."""
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value, dropping the ones used longest ago when the limit is passed."""
        if key in self._entries:
            self._bytes -= self._entries.pop(key).nbytes
        self._entries[key] = value
        self._bytes += value.nbytes
        while self._bytes > self._limit and len(self._entries) > 1:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0


class EmbeddingCache(Recent[tuple[str, int], Tensor]):
    """Features by (volume identity, slice).

    The owner clears it whenever what its features depend on changes.
    """

    def __init__(self, limit: int = 128 * 2**20) -> None:
        super().__init__(limit)

    def put(self, key: tuple[str, int], value: Tensor) -> None:
        """Keep features of a slice."""
        super().put(key, value.clone())  # a row of a batch would keep the whole batch alive

    def rows(self, image: str, indices: list[int], compute: Callable[[list[int]], Tensor]) -> Tensor:
        """Features [n, ...] of slices of an image; where one is not there, all are computed, together, and kept.

        All, because the last digits may depend on what is computed together: a mask must not depend on what
        happened to be cached.

        Args:
            image: identity of the volume, and whatever else tells its features apart.
            indices: the slices.
            compute: slices -> features [n, ...].
        """
        if all((image, index) in self for index in indices):
            return torch.stack([self.get((image, index)) for index in indices])
        found = compute(indices)
        for index, features in zip(indices, found, strict=True):
            self.put((image, index), features)
        return found
