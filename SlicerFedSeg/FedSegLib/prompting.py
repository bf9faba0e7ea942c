"""Pointing at structures of the open case: which tool the mouse holds, and where what it places goes.

On a FedSeg site every point, box, lasso or scribble is answered at once (:mod:`.live`); a stock MONAI Label server is
asked when the person presses the button, with all points together (:class:`~FedSegLib.casework.CaseWork`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from .connection import Connection
from .consent import Consent
from .live.asks import LiveCanvas
from .live.propagating import Propagating
from .live.work import LiveWork
from .panel import Panel
from .state import Action

if TYPE_CHECKING:
    from .scene import Pointer, SceneCase

_POINTS = ("include", "exclude")
_SHAPES = ("box", "lasso")


class PointingScene(Protocol):
    """What pointing needs of the scene; :class:`~FedSegLib.scene.SlicerScene` is it."""

    def canvas(self, case: SceneCase, placed: Callable[[Pointer], None]) -> LiveCanvas: ...
    def clear_prompts(self, case: SceneCase) -> None: ...
    def point(self, case: SceneCase, pointer: Pointer) -> None: ...
    def stop_pointing(self) -> None: ...


class Prompting:
    """The mouse's tool and what comes of it.

    Args:
        panel: the view. connection: the site. scene: where the mouse places things.
        live: the session of the open case. propagating: its propagation.
    """

    def __init__(
        self, panel: Panel, connection: Connection, scene: PointingScene, live: LiveWork, propagating: Propagating
    ) -> None:
        self._panel = panel
        self._connection = connection
        self._scene = scene
        self._live = live
        self._propagating = propagating
        self._case: SceneCase | None = None
        self.clicks = 0
        """Prompts and buttons used on the open case."""

    @property
    def tool(self) -> str:
        """What the mouse places now; "" for nothing."""
        return self._panel.view.live.tool

    def begin(self, case: SceneCase, name: str) -> None:
        """A case was opened."""
        self.end()
        self._case = case
        self.clicks = 0
        if not self._connection.site().stock:
            self._live.begin(self._scene.canvas(case, self._placed), name)

    def end(self) -> None:
        """The case is left."""
        self.stop()
        self._propagating.drop()
        self._live.end()
        self._case = None

    def point(self, pointer: Pointer) -> None:
        """Take a tool; the one in hand is laid down."""
        case = self._case
        if case is None or not self._panel.can(Action.PROMPT):
            return
        if self.tool == pointer.value:
            self.stop()
            return

        def take(consent: Consent | None) -> None:
            if consent is not None:
                self._live.ready(consent, self._panel.view.model)
            self._hold("")  # Slicer tells of changes of the mouse mode on the way
            self._scene.point(case, pointer)
            self._hold(pointer.value)

        if self._connection.site().stock:
            self._panel.guarded(lambda: take(None))
        else:
            self._connection.with_consent(lambda consent: self._panel.guarded(lambda: take(consent)))

    def stop(self) -> None:
        """Give the mouse back to Slicer."""
        self._hold("")
        self._scene.stop_pointing()

    def mouse_released(self) -> None:
        """Slicer took the mouse back: a shape is complete, or the person pressed Escape."""
        tool = self.tool
        if tool in _POINTS or tool in _SHAPES:
            self._hold("")
        if tool in _SHAPES and self._case is not None and not self._connection.site().stock:
            self.clicks += 1
            self._panel.mailbox.later(self._live.shape_drawn)  # not within Slicer's own handling of the click

    def _placed(self, pointer: Pointer) -> None:
        self.clicks += 1
        points = pointer.value in _POINTS
        self._panel.mailbox.later(self._live.points_placed if points else self._live.shape_drawn)

    def choose_structure(self, name: str) -> None:
        """Prompts are about this structure from now on."""
        self._live.choose_label(name)

    def clear(self) -> None:
        """Start over with the points; the mask stays."""
        if self._case is not None:
            self._scene.clear_prompts(self._case)
            self._live.start_over()

    def undo(self) -> None:
        """Take the last step back."""
        if self._panel.can(Action.UNDO):
            self.clicks += 1
            self._live.undo()

    def redo(self) -> None:
        """Do it again."""
        if self._panel.can(Action.REDO):
            self.clicks += 1
            self._live.redo()

    def propagate(self) -> None:
        """Carry the structure on from its prompted slices."""
        session = self._live.session
        if self._panel.can(Action.PROPAGATE) and session is not None:
            self.clicks += 1
            calls = self._connection.client().sessions
            self._propagating.start(calls, session.id, self._live.label, self._live.axis)

    def stop_propagating(self) -> None:
        """Keep what was found so far."""
        self._propagating.cancel()

    def _hold(self, tool: str) -> None:
        self._panel.change(live=replace(self._panel.view.live, tool=tool))
