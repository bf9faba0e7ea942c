"""The annotator's work on one case: open the next one, segment, point, submit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from . import words
from .cancel import CancelSwitch
from .cases import CaseState
from .client import SegmentRequest
from .connection import Connection
from .consent import Consent
from .decoding import Image, decode_image
from .errors import ActionNotPossible, Cancelled, FedSegError, SignInNeeded
from .language import tr as _
from .outbox import Outbox
from .panel import Panel
from .posting import Posting, kept_notice, may_arrive_later
from .prompting import Prompting
from .protocol import LabelSchema, Mask, NextCase, Prompts, Receipt, SiteInfo
from .settings import Settings
from .state import Action, CaseView, Notice, Phase, Tone, notice_of, why_not
from .voxels import Voxels
from .worker import Report

if TYPE_CHECKING:
    from .scene import SceneCase


class CaseScene(Protocol):
    """What the controller needs of the scene; :class:`~FedSegLib.scene.SlicerScene` is it."""

    def open_image(self, path: Path, name: str, schema: LabelSchema, image: Image | None = None) -> SceneCase: ...
    def close_case(self, case: SceneCase) -> None: ...
    def put_away(self, case: SceneCase) -> None: ...
    def has_marks(self, case: SceneCase) -> bool: ...
    def stamp(self, case: SceneCase) -> tuple[int, ...]: ...
    def show_mask(self, case: SceneCase, mask: Mask, folder: Path) -> None: ...
    def take_mask(self, case: SceneCase, *, allow_empty: bool = False) -> Voxels: ...
    def prompts(self, case: SceneCase) -> Prompts: ...


@dataclass(frozen=True)
class Arrived:
    """A case as it came: its image file, what the worker read of it, and the mask submitted last, if any."""

    case: NextCase
    path: Path
    image: Image | None
    mask: Mask | None


class CaseWork:
    """The open case.

    Args:
        panel: the view and the foreground job.
        connection: the site.
        scene: where cases are opened. prompting: the mouse's tools.
        outbox: keeps submitted masks until they arrived. posting: sends them.
        submitted: called after a submission.
        folder: private folder for temporary files.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        panel: Panel,
        connection: Connection,
        settings: Settings,
        scene: CaseScene,
        prompting: Prompting,
        outbox: Outbox,
        posting: Posting,
        submitted: Callable[[], None],
        folder: Path,
        clock: Callable[[], float],
    ) -> None:
        self._panel = panel
        self._connection = connection
        self._settings = settings
        self._scene = scene
        self._prompting = prompting
        self._outbox = outbox
        self._posting = posting
        self._submitted = submitted
        self._folder = folder
        self._clock = clock
        self._case: SceneCase | None = None
        self._opened_at = 0.0
        self._skipped: set[str] = set()
        self.leaving: Callable[[], None] = lambda: None
        """Called before the open case is let go of."""
        self._leaving = ""
        self._safe: tuple[int, ...] | None = None

    @property
    def case(self) -> SceneCase | None:
        """The open case's nodes, None without a case."""
        return self._case

    def choose_model(self, name: str) -> None:
        """Segment with this model from now on."""
        self._panel.change(model=name)
        if why_not(self._panel.view, Action.PROMPT) is not None and self._prompting.tool:
            self._prompting.stop()

    def next_case(self, strategy: str) -> None:
        """Ask the site for a case, fetch its image and open it; an unsubmitted mask needs a second press."""
        if self._panel.can(Action.NEXT) and self.may_leave(f"next by {strategy}"):
            self._fetch_next(strategy)

    def skip(self, strategy: str) -> None:
        """Leave the open case for another day; it is not offered again before the panel is left."""
        case = self._panel.view.case
        if case is not None and self._panel.can(Action.SKIP) and self.may_leave("skip"):
            self._skipped.add(case.id)
            self._fetch_next(strategy)

    def open_case(self, name: str) -> None:
        """Open a case of the work list; one that was submitted comes with its mask, to be edited again."""
        if self._panel.can(Action.NEXT) and self.may_leave(f"open {name}"):
            self._fetch(lambda cancel: NextCase(name, ""), _("Opening '{name}' …").format(name=name))

    def may_leave(self, way: str) -> bool:
        """False, with a warning, on the first try to leave a mask that is not submitted as it is now."""
        case = self._panel.view.case
        if case is not None and self._unsaved(case) and self._leaving != way:
            self._leaving = way
            hint = _("Submit it, or do the same again to leave it.")
            what = _("has changed since it was submitted") if case.submitted else _("is not submitted")
            self._panel.change(notice=Notice(_("The mask of '{id}' {what}.").format(id=case.id, what=what), hint))
            return False
        self._leaving = ""
        return True

    def _fetch_next(self, strategy: str) -> None:
        client, skipped = self._connection.client(), frozenset(self._skipped)
        rows = self._panel.view.cases

        def choose(cancel: CancelSwitch) -> NextCase | None:
            chosen = client.next_case(strategy, cancel)
            if chosen is None or chosen.id not in skipped:
                return chosen
            others = [row.id for row in rows if row.state is CaseState.NEW and row.id not in skipped]
            return NextCase(others[0], _("you skipped '{id}'").format(id=chosen.id)) if others else chosen

        self._fetch(choose, _("Asking for the next case …"))

    def _fetch(self, choose: Callable[[CancelSwitch], NextCase | None], text: str) -> None:
        client, folder, schema = self._connection.client(), self._folder, self._connection.site().schema

        def work(cancel: CancelSwitch, report: Report) -> Arrived | None:
            chosen = choose(cancel)
            if chosen is None:
                return None

            def progress(count: int, total: int | None) -> None:
                report(_("Fetching '{id}' …").format(id=chosen.id), count / total if total else None)

            mask = client.final_mask(chosen.id, schema, cancel)
            path = client.download_image(chosen.id, folder, cancel, progress)
            try:
                return Arrived(chosen, path, decode_image(path), mask)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

        def unwanted(arrived: Arrived | None) -> None:
            if arrived is not None:
                arrived.path.unlink(missing_ok=True)

        back = Phase.READY if self._case is None else Phase.OPEN
        self._panel.run(Phase.FETCHING, text, work, self._case_arrived, back, unwanted=unwanted)

    def _case_arrived(self, arrived: Arrived | None) -> None:
        if arrived is None:
            back = Phase.READY if self._case is None else Phase.OPEN
            self._panel.to(back, notice=Notice(_("The site has no case left to correct."), tone=Tone.GOOD))
            return
        chosen = arrived.case
        try:
            schema = self._connection.site().schema
            opened = self._scene.open_image(arrived.path, chosen.id, schema, arrived.image)
        finally:
            arrived.path.unlink(missing_ok=True)  # the image must not stay on this computer's disk
        self.take(chosen, opened, submitted=arrived.mask is not None)
        if arrived.mask is not None:
            try:
                self._scene.show_mask(opened, arrived.mask, self._folder)
                self._safe = self._scene.stamp(opened)
            except FedSegError as error:  # the case can be worked on without it
                self._panel.to(Phase.OPEN, case=CaseView(chosen.id, chosen.reason), notice=notice_of(error))
        elif self._settings.segment_on_open and why_not(self._panel.view, Action.SEGMENT) is None:
            self.segment()

    def take(self, chosen: NextCase, opened: SceneCase, *, submitted: bool = False) -> None:
        """Make this the open case; the one before it is closed."""
        if self._case is not None:
            self.leaving()
            self._prompting.end()
            self._scene.close_case(self._case)
        self._case, self._opened_at, self._safe = opened, self._clock(), None
        self._prompting.begin(opened, chosen.id)
        view = CaseView(chosen.id, chosen.reason, submitted=submitted, reopened=submitted)
        self._panel.to(Phase.OPEN, case=view)

    def segment(self) -> None:
        """Ask the chosen model for a mask of everything."""
        if self._panel.can(Action.SEGMENT):
            self._segment("", Prompts(), None)

    def segment_prompts(self, label: str) -> None:
        """Ask the chosen model for a mask of one structure, from the points and the box placed."""
        if not self._panel.can(Action.PROMPT):
            return
        self._prompting.stop()
        prompts = self._panel.guarded(lambda: self._scene.prompts(self._need_case()))
        if prompts is None:
            return
        if not prompts:
            self._panel.change(
                notice=Notice(_("There are no points and no box."), _("Place some in a slice view first."))
            )
            return
        self._connection.with_consent(lambda consent: self._segment(label, prompts, consent))

    def _segment(self, label: str, prompts: Prompts, consent: Consent | None) -> None:
        self._leaving = ""
        client, site, case = self._connection.client(), self._connection.site(), self._case_view()
        request = SegmentRequest(case.id, self._panel.view.model, label, prompts, _mask_suffix(site))
        started = self._clock()

        def work(cancel: CancelSwitch, report: Report) -> Mask:
            return client.segment(request, site.schema, consent, cancel)

        def done(mask: Mask) -> None:
            self._scene.show_mask(self._need_case(), mask, self._folder)
            seen = replace(case, answered_by=words.answered_by(mask, self._clock() - started), submitted=False)
            self._panel.to(Phase.OPEN, case=seen)

        self._panel.run(
            Phase.SEGMENTING, _("{model} is segmenting …").format(model=request.model), work, done, Phase.OPEN
        )

    def submit(self, *, nothing_to_mark: bool = False) -> None:
        """Check the segmentation and send it as the correction of the case."""
        if not self._panel.can(Action.SUBMIT):
            return
        if self._connection.consent() is None and self._take(nothing_to_mark) is None:
            return  # say what is wrong with the mask before asking anything

        def send(consent: Consent) -> None:
            taken = self._take(nothing_to_mark)  # again: the person may have gone on while being asked
            if taken is not None:
                self._send(taken, consent)

        self._connection.with_consent(send)

    def _take(self, nothing_to_mark: bool) -> Voxels | None:
        return self._panel.guarded(lambda: self._scene.take_mask(self._need_case(), allow_empty=nothing_to_mark))

    def _send(self, taken: Voxels, consent: Consent) -> None:
        self._leaving = ""
        client, site, case = self._connection.client(), self._connection.site(), self._case_view()
        tell = self._settings.tell_effort
        parcel = self._outbox.parcel(
            client.address.url,
            case.id,
            site.schema,
            suffix=_mask_suffix(site),
            author=self._settings.author,
            seconds=self._clock() - self._opened_at if tell else None,
            clicks=self._prompting.clicks if tell else None,
        )
        self._posting.hold(parcel)
        exported = self._scene.stamp(self._need_case())

        def work(cancel: CancelSwitch, report: Report) -> Receipt | FedSegError:
            self._outbox.keep(parcel, taken)  # whatever happens to scene or connection meanwhile
            try:
                return client.deliver(parcel, self._outbox.mask_of(parcel), consent, cancel)
            except FedSegError as error:
                if may_arrive_later(error) and not isinstance(error, SignInNeeded | Cancelled):
                    return error
                raise

        def done(result: Receipt | FedSegError) -> None:
            if isinstance(result, Receipt):
                self._outbox.remove(parcel)
                notice = words.receipt_words(result)
            else:
                notice = kept_notice(parcel, result)
            self._posting.free()
            self._safe = exported
            self._submitted()
            self._panel.to(Phase.OPEN, case=replace(case, submitted=True), notice=notice)

        def failed() -> None:
            self._outbox.remove(parcel)  # it was stopped or refused; the mask is still in the scene
            self._posting.free()

        self._panel.run(
            Phase.SUBMITTING,
            _("Sending the mask of '{id}' …").format(id=case.id),
            work,
            done,
            Phase.OPEN,
            failed=failed,
            certain=True,
        )

    def forget(self, *, scene_gone: bool = False) -> None:
        """Let go of the case; its image and its segmentation stay in the scene, points and scribbles do not."""
        self.leaving()
        self._prompting.end()
        if self._case is not None and not scene_gone:
            self._scene.put_away(self._case)
        self._case = None
        self._leaving = ""

    def _case_view(self) -> CaseView:
        case = self._panel.view.case
        if case is None:
            raise ActionNotPossible(_("No case is open."), _("Press 'Next case'."))
        return case

    def _need_case(self) -> SceneCase:
        if self._case is None:
            raise ActionNotPossible(_("No case is open."), _("Press 'Next case'."))
        return self._case

    def _unsaved(self, case: CaseView) -> bool:
        """True when leaving would lose something: marks, or changes (by hand, too) since the mask was submitted."""
        try:
            if case.submitted:
                return self._scene.stamp(self._need_case()) != self._safe
            return self._scene.has_marks(self._need_case())
        except FedSegError:
            return False  # the case left the scene: there is nothing to lose


def _mask_suffix(site: SiteInfo) -> str:
    """Kind of mask file: stock servers read NIfTI."""
    return ".nii.gz" if site.stock else ".nrrd"
