"""Clicks first: work that nobody waits for steps aside while somebody is being served.

Shared: a counter of urgent requests behind one condition. Background work calls :meth:`step_aside`
between short steps (one encoder block, one slice) and holds no other lock while it waits there. It
waits at most ``PATIENCE_S`` a step, so that it gets on even when clicks never pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["PATIENCE_S", "REST_S", "Turns"]

PATIENCE_S = 0.25
REST_S = 0.003
"""How long background work waits after the last answer was computed: it still has to be sent."""


class Turns:
    """Who may compute now."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._urgent = 0
        self._rest_until = 0.0

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Serve somebody who waits; background work pauses meanwhile."""
        with self._condition:
            self._urgent += 1
        try:
            yield
        finally:
            with self._condition:
                self._urgent -= 1
                self._rest_until = time.monotonic() + REST_S
                self._condition.notify_all()

    def step_aside(self, excused: Callable[[], bool] = lambda: False) -> None:
        """Wait until nobody is served, or ``excused`` (somebody waits for this very work)."""
        until = time.monotonic() + PATIENCE_S
        with self._condition:
            while not excused():
                now = time.monotonic()
                wait = (until if self._urgent else min(until, self._rest_until)) - now
                if wait <= 0:
                    return
                self._condition.wait(wait)

    def recheck(self) -> None:
        """Let waiting work ask again whether it is excused."""
        with self._condition:
            self._condition.notify_all()
