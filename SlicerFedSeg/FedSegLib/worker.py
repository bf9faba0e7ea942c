"""Background work without Qt: one daemon thread per lane, results on the caller's thread.

Design note
    *Why not a plain thread?* Slicer's event loop keeps the interpreter lock (GIL) while Qt idles, so a Python thread
    advances only when Python code on the GUI thread gives the lock away. The panel therefore has a timer whose tick
    calls :meth:`Mailbox.deliver`; while work is pending that waits up to 20 ms on an event, and waiting gives the lock
    away. A result that arrives in them is delivered at once. In the first second of a job the timer runs every 2 ms:
    the worker thread gets 20 of 22 ms (90 % of the time), and a click is answered without delay. After that it runs
    every 50 ms: 20 of 50 ms (40 %) are enough for network transfers, and Slicer stays usable during a long
    segmentation. When nothing is pending the tick returns immediately and the panel stops it.

    *What is shared.* The lane's job queue (``queue.Queue``), the mailbox's message queue and its event, and each job's
    :class:`CancelSwitch`. There are no other locks, so there is no lock order. Messages are immutable once posted.

    *Who runs what.* ``work`` runs on the lane's thread and never touches MRML, VTK or Qt. ``progress``, ``done`` and
    ``failed`` run on the thread that calls ``deliver`` (the GUI thread), in the order of posting, exactly one of
    ``done``/``failed`` per job. A cancelled job always ends in ``failed(Cancelled)``, even when its result was ready.

    *Ends.* ``close()`` cancels what runs and what waits, and tells the thread to go; the thread is a daemon, so a read
    that cannot be interrupted never keeps Slicer alive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .cancel import CancelSwitch
from .errors import Cancelled
from .language import tr as _

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

GIVE_WAY_SECONDS = 0.02
"""How long a tick waits for the worker, at most; 20 of 50 ms is not felt as a stutter."""

HURRY_SECONDS = 1.0
"""How long after a job was asked for ticks come as often as possible."""

Report = Callable[[str, "float | None"], None]
"""``report(text, fraction)``: what is being done, and how much of it (0..1, None when not known)."""


class Work(Protocol[T_co]):
    """What a job does on the worker thread."""

    def __call__(self, cancel: CancelSwitch, report: Report) -> T_co:
        """Do it; check ``cancel`` often; call ``report`` as often as useful."""
        ...


class Mailbox:
    """Where every lane leaves its news for the GUI thread.

    Args:
        wake: called (GUI thread) when there is something to wait for; the widget starts its timer.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._messages: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._arrived = threading.Event()
        self._pending: list[float] = []  # touched by the GUI thread only: when jobs not yet delivered were asked for

    @property
    def pending(self) -> int:
        """Jobs that were submitted and whose end was not delivered yet."""
        return len(self._pending)

    @property
    def hurried(self) -> bool:
        """True while a job is pending that was asked for less than HURRY_SECONDS ago."""
        return bool(self._pending) and time.monotonic() - self._pending[-1] < HURRY_SECONDS

    def post(self, message: Callable[[], None]) -> None:
        """Leave a message; from any thread."""
        self._messages.put(message)
        self._arrived.set()

    def expect(self) -> float:
        """Note that one more job will end (GUI thread); returns when it was asked for, for :meth:`settled`."""
        asked = time.monotonic()
        self._pending.append(asked)
        self._wake()
        return asked

    def later(self, call: Callable[[], None]) -> None:
        """Make a call at the next delivery (GUI thread): not within the event that it answers."""

        def run() -> None:
            self.settled(asked)
            call()

        asked = self.expect()
        self.post(run)

    def settled(self, asked: float) -> None:
        """Note that the job asked for then has ended (GUI thread)."""
        self._pending.remove(asked)

    def deliver(self, give_way: float = GIVE_WAY_SECONDS) -> int:
        """Run the messages that arrive within ``give_way`` seconds; return at once when no job is pending.

        What a message asks for may be answered within the same call, so a quick site costs no further tick.

        Returns:
            Number of messages run.
        """
        deadline = time.monotonic() + give_way
        count = self._run_arrived()
        while self._pending and (left := deadline - time.monotonic()) > 0:
            self._arrived.wait(left)
            count += self._run_arrived()
        return count

    def _run_arrived(self) -> int:
        self._arrived.clear()
        count = 0
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                return count
            message()
            count += 1


class Job(Generic[T]):
    """One piece of work and what to do when it ends."""

    def __init__(
        self,
        work: Work[T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        progress: Report | None = None,
        *,
        unwanted: Callable[[T], None] = lambda result: None,
        certain: bool = False,
    ) -> None:
        self.cancel = CancelSwitch()
        self.asked = 0.0
        self._unwanted = unwanted
        self._certain = certain
        self._work = work
        self._done = done
        self._failed = failed
        self._progress = progress

    def run(self, mailbox: Mailbox) -> None:
        """Do the work on this thread and post its end (worker thread)."""

        def report(text: str, fraction: float | None = None) -> None:
            if self._progress is not None:
                mailbox.post(lambda: self._tell(text, fraction))

        try:
            if not self._certain:
                self.cancel.check()
            result = self._work(self.cancel, report)
        except Exception as error:  # every end reaches the GUI thread, whatever it is
            failure = error
            mailbox.post(lambda: self._end_badly(mailbox, failure))
        else:
            mailbox.post(lambda: self._end_well(mailbox, result))

    def _tell(self, text: str, fraction: float | None) -> None:
        if self._progress is not None and not self.cancel.cancelled:
            self._progress(text, fraction)

    def _end_well(self, mailbox: Mailbox, result: T) -> None:
        mailbox.settled(self.asked)
        if self.cancel.cancelled:
            self._unwanted(result)
            self._failed(Cancelled(_("Stopped.")))
        else:
            self._done(result)

    def _end_badly(self, mailbox: Mailbox, error: Exception) -> None:
        mailbox.settled(self.asked)
        self._failed(Cancelled(_("Stopped.")) if self.cancel.cancelled else error)


class Lane:
    """One daemon thread that does its jobs one after the other."""

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._queue: queue.SimpleQueue[Job[object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=f"fedseg-{name}", daemon=True)
        self._closed = False
        self._started = False

    def submit(
        self,
        work: Work[T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        progress: Report | None = None,
        *,
        unwanted: Callable[[T], None] = lambda result: None,
        certain: bool = False,
    ) -> Job[T]:
        """Queue ``work``; its end is delivered by the mailbox (GUI thread).

        Args:
            work: what to do; looks at the switch itself.
            done: takes its result.
            failed: takes its error, or ``Cancelled``.
            progress: takes its reports.
            unwanted: takes a result that was ready when the job was cancelled, before ``failed`` is called.
            certain: begin it even if it was cancelled while it waited: it keeps something first.
        """
        if self._closed:
            raise RuntimeError("the lane is closed")
        if not self._started:
            self._thread.start()
            self._started = True
        job: Job[T] = Job(work, done, failed, progress, unwanted=unwanted, certain=certain)
        job.asked = self._mailbox.expect()
        self._queue.put(job)  # type: ignore[arg-type]  # a job ends by itself; nobody reads its result as object
        return job

    def close(self) -> None:
        """Let the thread go after the jobs that are queued; cancel those first to go at once."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end (tests); True when it has."""
        if self._started:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run(self._mailbox)
