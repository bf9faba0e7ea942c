"""The site's versions and figures in the panel: kept fresh, promoted and rolled back with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .cancel import CancelSwitch
from .connection import Connection
from .errors import FedSegError, NotFound
from .language import tr as _
from .panel import Panel
from .state import Action, Notice, Tone, notice_of
from .versions import Statistics, Version
from .worker import Job, Lane, Report


class ChartScene(Protocol):
    """What the curve needs of the scene."""

    def show_curve(self, title: str, points: tuple[tuple[str, float], ...]) -> None: ...


class Ledger:
    """Versions and statistics of the connected FedSeg site.

    Args:
        panel: the view. connection: the site. lane: thread for it. scene: where the curve is plotted.
    """

    def __init__(self, panel: Panel, connection: Connection, lane: Lane, scene: ChartScene) -> None:
        self._panel = panel
        self._connection = connection
        self._lane = lane
        self._scene = scene
        self._job: Job[tuple[tuple[Version, ...], Statistics]] | None = None
        self._seen = ""
        self._again = False

    def tick(self) -> None:
        """Look again when learning or a round has come to an end."""
        view = self._panel.view
        learned = view.learning.state if view.learning is not None else ""
        exchanged = f"{view.round.id}{view.round.state}{view.round.number}" if view.round is not None else ""
        if view.site is not None and not view.site.stock and (now := f"{learned}/{exchanged}") != self._seen:
            self._seen = now
            self.refresh()

    def refresh(self) -> None:
        """Ask the site for its versions and figures."""
        site = self._panel.view.site
        self._again = self._job is not None
        if site is None or site.stock or self._again:
            return
        client = self._connection.client()

        def work(cancel: CancelSwitch, report: Report) -> tuple[tuple[Version, ...], Statistics]:
            versions = client.versions(cancel)
            try:
                return versions, client.statistics(cancel)
            except NotFound:  # a site of an earlier version
                return versions, Statistics()

        def done(found: tuple[tuple[Version, ...], Statistics]) -> None:
            if self._job is job:
                self._job = None
                self._panel.change(versions=found[0], statistics=found[1])
                if self._again:  # something has changed meanwhile
                    self.refresh()

        def failed(error: Exception) -> None:
            if self._job is job:
                self._job = None  # the watch tells what is wrong with the site

        job = self._job = self._lane.submit(work, done, failed)

    def promote(self, version: str, reason: str) -> None:
        """Let a version serve by hand."""
        if self._panel.can(Action.PROMOTE):
            self._change(
                lambda cancel: self._connection.client().promote(version, reason, cancel),
                _("{version} serves now.").format(version=version),
            )

    def roll_back(self, version: str, reason: str) -> None:
        """Let the champion's parent serve again."""
        if self._panel.can(Action.PROMOTE):
            self._change(
                lambda cancel: self._connection.client().roll_back(version, reason, cancel),
                _("{version} serves no longer.").format(version=version),
            )

    def _change(self, call: Callable[[CancelSwitch], str], words: str) -> None:
        def work(cancel: CancelSwitch, report: Report) -> str:
            return call(cancel)

        def done(warning: str) -> None:
            self._panel.change(
                asking=self._panel.view.asking - {Action.PROMOTE}, notice=Notice(words, warning, Tone.GOOD)
            )
            self.refresh()

        def failed(error: Exception) -> None:
            self._panel.change(asking=self._panel.view.asking - {Action.PROMOTE}, notice=notice_of(error))

        self._panel.change(asking=self._panel.view.asking | {Action.PROMOTE}, notice=None)
        self._lane.submit(work, done, failed)

    def show_curve(self) -> None:
        """Plot the Dice of the masks shown against those submitted, correction by correction."""
        points = self._panel.view.statistics.curve
        if not points:
            error = FedSegError(
                _("No correction started from a mask of this site yet."), _("Segment a case and submit it.")
            )
            self._panel.change(notice=notice_of(error))
            return
        self._panel.guarded(lambda: self._scene.show_curve(_("Dice of shown against submitted masks"), points))

    def leave(self) -> None:
        """The site is left."""
        if self._job is not None:
            self._job.cancel.cancel()
        self._job, self._seen = None, ""
