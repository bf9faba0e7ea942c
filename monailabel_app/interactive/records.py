"""What a session leaves in the site's records: its prompts at once, its mask when the annotator pauses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from monailabel_app.errors import SiteError
from monailabel_app.inference.planes import AXES, axis_of
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.prompts import PromptRequest, RecordedPrompt, recorded_scribbles
from monailabel_app.interactive.propagation import Propagation
from monailabel_app.interactive.session import Session
from monailabel_app.state.prompts import PromptStore

__all__ = ["Opened", "Records"]

logger = logging.getLogger(__name__)


@dataclass
class Opened:
    """A session and what belongs to its being open.

    Attributes:
        session: the session.
        owner: user name.
        engine: serves its model.
        path: the image.
        stamp: modification time and size of the image when it was read.
        used: when it was used last.
        unsaved: whether the mask shown is newer than the one recorded.
        work: the propagation that runs, or ran last.
    """

    session: Session
    owner: str
    engine: Engine
    path: Path
    stamp: tuple[int, int]
    used: float
    unsaved: bool = False
    work: Propagation | None = None


class Records:
    """Writes prompts and masks of sessions.

    Args:
        prompts: the site's records.
        clock: seconds, monotonic.
    """

    def __init__(self, prompts: PromptStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._prompts = prompts
        self._clock = clock
        self._recorder = ThreadPoolExecutor(2, thread_name_prefix="record")

    def prompts(self, opened: Opened, request: PromptRequest, version: str) -> Future[None]:
        """Write prompts to disk while the network computes; the caller waits for both."""
        session = opened.session
        name, _ = session.value(request.label)
        axis = session.axis if request.axis is None else axis_of(session.volume, request.axis)
        prompt = RecordedPrompt(
            name,
            tuple(request.foreground),
            tuple(request.background),
            request.box,
            axis=AXES[axis],
            scribbles=recorded_scribbles(request, session.volume.shape),
            session=session.id,
            step=session.step + 1,
            action="prompt" if request.prompts_slices else "mask",
            replace=request.replace,
            seconds=self._seconds(session),
        )
        return self._recorder.submit(self._record, opened, version, prompt)

    def note(self, opened: Opened, action: str, step: int) -> None:
        """Record a step that is no prompt."""
        session = opened.session
        note = RecordedPrompt(
            session.label, session=session.id, step=step, action=action, seconds=self._seconds(session)
        )
        self._record(opened, session.version, note)

    def save(self, opened: Opened) -> None:
        """Record the mask shown, if it is newer than the one recorded."""
        with opened.session.lock:
            if not opened.unsaved:
                return
            opened.unsaved = False
            mask, version = opened.session.mask.copy(), opened.session.version
        try:
            session = opened.session
            self._prompts.record_shown(session.case, opened.engine.name, version, mask, session.volume.identity)
        except SiteError as error:
            opened.unsaved = True
            logger.warning("a mask shown could not be recorded: %s", error)

    def close(self) -> None:
        """Finish what is being written."""
        self._recorder.shutdown()

    def _record(self, opened: Opened, version: str, prompt: RecordedPrompt) -> None:
        session, image = opened.session, opened.session.volume.identity
        self._prompts.record_prompts(
            session.case, opened.engine.name, version, [prompt], author=opened.owner, image=image
        )

    def _seconds(self, session: Session) -> float:
        return round(self._clock() - session.opened, 3)
