"""The common ground of everything a person can do: the View, one foreground job at a time, failures as notices.

Used on the GUI thread only. No method blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from .errors import Cancelled, FedSegError, SignInNeeded
from .language import tr as _
from .state import Action, Busy, Notice, Phase, View, move, notice_of, why_not
from .worker import Job, Lane, Mailbox, Work

T = TypeVar("T")


class Panel:
    """Holds the View and runs the foreground job.

    Args:
        mailbox: where results arrive. lane: does the foreground jobs.
        changed: called with every new View.
        signed_out: called when the site asks for a sign-in in the middle of something.
    """

    def __init__(self, mailbox: Mailbox, lane: Lane, changed: Callable[[View], None]) -> None:
        self.mailbox = mailbox
        self.signed_out: Callable[[], None] = lambda: None
        self._lane = lane
        self._changed = changed
        self._view = View()
        self._job: Job[Any] | None = None
        self._gathering = False
        self._told = self._view

    @property
    def view(self) -> View:
        """What to show now."""
        return self._view

    def can(self, action: Action) -> bool:
        """True when the action is possible now; else the reason becomes the notice."""
        reason = why_not(self._view, action)
        if reason is not None:
            self.change(
                notice=Notice(_("You cannot {action} now. {reason}").format(action=_(action.value), reason=reason))
            )
        return reason is None

    def guarded(self, call: Callable[[], T]) -> T | None:
        """The call's result; a failure becomes the notice and gives None."""
        try:
            return call()
        except FedSegError as error:
            self.change(notice=notice_of(error))
            return None

    def run(
        self,
        phase: Phase,
        text: str,
        work: Work[T],
        done: Callable[[T], None],
        back: Phase,
        *,
        failed: Callable[[], None] = lambda: None,
        unwanted: Callable[[T], None] = lambda result: None,
        certain: bool = False,
    ) -> None:
        """Do ``work`` in the background while the view is in ``phase``; on failure go ``back`` and call ``failed``.

        ``certain`` work is begun even if it is stopped or dropped before, and ``unwanted`` takes its result if it is
        stopped or dropped when it was done (:meth:`.Lane.submit`).
        """
        self.to(phase, busy=Busy(text))

        def progress(message: str, fraction: float | None) -> None:
            if self._job is job:
                self.change(busy=Busy(message, fraction))

        def ended(result: T) -> None:
            if self._job is job:
                self._job = None
                try:
                    done(result)
                except Exception as error:  # the scene may refuse; the panel must go on whatever happens
                    self._fail(error, back)

        def broke(error: Exception) -> None:
            if self._job is job:
                self._job = None
                self._fail(error, back)
                failed()

        job = self._lane.submit(work, ended, broke, progress, unwanted=unwanted, certain=certain)
        self._job = job

    def cancel(self) -> None:
        """Stop the foreground job; the phase goes back when the worker has let go of it."""
        if self._job is not None:
            self._job.cancel.cancel()

    def drop_job(self) -> None:
        """Stop the foreground job and never hear of it again."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel.cancel()

    def to(self, phase: Phase, **changes: Any) -> None:
        """Move to a phase; busy and notice are gone unless given."""
        self.show(move(self._view, phase, **{"busy": None, "notice": None, **changes}))

    def change(self, **changes: Any) -> None:
        """Change fields within the phase."""
        self.show(replace(self._view, **changes))

    def show(self, view: View) -> None:
        """Make this the View, and tell if it is another one."""
        if view != self._view:
            self._view = view
            if not self._gathering:
                self._tell()

    def gathered(self, call: Callable[[], object]) -> None:
        """Make a call, and tell of all the changes it makes once, when it is over: drawing takes milliseconds."""
        self._gathering = True
        try:
            call()
        finally:
            self._gathering = False
            self._tell()

    def _tell(self) -> None:
        if self._view is not self._told:
            self._told = self._view
            self._changed(self._view)

    def ask_sign_in(self, error: SignInNeeded) -> None:
        """The site wants to know who asks, in the middle of something."""
        self.drop_job()
        self.signed_out()
        self.to(Phase.SIGN_IN, notice=notice_of(error))

    def _fail(self, error: Exception, back: Phase) -> None:
        if isinstance(error, SignInNeeded):
            self.ask_sign_in(error)
        elif isinstance(error, Cancelled):
            self.to(back, notice=Notice(_("Stopped.")))
        else:
            self.to(back, notice=notice_of(error))
