"""A switch that one thread flips and another obeys.

Shared between the GUI thread (flips it) and the worker (checks it, and registers what must be
torn down at once: a socket that is blocked in a read). One lock, never held while a callback runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from .errors import Cancelled
from .language import tr as _


class CancelSwitch:
    """Off at first; ``cancel()`` switches it on for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on = threading.Event()
        self._teardowns: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """True once somebody cancelled."""
        return self._on.is_set()

    def cancel(self) -> None:
        """Switch on and run every registered teardown, once; safe from any thread."""
        with self._lock:
            self._on.set()
            teardowns, self._teardowns = self._teardowns, []
        for teardown in teardowns:
            teardown()

    def wait(self, seconds: float) -> bool:
        """Wait for somebody to cancel; True when somebody did."""
        return self._on.wait(seconds)

    def check(self) -> None:
        """Raise Cancelled if switched on."""
        if self._on.is_set():
            raise Cancelled(_("Stopped."))

    @contextlib.contextmanager
    def tearing_down(self, teardown: Callable[[], None]) -> Iterator[None]:
        """While inside, a cancel calls ``teardown`` (from the cancelling thread)."""
        with self._lock:
            if self._on.is_set():
                raise Cancelled(_("Stopped."))
            self._teardowns.append(teardown)
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._teardowns.remove(teardown)
