"""The session behind the page: FedSegLib's controller, the tools, and the clock that drives them.

Everything here runs on the event loop's thread. HTTP runs on the library's own worker threads; a task calls the
controller's ``tick`` as the Slicer module's timer does.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import vtk
from FedSegLib.controller import Controller
from FedSegLib.scene import Pointer, SceneCase, SlicerScene
from FedSegLib.state import Action, View, notice_of, why_not

from . import host, showing
from .brush import Brush
from .store import FileStore
from .views import SliceViews

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.05
HURRIED_SECONDS = 0.005
DEFAULT_SITE = "http://127.0.0.1:8000"
BRUSH_MILLIMETRES = 8
MOST_PICTURES = 24
"""Cases at the head of the list that get a picture; all pictures go to the page with every new one."""


class Seat:
    """One person's session.

    Args:
        server: trame's.
        keep: folder for settings, consents and masks that wait to be sent.
        site: address to offer; the last one used if empty.
    """

    def __init__(self, server: Any, keep: Path, site: str = "") -> None:
        self._server = server
        self._state = server.state
        self._wake = asyncio.Event()
        self._app = host.start()
        self.views = SliceViews(server, self._app)
        self._brush = Brush(self._app.segmentation_editor, self.show)
        self._scene = SlicerScene()
        self._case: SceneCase | None = None
        self._stamp: tuple[int, ...] = ()
        self.controller = Controller(
            self._scene,
            FileStore(keep / "settings.json"),
            self._draw,
            wake=self._wake.set,
            keep=keep,
            environment=dict(os.environ),
        )
        self.controller.worklist.pictured = self._pictured
        self._interaction = self._app.app_logic.GetInteractionNode()
        self._interaction.AddObserver(vtk.vtkCommand.ModifiedEvent, self._mouse_mode_changed)
        servers = self.controller.settings.servers or [DEFAULT_SITE]
        self._state.update(
            {
                "address": site or servers[0],
                "servers": servers,
                "author": self.controller.settings.author,
                "effort": self.controller.settings.tell_effort,
                "brush": BRUSH_MILLIMETRES,
                "nothing": False,
                "pictures": {},
                "tool": "",
            }
        )
        self._state.change("author")(lambda author, **_: self.controller.settings.set_text("author", author or ""))
        self._state.change("effort")(lambda effort, **_: self.controller.settings.set_flag("tell_effort", effort))
        self._state.change("brush")(lambda **_: self._resize())
        self._draw(self.controller.view)

    async def run(self) -> None:
        """Deliver what the background found, for ever; rest while there is nothing to wait for."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.controller.active:
                self._tick()
                await asyncio.sleep(HURRIED_SECONDS if self.controller.hurried else TICK_SECONDS)

    def _tick(self) -> None:
        try:
            self.controller.tick()
        except Exception as error:  # the clock must go on whatever happens
            _log.exception("a tick failed")
            with self._state:
                self._state.notice = showing.notice(notice_of(error))

    def close(self) -> None:
        """Stop everything; masks that wait to be sent stay on disk."""
        self.controller.close()

    # ---- what the person does

    def connect(self) -> None:
        """Connect to the address in the field."""
        self.controller.connection.connect(self._state.address or "")

    def disconnect(self) -> None:
        """Leave the site, and the open case with it; an unsubmitted mask needs a second press."""
        self._forget_password()
        if self.controller.casework.may_leave("disconnect"):
            self.controller.disconnect()

    def sign_in(self, user: str, password: str) -> None:
        """Answer the site's question who asks."""
        self._forget_password()
        self.controller.connection.sign_in(user or "", password or "")

    def next_case(self) -> None:
        """Open the case that the site's first strategy names."""
        self.controller.casework.next_case(self._strategy())

    def skip(self) -> None:
        """Leave the open case for another day."""
        self.controller.casework.skip(self._strategy())

    def point(self, pointer: str) -> None:
        """Take a pointing tool, or lay it down."""
        self._brush.lay_down()
        self.controller.prompting.point(Pointer(pointer))
        self.show()

    def paint(self, kind: str) -> None:
        """Take the brush or the eraser, or lay it down."""
        in_hand = self._brush.kind == kind
        self._brush.lay_down()
        self.controller.prompting.stop()
        if not in_hand and self.controller.casework.case is not None:
            self._brush.take(kind, self._state.structure, float(self._state.brush))
        self.show()

    def choose_structure(self, name: str) -> None:
        """Prompts and strokes are about this structure from now on."""
        self.controller.prompting.choose_structure(name)
        if self._brush.kind:
            self._brush.take(self._brush.kind, name, float(self._state.brush))

    def undo(self) -> None:
        """Take the last stroke back, or else the last prompt."""
        strokes = self._brush.strokes
        if strokes is not None and strokes.can_undo:
            strokes.undo()
        else:
            self.controller.prompting.undo()

    def redo(self) -> None:
        """Do again what was taken back last."""
        strokes = self._brush.strokes
        if strokes is not None and strokes.can_redo:
            strokes.redo()
        else:
            self.controller.prompting.redo()

    def submit(self) -> None:
        """Check the mask and send it."""
        self.controller.casework.submit(nothing_to_mark=bool(self._state.nothing))

    def _forget_password(self) -> None:
        with self._state:
            self._state.password = ""  # every page that connects is sent the whole state

    # ---- what the person sees

    def show(self) -> None:
        """Draw the View again: something beside it has changed."""
        self._draw(self.controller.view)

    def _draw(self, view: View) -> None:
        self._follow(view)
        self._show_labels()
        view = self.controller.view  # another case open, the mouse's tool is laid down
        values = showing.shown(view)
        values["tool"] = self._brush.kind or view.live.tool
        strokes = self._brush.strokes
        painted = view.case is not None and why_not(view, Action.SUBMIT) is None and strokes is not None
        if painted and strokes is not None:
            values["why"] |= {"undo": ""} if strokes.can_undo else {}
            values["why"] |= {"redo": ""} if strokes.can_redo else {}
        with self._state:
            self._state.update(values)

    def _follow(self, view: View) -> None:
        """Another case may be open now."""
        case, before = self.controller.casework.case, self._case
        if case is not before:
            self._case = case
            self._brush.open(case)
            if before is not None:
                self._scene.close_case(before)  # the library leaves it to Slicer's user when the site is left
            if case is not None:
                self.views.fit()
            self._state.nothing = False
        if view.site is not None:
            self.controller.worklist.want_pictures([row.id for row in view.cases[:MOST_PICTURES]])

    def _show_labels(self) -> None:
        """Draw the slices anew if the labels have changed: written in place, they do not always ask for it."""
        stamp = self._scene.stamp(self._case) if self._case is not None else ()
        if stamp != self._stamp:
            self._stamp = stamp
            self.views.render()

    def _pictured(self, case: str) -> None:
        with self._state:
            self._state.pictures = showing.pictures(self.controller.worklist.pictures)

    def _resize(self) -> None:
        if self._brush.kind:
            self._brush.take(self._brush.kind, self._state.structure, float(self._state.brush))

    def _mouse_mode_changed(self, node: Any, event: str) -> None:
        """Pointing may have ended by itself: a complete box."""
        if node.GetCurrentInteractionMode() != node.Place:
            self.controller.prompting.mouse_released()

    def _strategy(self) -> str:
        site = self.controller.view.site
        return site.strategies[0] if site is not None and site.strategies else ""
