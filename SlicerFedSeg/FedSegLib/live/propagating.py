"""Carrying a structure on to other slices: start, progress, cancel. On a lane of its own, so that clicks go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..cancel import CancelSwitch
from ..errors import Cancelled, FedSegError
from ..language import tr as _
from ..panel import Panel
from ..state import notice_of
from ..worker import Job, Lane, Report
from .calls import SessionCalls
from .protocol import Propagation

POLL_SECONDS = 0.1


class Propagating:
    """The propagation of the open session.

    Args:
        panel: the view. lane: thread for it.
        found: called with the step before the propagation when there is something to fetch.
    """

    def __init__(self, panel: Panel, lane: Lane, found: Callable[[int], None]) -> None:
        self._panel = panel
        self._lane = lane
        self._found = found
        self._job: Job[Propagation] | None = None
        self._stop = CancelSwitch()

    @property
    def running(self) -> bool:
        """True while slices are being found."""
        return self._job is not None

    def start(self, calls: SessionCalls, session: str, label: str, axis: str) -> None:
        """Carry a structure on from its prompted slices."""
        if self._job is not None:
            return

        stop = self._stop = CancelSwitch()

        def work(cancel: CancelSwitch, report: Report) -> Propagation:
            state = calls.propagate(session, label, axis, cancel)
            while state.state == "running":
                at = "" if state.at is None else _(" · at slice {at}").format(at=state.at + 1)
                report(
                    _("Propagating '{label}': {done} slices found{at}").format(label=label, done=state.done, at=at),
                    None,
                )
                asked = stop.wait(POLL_SECONDS)
                state = calls.stop(session, cancel) if asked else calls.progress(session, cancel)
            return state

        def done(state: Propagation) -> None:
            if self._job is not job:
                return
            self._ended("" if state.state != "failed" else state.message)
            if state.state != "failed":
                self._found(state.since)

        def failed(error: Exception) -> None:
            if self._job is job:
                self._ended("")
                if not isinstance(error, Cancelled):
                    self._panel.change(notice=notice_of(error))

        def progress(text: str, fraction: float | None) -> None:
            if self._job is job and not stop.cancelled:
                self._show(text)

        self._show(_("Propagating '{label}' …").format(label=label))
        job = self._lane.submit(work, done, failed, progress)
        self._job = job

    def cancel(self) -> None:
        """Stop after the present slice; what was found so far is kept."""
        if self._job is not None:
            self._show(_("Stopping …"))
            self._stop.cancel()

    def drop(self) -> None:
        """The case is left."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel.cancel()
        self._show("")

    def _ended(self, message: str) -> None:
        self._job = None
        self._show("")
        if message:
            hint = _("Prompt another slice and try again.")
            self._panel.change(
                notice=notice_of(FedSegError(_("Propagation failed: {message}").format(message=message), hint))
            )

    def _show(self, text: str) -> None:
        self._panel.change(live=replace(self._panel.view.live, propagating=text))
