"""Live prompting of the open case: what the person places goes to the site's session, what changes comes back.

Design note
    *Who runs what.* Everything here runs on the GUI thread; requests run on a lane of their own, one at a time and in
    the order of the person's doing. What is placed while one is under way waits in a queue; nothing is blocked.

    *In step.* The site's session and the scene hold the same voxels, and ``_agreed`` is a copy of them. Before each
    request, what the person edited in the scene meanwhile (Segment Editor, automatic mask) is sent as the new state of
    the labels within the edited box; so undo takes manual edits back, too. Of a reply, only voxels that differ from
    ``_agreed`` are written into the scene, so edits made while it was under way survive.

    *Lost sessions.* A session that the site no longer has (restart, 30 minutes of rest) is opened again and the request
    repeated, once; the scene is what counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import words
from ..cancel import CancelSwitch
from ..connection import Connection
from ..consent import Consent
from ..errors import ActionNotPossible, Cancelled, FedSegError, NotFound, SignInNeeded
from ..grid import Array
from ..language import tr as _
from ..panel import Panel
from ..state import LiveView, Phase, notice_of
from ..worker import Job, Lane, Report
from .asks import Ask, Kind, LiveCanvas, Outcome, carry_out, edits_between, shape_prompt
from .calls import SessionCalls
from .drawing import slices_of
from .protocol import Answer, Prompt, Session
from .trail import Mark, Trail, same_place


class LiveWork:
    """The live session of the open case.

    Args:
        panel: the view. connection: the site. lane: thread for requests.
        clock: monotonic seconds.
    """

    def __init__(self, panel: Panel, connection: Connection, lane: Lane, clock: Callable[[], float]) -> None:
        self._panel = panel
        self._connection = connection
        self._lane = lane
        self._clock = clock
        self._canvas: LiveCanvas | None = None
        self._consent: Consent | None = None
        self._case = ""
        self._model = ""
        self._session: Session | None = None
        self._queue: deque[Ask] = deque()
        self._job: Job[Any] | None = None
        self._trail = Trail()
        self._agreed: Array | None = None
        self._stamp: tuple[int, ...] = ()
        self._asked_at = 0.0
        self._axis = ""

    # ---- the case

    def begin(self, canvas: LiveCanvas, case: str) -> None:
        """A case was opened."""
        self.end()
        self._canvas, self._case = canvas, case

    def end(self) -> None:
        """The case is left; the site is told, and nothing more of it is heard."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel.cancel()
        if self._session is not None:
            self._tell_closed(self._session.id)
        if self._canvas is not None:
            self._canvas.close()
        self._canvas = self._session = self._consent = self._agreed = None
        self._queue.clear()
        self._trail.clear()
        self._panel.change(live=LiveView(label=self._panel.view.live.label))

    @property
    def session(self) -> Session | None:
        """The open session, None before the first prompt."""
        return self._session

    @property
    def label(self) -> str:
        """The structure that prompts are about."""
        return self._panel.view.live.label or self._connection.site().schema.names[0]

    @property
    def axis(self) -> str:
        """The image axis of the slices that were prompted last; "" before."""
        return self._axis

    def start_over(self) -> None:
        """Forget all prompts: the next one opens a new session on the mask as it is."""
        if self._session is not None:
            self._tell_closed(self._session.id)
        self._lose_session()
        self._change()

    def choose_label(self, label: str) -> None:
        """Prompts are about this structure from now on; its points are shown."""
        self._change(label=label)
        if self._canvas is not None:
            self._canvas.show_marks(self._trail.shown(label))

    def ready(self, consent: Consent, model: str) -> None:
        """The person is about to prompt: open the session, so that the first click finds the image prepared."""
        if self._model != model and self._session is not None:
            self._lose_session()
        self._consent, self._model = consent, model
        if self._session is None and not self._queue and self._job is None:
            self._ask(Ask(Kind.OPEN))

    # ---- what the person did

    def points_placed(self) -> None:
        """Points were placed in a slice view."""
        canvas = self._canvas
        if canvas is None:
            return
        shown = self._trail.shown(self.label)
        for inside, places in canvas.points():
            known = [mark for mark in shown if mark.inside is inside]
            for world in places:  # a new one is not always the last: Slicer's preview of it may be older than others
                mark = next((one for one in known if same_place(one.world, world)), None)
                if mark is None:
                    self._point(canvas, Mark(self.label, inside, world))
                else:
                    known.remove(mark)

    def _point(self, canvas: LiveCanvas, mark: Mark) -> None:
        try:
            voxel = canvas.voxel(mark.world)
        except FedSegError as error:
            self._panel.change(notice=notice_of(error))
            canvas.show_marks(self._trail.shown(self.label))
            return
        self._trail.place([mark])
        foreground, background = ((voxel,), ()) if mark.inside else ((), (voxel,))
        prompt = Prompt(mark.label, canvas.axis(mark.world), foreground, background)
        self._ask(Ask(Kind.PROMPT, prompt, (mark,)))

    def shape_drawn(self) -> None:
        """A box, a lasso or a scribble is complete."""
        canvas = self._canvas
        if canvas is None:
            return
        try:
            prompt = shape_prompt(canvas, self.label)
        except FedSegError as error:
            self._panel.change(notice=notice_of(error))
            prompt = None
        canvas.clear_shapes()
        if prompt is not None:
            self._ask(Ask(Kind.PROMPT, prompt))

    def undo(self) -> None:
        """Take the last step back, here and at the site."""
        self._ask(Ask(Kind.UNDO))

    def redo(self) -> None:
        """Do the step that was taken back again."""
        self._ask(Ask(Kind.REDO))

    def fetch_changes(self, since: int) -> None:
        """Fetch what a propagation changed, as one more step."""
        self._ask(Ask(Kind.CHANGES, since=since))

    # ---- requests

    def _ask(self, ask: Ask) -> None:
        self._queue.append(ask)
        self._next()

    def _next(self) -> None:
        canvas, consent = self._canvas, self._consent
        if self._job is not None or canvas is None or consent is None or not self._queue:
            self._change(asking=self._job is not None)
            return
        if self._session is None:
            self._open(canvas)
            return
        ask = self._queue.popleft()
        if ask.kind is Kind.OPEN:
            self._next()
            return
        session, agreed = self._session, self._agreed
        try:
            edited = self._edited(canvas) if ask.kind is not Kind.CHANGES else None
            schema = self._connection.site().schema
        except FedSegError as error:
            self._failed(ask, error)
            return
        calls = self._calls()

        def work(cancel: CancelSwitch, report: Report) -> Outcome:
            # comparing whole volumes takes a while; nobody else touches either array before this job has ended
            edits = edits_between(agreed, edited, schema) if agreed is not None and edited is not None else []
            return carry_out(calls, session.id, edits, ask, consent, cancel)

        self._run(work, lambda outcome: self._came(canvas, ask, outcome), lambda error: self._failed(ask, error))

    def _open(self, canvas: LiveCanvas) -> None:
        calls, case, model, label = self._calls(), self._case, self._model, self.label

        def work(cancel: CancelSwitch, report: Report) -> tuple[Session, Answer]:
            session = calls.open(case, model, label, cancel)
            return session, calls.mask(session.id, cancel)

        def done(opened: tuple[Session, Answer]) -> None:
            session, mask = opened
            self._session = session
            i, j, k = session.shape
            self._agreed, self._stamp = np.zeros((k, j, i), np.uint8), ()
            if mask.box is not None and mask.voxels is not None:
                self._agreed[slices_of(mask.box)] = mask.voxels
            self._next()

        def failed(error: Exception) -> None:
            ask = self._queue.popleft() if self._queue else Ask(Kind.OPEN)
            self._failed(ask, error)

        self._run(work, done, failed)

    def _run(self, work: Any, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        def ended(result: Any) -> None:
            if self._job is job:
                self._job = None
                try:
                    done(result)
                except FedSegError as error:  # the scene may refuse
                    self._panel.change(notice=notice_of(error))
                    self._next()

        def broke(error: Exception) -> None:
            if self._job is job:
                self._job = None
                failed(error)

        self._asked_at = self._clock()
        self._change(asking=True)
        job = self._lane.submit(work, ended, broke)
        self._job = job

    def _edited(self, canvas: LiveCanvas) -> Array | None:
        """The case's labels, if the person touched them since the last answer."""
        stamp = canvas.stamp()
        if stamp == self._stamp:
            return None
        labels = canvas.labels()
        self._stamp = stamp
        return labels

    def _came(self, canvas: LiveCanvas, ask: Ask, outcome: Outcome) -> None:
        for answer in outcome.edits:
            self._trail.answered()
            self._apply(canvas, answer)
        if outcome.answer is None:
            self._failed(ask, outcome.error or ActionNotPossible(_("The site did not answer.")))
            return
        if ask.kind is Kind.UNDO:
            self._trail.back()
        elif ask.kind is Kind.REDO:
            self._trail.forth()
        else:
            self._trail.answered(ask.marks)
            self._axis = ask.prompt.axis if ask.prompt is not None else self._axis
        self._apply(canvas, outcome.answer)
        canvas.show_marks(self._trail.shown(self.label))
        self._told(outcome.answer)
        self._next()

    def _apply(self, canvas: LiveCanvas, answer: Answer) -> None:
        if self._session is not None:
            self._session = replace(self._session, step=answer.step, undo=answer.undo, redo=answer.redo)
        if answer.box is None or answer.voxels is None or self._agreed is None:
            return
        box = slices_of(answer.box)
        changed = answer.voxels != self._agreed[box]
        untouched = canvas.stamp() == self._stamp
        canvas.apply(box, answer.voxels, changed)
        self._agreed[box] = answer.voxels
        if untouched:
            self._stamp = canvas.stamp()

    def _told(self, answer: Answer) -> None:
        view = self._panel.view
        waited = self._clock() - self._asked_at
        if view.case is not None and view.phase is Phase.OPEN:
            seen = words.live_answer(answer.version or self._model, waited, answer.milliseconds)
            case = replace(view.case, answered_by=seen, submitted=False)
            self._panel.change(case=case, notice=None)

    def _failed(self, ask: Ask, error: Exception) -> None:
        self._stamp = ()  # edits that were to be sent may not have arrived: compare again before the next request
        if isinstance(error, NotFound) and self._session is not None and not ask.again:
            self._lose_session()
            if ask.kind in (Kind.PROMPT, Kind.OPEN):
                self._queue.appendleft(replace(ask, again=True))
            self._next()
            return
        if isinstance(error, NotFound):
            self._lose_session()
        self._trail.refused(ask.marks)
        if self._canvas is not None:
            self._canvas.show_marks(self._trail.shown(self.label))
        if isinstance(error, SignInNeeded):
            self._queue.clear()
            self._panel.ask_sign_in(error)
        elif not isinstance(error, Cancelled):
            self._panel.change(notice=notice_of(error))
        self._next()

    def _lose_session(self) -> None:
        """Forget the session; the points of its steps cannot be undone any more, so they are taken away."""
        self._session = self._agreed = None
        self._trail.clear()

    def _tell_closed(self, name: str) -> None:
        calls = self._calls()

        def work(cancel: CancelSwitch, report: Report) -> None:
            calls.close(name, cancel)

        self._lane.submit(work, lambda _: None, lambda error: None)  # the site also ends it after a while

    def _calls(self) -> SessionCalls:
        return self._connection.client().sessions

    def _change(self, **changes: Any) -> None:
        session = self._session
        live = replace(
            self._panel.view.live,
            can_undo=session is not None and session.undo > 0,
            can_redo=session is not None and session.redo > 0,
            **changes,
        )
        self._panel.change(live=live)
