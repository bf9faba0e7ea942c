"""Starting a site on this computer from the panel, and connecting to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .cancel import CancelSwitch
from .connection import Connection
from .language import tr as _
from .local_site import LocalSettings, LocalSite, check_environment
from .panel import Panel
from .settings import Settings
from .state import Action, Notice, Phase, Tone, notice_of
from .worker import Lane, Report


class Hosting:
    """A local site and the panel.

    Args:
        panel: the view. connection: connects when the site serves. lane: thread for checks and stopping.
        settings: what was chosen. folder: for logs; environment: of the new process; state: where sites keep theirs.
    """

    def __init__(
        self,
        panel: Panel,
        connection: Connection,
        lane: Lane,
        settings: Settings,
        folder: Path,
        state: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._panel = panel
        self._connection = connection
        self._lane = lane
        self._settings = settings
        self._state = state
        self._environment = environment
        self._site = LocalSite(folder)

    @property
    def running(self) -> bool:
        """True while a site of ours runs."""
        return self._site.running

    def check(self) -> None:
        """Say in words whether a site could be started."""
        wanted = self._wanted()

        def work(cancel: CancelSwitch, report: Report) -> str:
            return check_environment(wanted)

        def done(words: str) -> None:
            self._panel.change(testing=False, notice=Notice(words, _("Press 'Start'."), Tone.GOOD))

        def failed(error: Exception) -> None:
            self._panel.change(testing=False, notice=notice_of(error))

        self._panel.change(testing=True, notice=None)
        self._lane.submit(work, done, failed)

    def start(self) -> None:
        """Start the site, then connect to it."""
        if not self._panel.can(Action.CONNECT):
            return
        wanted = self._wanted()

        def work(cancel: CancelSwitch, report: Report) -> str:
            return self._site.start(wanted, cancel, report)

        def done(url: str) -> None:
            self._panel.to(Phase.OFFLINE)
            self._connection.connect(url, remember=False)  # the next one has another port

        self._panel.run(Phase.CONNECTING, _("Starting the site on this computer …"), work, done, Phase.OFFLINE)

    def stop(self) -> None:
        """Stop the site, without keeping the person waiting."""

        def work(cancel: CancelSwitch, report: Report) -> None:
            self._site.stop()

        def done(nothing: None) -> None:
            self._panel.change(notice=Notice(_("The site on this computer was stopped."), tone=Tone.GOOD))

        self._lane.submit(work, done, lambda error: self._panel.change(notice=notice_of(error)))

    def close(self) -> None:
        """The panel is taken down, and the site with it."""
        self._site.stop()

    def _wanted(self) -> LocalSettings:
        chosen = self._settings
        return LocalSettings(
            Path(chosen.text("local_python")),
            Path(chosen.text("local_studies") or "/nowhere"),
            self._state,
            chosen.text("local_labels"),
            self._environment,
        )
