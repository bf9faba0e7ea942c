"""One panel's session: what the widget builds, calls and draws.

The widget calls the methods of :attr:`Controller.connection`, :attr:`Controller.casework` and this class (GUI thread),
calls :meth:`Controller.tick` from its timer, and draws the View that it is handed. No method blocks; every failure
becomes a Notice in the View, and the phase goes back to where it came from.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from . import words
from .address import Address
from .adopting import Adopting, AdoptScene
from .casework import CaseScene, CaseWork
from .client import SiteClient
from .comparing import CompareScene, Comparing
from .connection import Connect, Connection
from .consent import ConsentBook, Store
from .hosting import Hosting
from .language import tr as _
from .ledger import ChartScene, Ledger
from .live.propagating import Propagating
from .live.work import LiveWork
from .outbox import Outbox
from .panel import Panel
from .plan_words import plan_question
from .posting import Posting
from .prompting import PointingScene, Prompting
from .settings import Settings
from .state import CONNECTED, Action, Notice, Phase, View
from .transport import Transport
from .worker import Lane, Mailbox
from .worklist import WorkList


class WorkScene(CaseScene, PointingScene, ChartScene, CompareScene, AdoptScene, Protocol):
    """What all of the work needs of the scene."""

    def show_rounds(
        self, title: str, sites: tuple[str, ...], rounds: tuple[int, ...], dice: tuple[tuple[float, ...], ...]
    ) -> None: ...


def connect_over_http(address: Address, ca_file: Path | None) -> SiteClient:
    """The ordinary way to make a client."""
    return SiteClient(Transport(address, ca_file=ca_file))


def utc_now() -> str:
    """Present time, ISO 8601 UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Controller:
    """One panel's session.

    Args:
        scene: where cases are opened.
        store: settings and consents.
        changed: called with every new View, on the GUI thread.
        wake: called when :meth:`tick` is needed again.
        connect: makes a client for an address and a CA file.
        folder: for temporary files; a private sub-folder is made in it and removed by :meth:`close`.
        keep: folder for what stays: masks that wait to be sent, and the state of a local site.
        environment: of a local site's process.
        clock: monotonic seconds. now: ISO 8601 time.
    """

    def __init__(
        self,
        scene: WorkScene,
        store: Store,
        changed: Callable[[View], None],
        *,
        wake: Callable[[], None] = lambda: None,
        connect: Connect = connect_over_http,
        folder: Path | None = None,
        keep: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self._mailbox = Mailbox(wake)
        names = ("actions", "watching", "prompts", "propagation", "outbox", "work list", "local site", "versions")
        self._lanes = tuple(Lane(name, self._mailbox) for name in names)
        self._folder = tempfile.TemporaryDirectory(prefix="fedseg-", dir=folder, ignore_cleanup_errors=True)
        self._closed = False
        self._scene = scene
        self._panel = Panel(self._mailbox, self._lanes[0], changed)
        self.settings = Settings(store)
        consents = ConsentBook(store, now)
        self.connection = Connection(self._panel, self._lanes[1], self.settings, consents, connect, clock)
        self.live = LiveWork(self._panel, self.connection, self._lanes[2], clock)
        propagating = Propagating(self._panel, self._lanes[3], self.live.fetch_changes)
        self.prompting = Prompting(self._panel, self.connection, scene, self.live, propagating)
        outbox = Outbox((keep or self.folder) / "outbox", now)
        self.posting = Posting(self._panel, self.connection, self._lanes[4], outbox, clock)
        self.hosting = Hosting(
            self._panel,
            self.connection,
            self._lanes[6],
            self.settings,
            self.folder,
            (keep or self.folder) / "site",
            environment or {},
        )
        self.ledger = Ledger(self._panel, self.connection, self._lanes[7], scene)
        self.worklist = WorkList(self._panel, self.connection, self._lanes[5], clock)
        self.connection.connected = self._arrived
        self.casework = CaseWork(
            self._panel,
            self.connection,
            self.settings,
            scene,
            self.prompting,
            outbox,
            self.posting,
            self._submitted,
            self.folder,
            clock,
        )
        self.comparing = Comparing(self._panel, self.connection, scene, self.casework, self.folder)
        self.casework.leaving = self.comparing.close
        self.adopting = Adopting(self._panel, self.connection, self.casework, scene, self.folder)

    @property
    def view(self) -> View:
        """What to show now."""
        return self._panel.view

    @property
    def folder(self) -> Path:
        """Private folder for temporary files; removed by :meth:`close`."""
        return Path(self._folder.name)

    @property
    def active(self) -> bool:
        """True while :meth:`tick` has anything to do; the widget's timer runs only then."""
        if self._closed:
            return False
        return self.connection.watch is not None or self._mailbox.pending > 0 or bool(self.view.waiting)

    @property
    def busy(self) -> bool:
        """True while something is under way whose result should be shown at once."""
        return self._mailbox.pending > 0

    @property
    def hurried(self) -> bool:
        """True in the first second of that: ticks should come as often as possible."""
        return self._mailbox.hurried

    def tick(self) -> None:
        """Deliver results and poll if due; from the GUI thread (see worker.py for how often, and why it waits)."""
        if self._closed:
            return
        if self.connection.watch is not None:
            self.connection.watch.tick()
        self.posting.tick()
        self.worklist.tick()
        self.ledger.tick()
        self._panel.gathered(self._mailbox.deliver)

    def _submitted(self) -> None:
        self.worklist.soon()
        self.ledger.refresh()

    def _arrived(self) -> None:
        self.posting.refresh()
        self.worklist.refresh()
        self.ledger.refresh()

    def cancel(self) -> None:
        """Stop what runs in the foreground."""
        self._panel.cancel()

    def disconnect(self) -> None:
        """Leave the server; what is in the scene stays there."""
        self._panel.drop_job()
        self.casework.forget()  # its last words to the site need the connection
        self.posting.leave()
        self.worklist.leave()
        self.ledger.leave()
        self.connection.leave()
        self._panel.show(View(address=self.view.address))

    def scene_closed(self) -> None:
        """The scene is gone, and the case with it."""
        if self.view.case is None:
            return
        self._panel.drop_job()
        self.casework.forget(scene_gone=True)
        self.connection.forget_waiting()
        if self.view.phase in CONNECTED:
            notice = Notice(_("The scene was closed, and the case with it."), _("Press 'Next case' to go on."))
            self._panel.to(Phase.READY, case=None, notice=notice)
            self.posting.refresh()  # what was being sent waits now
        else:
            self._panel.change(case=None)

    def close(self) -> None:
        """Stop everything and remove temporary files; the scene keeps the person's work."""
        self._closed = True
        self._panel.drop_job()
        self.casework.forget()
        self.posting.leave()
        self.worklist.leave()
        self.ledger.leave()
        self.connection.leave()
        self.hosting.close()
        for lane in self._lanes:
            lane.close()
        self._folder.cleanup()

    def learn(self) -> None:
        """Start learning from the corrections."""
        if self.connection.watch is not None and self._panel.can(Action.LEARN):
            self.connection.watch.learn(self.view.model)

    def stop_learning(self) -> None:
        """Stop learning."""
        if self.connection.watch is not None and self._panel.can(Action.STOP_LEARNING):
            self.connection.watch.stop_learning()

    def start_round(self, rounds: int | None = None, method: str | None = None) -> None:
        """Start a federated run, by the plan's method or another one that the plan allows."""
        if self.connection.watch is not None and self._panel.can(Action.START_ROUND):
            self.connection.watch.start_round(rounds, method)

    def toggle_pause(self) -> None:
        """Take no part in rounds, or take part again."""
        known = self.view.federation
        if self.connection.watch is not None and known is not None and self._panel.can(Action.PAUSE):
            self.connection.watch.pause(not known.paused)

    def agree_to_plan(self) -> None:
        """Say what leaves the site, and agree to the plan if the person still wants to."""
        plan = self.view.federation.plan if self.view.federation is not None else None
        watch = self.connection.watch
        if watch is None or plan is None or not self._panel.can(Action.JOIN):
            return
        sha256 = plan.details.sha256 if plan.details is not None else plan.sha256  # what the person reads below
        text = plan_question(plan, self.connection.site().site)
        self.connection.ask_once(text, lambda: watch.approve_plan(sha256 or plan.sha256, True))

    def leave_plan(self) -> None:
        """Take the agreement back: the site then sends and takes nothing."""
        plan = self.view.federation.plan if self.view.federation is not None else None
        if self.connection.watch is not None and plan is not None and self._panel.can(Action.LEAVE):
            self.connection.watch.approve_plan(plan.sha256, False)

    def show_round_curve(self) -> None:
        """Plot the Dice of every site over the rounds."""
        if self.view.round is not None:
            names, numbers, values = words.round_curve(self.view.round)
            self._panel.guarded(lambda: self._scene.show_rounds(_("Dice per round and site"), names, numbers, values))

    def stop_round(self) -> None:
        """Stop the federated run that is under way."""
        run = self.view.round
        if self.connection.watch is not None and run is not None and self._panel.can(Action.STOP_ROUND):
            self.connection.watch.stop_round(run.id)
