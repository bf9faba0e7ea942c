"""Keeping the work list fresh, with a small picture of every case, in the background."""

from __future__ import annotations

from collections.abc import Callable

from .cancel import CancelSwitch
from .cases import CaseRow
from .connection import Connection
from .errors import Cancelled, FedSegError
from .panel import Panel
from .worker import Job, Lane, Report

REFRESH_SECONDS = 15.0
PICTURE_PIXELS = 48
_MOST_PICTURES = 500


class WorkList:
    """The cases of the connected site.

    Args:
        panel: the view. connection: the site. lane: thread for it.
        clock: monotonic seconds.
    """

    def __init__(self, panel: Panel, connection: Connection, lane: Lane, clock: Callable[[], float]) -> None:
        self._panel = panel
        self._connection = connection
        self._lane = lane
        self._clock = clock
        self._due = 0.0
        self._job: Job[tuple[CaseRow, ...]] | None = None
        self._drawing: Job[bytes] | None = None
        self._again = False
        self._wanted: list[str] = []
        self.pictures: dict[str, bytes] = {}
        """PNG files by case; b"" for one that has none."""
        self.pictured: Callable[[str], None] = lambda case: None
        """Called when a case's picture has arrived."""

    def tick(self) -> None:
        """Look again if it is time."""
        if self._panel.view.site is not None and self._job is None and self._clock() >= self._due:
            self.refresh()

    def refresh(self) -> None:
        """Ask the site for its cases."""
        self._again = self._job is not None  # what it finds may be older than what the person waits for
        if self._panel.view.site is None or self._again:
            return
        client, stock = self._connection.client(), self._connection.site().stock

        def work(cancel: CancelSwitch, report: Report) -> tuple[CaseRow, ...]:
            return client.cases(stock, cancel)

        def done(rows: tuple[CaseRow, ...]) -> None:
            if self._job is job:
                self._rest()
                self._panel.change(cases=rows)

        def failed(error: Exception) -> None:
            if self._job is job:
                self._rest()  # the watch tells what is wrong with the site; an old list is better than none

        job = self._job = self._lane.submit(work, done, failed)

    def soon(self) -> None:
        """Something has changed."""
        self._due = self._clock()

    def want_pictures(self, cases: list[str]) -> None:
        """Fetch the pictures of these cases (those on the screen), one after the other."""
        site = self._panel.view.site
        if site is None or site.stock:
            return
        self._wanted = [case for case in cases if case not in self.pictures]
        self._draw_next()

    def leave(self) -> None:
        """The site is left."""
        for job in (self._job, self._drawing):
            if job is not None:
                job.cancel.cancel()
        self._job = self._drawing = None
        self._wanted = []
        self.pictures.clear()
        self._due = 0.0

    def _rest(self) -> None:
        self._job = None
        self._due = self._clock() + (0.0 if self._again else REFRESH_SECONDS)

    def _draw_next(self) -> None:
        if self._drawing is not None or not self._wanted or len(self.pictures) >= _MOST_PICTURES:
            return
        case, client = self._wanted.pop(0), self._connection.client()

        def work(cancel: CancelSwitch, report: Report) -> bytes:
            try:
                return client.thumbnail(case, PICTURE_PIXELS, cancel)
            except Cancelled:
                raise
            except FedSegError:
                return b""  # a case without a picture is still a case

        def done(picture: bytes) -> None:
            if self._drawing is job:
                self._drawing = None
                self.pictures[case] = picture
                self.pictured(case)
                self._draw_next()

        job = self._drawing = self._lane.submit(work, done, lambda error: None)
