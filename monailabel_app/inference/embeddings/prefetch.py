"""Encodes the slices around every annotator's current one before they get there.

One background thread per model. It goes round the annotators, and for each outwards from the
current slice, further ahead in the direction of paging. It computes a slice at a time, gives way to
clicks between encoder blocks, and sleeps when everything near is warm.

Shared: the table of positions behind one condition; nothing is computed under it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

from monailabel_app.errors import Cancelled, SiteError
from monailabel_app.inference.embeddings.cache import FeatureCache, SliceView
from monailabel_app.inference.embeddings.priority import Turns
from monailabel_app.inference.embeddings.snapshot import Snapshot

__all__ = ["REACH", "Prefetcher", "outwards"]

logger = logging.getLogger(__name__)

REACH = 24
"""Slices fetched on the near side of the direction of paging; a third as many behind."""


def outwards(centre: int, count: int, direction: int, reach: int = REACH) -> Iterator[int]:
    """Slice numbers by how soon they are needed: the current one, then two ahead for one behind.

    Args:
        centre: the current slice.
        count: slices of the volume.
        direction: 1 or -1 when the annotator pages that way; 0 alternates evenly.
        reach: how far ahead.
    """
    ahead, behind = (1, -1) if direction >= 0 else (-1, 1)
    yield centre
    back = 0
    for step in range(1, reach + 1):
        if 0 <= centre + ahead * step < count:
            yield centre + ahead * step
        if direction == 0 or step % 3 == 0:
            back += 1
            if 0 <= centre + behind * back < count:
                yield centre + behind * back


class Prefetcher:
    """See the module.

    Args:
        cache: where features go.
        turns: clicks go first.
        snapshot: the network that serves now.
        reach: how many slices ahead.
    """

    def __init__(self, cache: FeatureCache, turns: Turns, snapshot: Callable[[], Snapshot], reach: int = REACH) -> None:
        self._cache = cache
        self._turns = turns
        self._snapshot = snapshot
        self._reach = reach
        self._condition = threading.Condition()
        self._views: dict[str, tuple[SliceView, int]] = {}
        self._moved = 0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def look_at(self, who: str, view: SliceView) -> None:
        """Somebody looks at a slice now."""
        with self._condition:
            before = self._views.get(who)
            direction = 0
            if before is not None and before[0].plane.axis == view.plane.axis:
                step = view.index - before[0].index
                direction = (step > 0) - (step < 0) if step else before[1]
            self._views[who] = (view, direction)
            self._wake()

    def leave(self, who: str) -> None:
        """Somebody is gone."""
        with self._condition:
            self._views.pop(who, None)

    def refresh(self) -> None:
        """Look again at what is warm: the network changed."""
        with self._condition:
            self._wake()

    def current(self) -> list[SliceView]:
        """The slices that are looked at."""
        with self._condition:
            return [view for view, _ in self._views.values()]

    def stop(self) -> None:
        """End the thread; waits for the block it computes."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=10)

    def _wake(self) -> None:
        self._moved += 1
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._stopped:
                    return
                seen, views = self._moved, dict(self._views)
            if not self._round(views, seen):
                with self._condition:
                    self._condition.wait_for(lambda seen=seen: self._stopped or self._moved != seen)  # type: ignore[misc]

    def _round(self, views: dict[str, tuple[SliceView, int]], seen: int) -> bool:
        """Fetch the most wanted cold slice of everyone; false when all are warm."""
        worked = False
        for view, direction in views.values():
            if self._stopped or self._moved != seen:
                return True
            try:
                worked |= self._fetch(view, direction)
            except Cancelled:
                return True
            except SiteError as error:
                logger.warning("features could not be fetched ahead: %s", error)
            except Exception:
                logger.exception("features could not be fetched ahead")
        return worked

    def _fetch(self, view: SliceView, direction: int) -> bool:
        snapshot = self._snapshot()
        for index in outwards(view.index, len(view.plane), direction, self._reach):
            wanted = view.at(index)
            if not self._cache.is_warm(snapshot, wanted):
                self._turns.step_aside()
                self._cache.features(snapshot, wanted, urgent=False)
                return True
        return False
