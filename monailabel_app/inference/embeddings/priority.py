"""Clicks first: work that nobody waits for steps aside while somebody is being served.

Shared: a counter of urgent requests behind one condition. Background work calls :meth:`step_aside`
between short steps (one encoder block, one slice) and holds no other lock while it waits there. It
waits at most ``PATIENCE_S`` a step, so that it gets on even when clicks never pause.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["PATIENCE_S", "Turns"]

PATIENCE_S = 0.25


class Turns:
    """Who may compute now."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._urgent = 0

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
                self._condition.notify_all()

    def step_aside(self, excused: Callable[[], bool] = lambda: False) -> None:
        """Wait until nobody is served, or ``excused`` (somebody waits for this very work)."""
        with self._condition:
            self._condition.wait_for(lambda: self._urgent == 0 or excused(), PATIENCE_S)

    def recheck(self) -> None:
        """Let waiting work ask again whether it is excused."""
        with self._condition:
            self._condition.notify_all()
