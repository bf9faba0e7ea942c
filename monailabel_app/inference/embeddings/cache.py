"""Features of a slice from the nearest place: memory, disk, the blocks that changed, the whole encoder.

Shared by all sessions of a model. Lock order: none is held across another; computing holds none.
The output of the encoder is kept in memory (float32) and on disk (float16); the features below the
adapted blocks on disk only. They are the larger ones, and needed once per slice and champion.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from monailabel_app.imaging.intensity import Window
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.encoder import encode_lower, encode_upper
from monailabel_app.inference.embeddings.flights import Flight, Flights
from monailabel_app.inference.embeddings.key import FeatureKey
from monailabel_app.inference.embeddings.memory import MemoryStore
from monailabel_app.inference.embeddings.priority import Turns
from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.inference.planes import Plane
from monailabel_app.models.device import sent
from monailabel_app.models.encoder import Pause

__all__ = ["FeatureCache", "Found", "SliceView", "Store"]


class Store(Protocol):
    """Where features are kept beyond memory: :class:`DiskStore`, at once or later."""

    def has(self, image: str, digest: str) -> bool:
        """Whether the features are there, without reading them."""
        ...

    def get(self, image: str, digest: str) -> Tensor | None:
        """The features, or ``None``."""
        ...

    def put(self, image: str, digest: str, features: Tensor, *, compact: bool = False) -> None:
        """Store features."""
        ...


@dataclass(frozen=True)
class SliceView:
    """One slice of an image as it is shown to the network."""

    volume: Volume
    plane: Plane
    window: Window
    index: int

    def at(self, index: int) -> SliceView:
        """The same view, at another slice."""
        return replace(self, index=index)


@dataclass
class Found:
    """Features and what getting them took.

    Attributes:
        features: [1, dim, h, w] float32, where the network is computed.
        source: ``memory``, ``disk``, ``upper`` (the adapted blocks were computed), ``full`` (the
            whole encoder was), or ``joined`` (another request was computing them).
        milliseconds: time of each stage.
    """

    features: Tensor
    source: str
    milliseconds: dict[str, float] = field(default_factory=dict)


class FeatureCache:
    """See the module.

    Args:
        memory: encoder outputs in memory, that of the GPU where there is one.
        disk: features on disk; ``None`` keeps none there.
        turns: who computes first.
    """

    def __init__(self, memory: MemoryStore, disk: Store | None, turns: Turns) -> None:
        self._memory = memory
        self._disk = disk
        self._turns = turns
        self._flights: Flights[Found] = Flights(turns.recheck)

    def key(self, snapshot: Snapshot, view: SliceView) -> FeatureKey:
        """Key of the encoder's output for a slice."""
        return FeatureKey(
            image=view.volume.identity,
            axis=view.plane.axis,
            index=view.index,
            window=repr(view.window.curve),
            base=snapshot.base,
            layer="neck",
            adapter=snapshot.encoder_digest,
            numeric=snapshot.numeric,
        )

    def is_warm(self, snapshot: Snapshot, view: SliceView) -> bool:
        """Whether the encoder's output is in memory."""
        return self.key(snapshot, view).digest in self._memory

    def is_stored(self, snapshot: Snapshot, view: SliceView) -> bool:
        """Whether the encoder's output is on disk."""
        key = self.key(snapshot, view)
        return self._disk is not None and self._disk.has(key.image, key.digest)

    def features(self, snapshot: Snapshot, view: SliceView, *, urgent: bool = True) -> Found:
        """The encoder's output for a slice.

        Args:
            snapshot: the network.
            view: the slice.
            urgent: whether somebody waits; background work lets others go first.
        """
        key = self.key(snapshot, view)
        digest = key.digest
        if (kept := self._memory.get(digest)) is not None:
            return Found(kept, "memory")

        def compute(flight: Flight[Found]) -> Found:
            return self._compute(snapshot, view, key, digest, flight)

        start = time.perf_counter()
        found, joined = self._flights.run(digest, compute, urgent=urgent)
        if joined:
            return Found(found.features, "joined", {"join": (time.perf_counter() - start) * 1e3})
        return found

    def _compute(
        self, snapshot: Snapshot, view: SliceView, key: FeatureKey, digest: str, flight: Flight[Found]
    ) -> Found:
        if (kept := self._memory.get(digest)) is not None:  # finished since the caller looked
            return Found(kept, "memory")
        watch = _Watch()
        if self._disk is not None and (stored := self._disk.get(key.image, digest)) is not None:
            return self._kept(digest, Found(sent(stored.float(), snapshot.device), "disk", {"disk": watch.lap()}))

        def pause() -> None:
            if not flight.urgent:
                self._turns.step_aside(lambda: flight.urgent)

        lower, spent = self._lower(snapshot, view, key, pause, watch)
        source = "full" if "lower" in spent else "upper"
        features = encode_upper(snapshot, lower, pause)
        spent["upper"] = watch.lap()
        found = self._kept(digest, Found(features, source, spent))
        self._store(key, digest, features)
        return found

    def _lower(
        self, snapshot: Snapshot, view: SliceView, key: FeatureKey, pause: Pause, watch: _Watch
    ) -> tuple[Tensor, dict[str, float]]:
        spent: dict[str, float] = {}
        below = replace(key, layer=f"block-{snapshot.first_adapted}", adapter="")
        # with the first block adapted there is nothing below worth keeping
        kept = self._disk if snapshot.first_adapted > 0 else None
        digest = below.digest
        if kept is not None and (stored := kept.get(key.image, digest)) is not None:
            spent["disk"] = watch.lap()
            return sent(stored.to(_dtype(snapshot)), snapshot.device), spent
        image = view.plane.image(view.volume, view.window, view.index)
        spent["image"] = watch.lap()
        lower = encode_lower(snapshot, image, pause)
        spent["lower"] = watch.lap()
        if kept is not None:
            self._store(below, digest, lower)
        return lower, spent

    def _kept(self, digest: str, found: Found) -> Found:
        self._memory.put(digest, found.features)
        return found

    def _store(self, key: FeatureKey, digest: str, features: Tensor) -> None:
        if self._disk is not None:
            self._disk.put(key.image, digest, features, compact=True)


def _dtype(snapshot: Snapshot) -> torch.dtype:
    return torch.bfloat16 if snapshot.numeric == "bfloat16" else torch.float32


class _Watch:
    """Milliseconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        spent, self._last = (now - self._last) * 1e3, now
        return spent
