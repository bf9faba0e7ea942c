"""Answers inferences with the version that serves now.

Shared between the request threads: one segmenter per model, each behind its own lock, held for the
whole inference (a segmenter is not thread-safe). The champion pointer is read under that lock for
every request and the adapter is replaced only when it names another version, so a promotion goes
live with the next request and never in the middle of one. Nobody holds two of these locks.
At most ``QUEUE`` requests wait for a model; more are told to come back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monailabel_app.errors import NotFound, Unavailable
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.volumes import VolumeCache
from monailabel_app.models.base import Answer, Labelmap, Prompts, Segmenter
from monailabel_app.state.versions import VersionStore

__all__ = ["QUEUE", "Inference", "Inferred"]

QUEUE = 8
"""Requests per model that may wait or run at once."""


@dataclass(frozen=True)
class Inferred:
    """A mask and where it came from.

    Attributes:
        labelmap: [i, j, k] in the image's own grid.
        volume: the image.
        version: id of the version that made the mask.
        seconds: ``read``, ``wait``, ``load`` (adapter) and ``infer``.
        answer: which of the version's models made it and how sure the selector is, where it holds
            more than one (FedSM).
    """

    labelmap: Labelmap
    volume: Volume
    version: str
    seconds: dict[str, float]
    answer: Answer | None = None


class Inference:
    """One served model per name.

    Args:
        segmenters: model name -> segmenter; the service owns them from now on.
        versions: gives the version store of a model.
    """

    def __init__(self, segmenters: Mapping[str, Segmenter], versions: Callable[[str], VersionStore]) -> None:
        self._served = {name: _Served(segmenter, versions(name)) for name, segmenter in segmenters.items()}
        self._volumes = VolumeCache()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models served."""
        return tuple(self._served)

    def infer(self, model: str, path: Path, prompts: Sequence[Prompts] = (), *, version: str | None = None) -> Inferred:
        """Segment the image in ``path``: automatically, or from prompts where there are any.

        Raises:
            NotFound: no such model or version.
            ImageError: the image cannot be read.
            SiteError: the model takes no prompts, or a prompt lies outside the image.
            Unavailable: too many requests wait for this model.
        """
        served = self._served.get(model)
        if served is None:
            raise NotFound(
                f"this site has no model {model[:60]!r}", f"the models here are: {', '.join(self._served) or 'none'}"
            )
        start = time.perf_counter()
        volume = self._volumes.read(path)
        read = time.perf_counter()
        with served.turn():
            waited = time.perf_counter()
            used = served.use(version)
            loaded = time.perf_counter()
            labelmap = served.segmenter.prompt(volume, prompts) if prompts else served.segmenter.segment(volume)
            answer = getattr(served.segmenter, "answer", None)
        seconds = {
            "read": read - start,
            "wait": waited - read,
            "load": loaded - waited,
            "infer": time.perf_counter() - loaded,
        }
        return Inferred(labelmap, volume, used, {name: round(value, 4) for name, value in seconds.items()}, answer)


class _Served:
    """A segmenter, its lock, and the version it holds."""

    def __init__(self, segmenter: Segmenter, versions: VersionStore) -> None:
        self.segmenter = segmenter
        self._versions = versions
        self._loaded: str | None = None
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(QUEUE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the model, after those who came before.

        Raises:
            Unavailable: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise Unavailable(f"{QUEUE} requests already wait for this model", "try again in a few seconds")
        try:
            with self._lock:
                yield
        finally:
            self._places.release()

    def use(self, version: str | None) -> str:
        """Load ``version``, or the champion; returns its id. The caller holds :meth:`turn`."""
        wanted = version or self._versions.champion()
        if wanted != self._loaded:
            tensors = self._versions.load(wanted)
            self._loaded = None  # unknown while tensors are being replaced
            self.segmenter.load_adapter(tensors)
            self._loaded = wanted
        return wanted
