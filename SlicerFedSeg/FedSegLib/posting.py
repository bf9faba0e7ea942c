"""Sending what waits in the outbox: at once after a submission, and again whenever the site can be reached.

A mask that cannot be delivered stays; one that the site refuses is told about, and stays until the person discards it.
"""

from __future__ import annotations

from collections.abc import Callable

from .cancel import CancelSwitch
from .connection import Connection
from .errors import Cancelled, ConsentMissing, FedSegError, ProtocolError, ServerFault, SignInNeeded, Unreachable
from .language import tr as _
from .outbox import Outbox, Parcel
from .panel import Panel
from .protocol import Receipt
from .state import Notice, Phase, Tone, notice_of
from .worker import Job, Lane, Report

AGAIN_SECONDS = 20.0
_LATER = (Unreachable, ServerFault, ProtocolError, SignInNeeded, ConsentMissing, Cancelled)
"""What may be better next time; anything else is the site's no to this mask."""


def may_arrive_later(error: Exception) -> bool:
    """True when a mask that failed so should wait instead of being given up."""
    return isinstance(error, _LATER)


class Posting:
    """Delivers waiting masks of the connected server in the background.

    Args:
        panel: the view. connection: the site. lane: thread for it. outbox: the masks.
        clock: monotonic seconds.
    """

    def __init__(
        self, panel: Panel, connection: Connection, lane: Lane, outbox: Outbox, clock: Callable[[], float]
    ) -> None:
        self._panel = panel
        self._connection = connection
        self._lane = lane
        self._outbox = outbox
        self._clock = clock
        self._due = 0.0
        self._job: Job[Receipt] | None = None
        self._refused: dict[str, str] = {}
        self._foreground = ""

    def tick(self) -> None:
        """Try again if it is time."""
        if self._panel.view.waiting and self._job is None and self._clock() >= self._due:
            self.send()

    def refresh(self) -> None:
        """Look what waits for the connected server, and soon send it."""
        self._due = self._clock()
        self._show()

    def hold(self, parcel: Parcel) -> None:
        """Leave this one alone while it is being sent in the foreground."""
        self._foreground = parcel.id

    def free(self) -> None:
        """Nothing is sent in the foreground any more."""
        self._foreground = ""
        self._due = self._clock() + AGAIN_SECONDS
        self._show()

    def send(self) -> None:
        """Send the oldest mask that waits."""
        self._due = self._clock() + AGAIN_SECONDS
        ready = [one for one in self._kept() if one.id not in self._refused]
        consent = self._connection.consent() if ready and self._panel.view.site is not None else None
        if self._job is not None or not ready or consent is None:
            self._show()
            return
        parcel, client = ready[0], self._connection.client()

        def work(cancel: CancelSwitch, report: Report) -> Receipt:
            return client.deliver(parcel, self._outbox.mask_of(parcel), consent, cancel)

        def over() -> None:
            if self._job is job:  # another one is under way if the server was left and found again
                self._job = None

        def done(receipt: Receipt) -> None:
            over()
            self._outbox.remove(parcel)
            self._panel.change(
                notice=Notice(
                    _("The mask of '{case}' that waited here has arrived.").format(case=parcel.case), "", Tone.GOOD
                )
            )
            self.refresh()

        def failed(error: Exception) -> None:
            over()
            if not may_arrive_later(error):
                self._refused[parcel.id] = str(error)
                self._panel.change(notice=notice_of(error))
                self._due = self._clock()
            self._show()

        job = self._job = self._lane.submit(work, done, failed)

    def discard_refused(self) -> None:
        """Give up the masks that the site will not take."""
        for parcel in self._outbox.waiting(self._panel.view.address):
            if parcel.id in self._refused:
                self._outbox.remove(parcel)
        self._refused.clear()
        self._show()

    def leave(self) -> None:
        """The server is left; what waits stays on disk."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel.cancel()
        self._refused.clear()

    def _kept(self) -> list[Parcel]:
        """What waits for this server; a foreground job may be dropped at any time, and its mask waits like others."""
        held = self._foreground if self._panel.view.phase is Phase.SUBMITTING else ""
        return [one for one in self._outbox.waiting(self._panel.view.address) if one.id != held]

    def _show(self) -> None:
        kept = self._kept()
        refused = {one.case: self._refused[one.id] for one in kept if one.id in self._refused}
        waiting = tuple(one.case for one in kept if one.id not in self._refused)
        self._panel.change(waiting=waiting, refused=tuple(refused.items()))


def kept_notice(parcel: Parcel, error: FedSegError) -> Notice:
    """What is said when a mask could not be delivered."""
    return Notice(
        _("{error} The mask of '{case}' is kept on this computer.").format(error=error, case=parcel.case),
        _("It is sent as soon as the site can be reached again, even after a restart. You can go on."),
    )
