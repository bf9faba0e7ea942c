"""Duplicate requests compute once: the first computes, the others wait for its result.

Shared: a table of running computations behind one lock, which is never held while computing. A
waiter that somebody waits for makes the computation urgent. A computation that is given up
(``Cancelled``) does not fail its waiters: one of them takes over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from monailabel_app.errors import Cancelled

__all__ = ["Flight", "Flights"]

T = TypeVar("T")


class Flight(Generic[T]):
    """One running computation.

    Attributes:
        urgent: whether somebody waits for it now.
    """

    def __init__(self, urgent: bool) -> None:
        self.urgent = urgent
        self.future: Future[T] = Future()


class Flights(Generic[T]):
    """Running computations by key.

    Args:
        on_urgent: called when a background computation becomes urgent.
    """

    def __init__(self, on_urgent: Callable[[], None] = lambda: None) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Flight[T]] = {}
        self._on_urgent = on_urgent

    def run(self, key: str, compute: Callable[[Flight[T]], T], *, urgent: bool) -> tuple[T, bool]:
        """The result for ``key``, and whether another thread computed it.

        Args:
            key: equal keys share one computation.
            compute: called without locks by whoever comes first.
            urgent: whether somebody waits for the result.
        """
        while True:
            with self._lock:
                flight = self._running.get(key)
                leads = flight is None
                if flight is None:
                    flight = self._running[key] = Flight(urgent)
            if leads:
                return self._lead(key, flight, compute), False
            if urgent and not flight.urgent:
                flight.urgent = True
                self._on_urgent()
            try:
                return flight.future.result(), True
            except Cancelled:
                continue

    def _lead(self, key: str, flight: Flight[T], compute: Callable[[Flight[T]], T]) -> T:
        try:
            result = compute(flight)
        except BaseException as error:
            with self._lock:
                del self._running[key]
            flight.future.set_exception(error)
            raise
        with self._lock:
            del self._running[key]
        flight.future.set_result(result)
        return result
