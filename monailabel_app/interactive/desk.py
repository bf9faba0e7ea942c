"""Opens, finds and expires sessions; keeps what must not be lost with them.

Shared: the table of sessions behind one lock, held for look-ups only. Lock order: a session's own
lock, then this one; neither is held while a network computes for another session. Every prompt is
in the site's records before it is answered; the mask shown is written when an annotator pauses,
closes, expires, or submits.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from monailabel_app.errors import Conflict, NotFound, SiteError, Unavailable
from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.orient import stack_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.planes import AXES, Plane, axis_of
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.limits import check_size, default_limit
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.interactive.propagation import Propagation
from monailabel_app.interactive.records import Opened, Records
from monailabel_app.interactive.session import Answer, Session
from monailabel_app.interactive.windows import WindowRequest, choose_window
from monailabel_app.state.prompts import PromptStore

__all__ = ["SessionDesk"]

logger = logging.getLogger(__name__)

IDLE_S = 30 * 60.0
PAUSE_S = 2.0
"""An annotator who did nothing for this long pauses: the mask shown is written."""
MOST_SESSIONS = 64


class SessionDesk:
    """See the module.

    Args:
        engines: model name -> engine, promptable models only.
        prompts: the site's records of prompts.
        path_of: file of a known case; raises NotFound.
        labels: label name -> voxel value.
        idle_s: sessions idle for longer expire.
        memory_limit: most bytes that one image may need.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        prompts: PromptStore,
        path_of: Callable[[str], Path],
        labels: Mapping[str, int],
        *,
        idle_s: float = IDLE_S,
        memory_limit: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engines = dict(engines)
        self._prompts = prompts
        self._records = Records(prompts, clock)
        self._path_of = path_of
        self._labels = dict(labels)
        self._idle_s = idle_s
        self._memory_limit = memory_limit or default_limit()
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Opened] = {}
        self._expired: OrderedDict[str, str] = OrderedDict()
        self._slots = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))
        self._wake = threading.Event()
        self._stopped = False
        self._keeper: threading.Thread | None = None

    def open(
        self,
        owner: str,
        case: str,
        *,
        model: str | None = None,
        label: str | None = None,
        axis: str | int | None = None,
        window: WindowRequest | None = None,
        initial: bool = False,
    ) -> Opened:
        """Start a session.

        Args:
            owner: user name; nobody else may use the session.
            case: a known image id.
            model: a promptable model; the first by default.
            label: what prompts are for by default; the schema's first.
            axis: slices are across it by default; the one that automatic masks use.
            window: how intensities are shown to the network.
            initial: start from the mask last shown for the case, for instance the automatic one.

        Raises:
            NotFound: no such case or model.
            TooLarge: the image needs too much memory.
            ImageError: the image cannot be read, is 4D, or holds NaN.
            Unavailable: too many sessions are open.
        """
        engine = self._engine(model)
        path = self._path_of(case)
        check_size(path, self._memory_limit)
        stamp = _stamp(path)
        volume = self._volume(path, stamp, axis)
        session = Session(
            secrets.token_urlsafe(12),
            case,
            volume,
            choose_window(volume, window or WindowRequest()),
            engine,
            self._labels,
            label or min(self._labels, key=self._labels.__getitem__),
            stack_of(volume).axes[0] if axis is None else axis_of(volume, axis),
            self._clock,
        )
        session.value(session.label)
        session.version = engine.snapshot().version
        shown = self._prompts.shown(case, volume.identity) if initial else None
        if shown is not None and shown.labelmap.shape == volume.shape:
            session.mask[...] = shown.labelmap
        opened = Opened(session, owner, engine, path, stamp, self._clock())
        self._expire()
        with self._lock:
            if len(self._open) >= MOST_SESSIONS:
                raise Unavailable(f"{MOST_SESSIONS} sessions are open", "close one, or wait until an idle one expires")
            self._open[session.id] = opened
            self._keep_house()
        engine.prefetcher.look_at(session.id, session.view(session.axis, volume.shape[session.axis] // 2))
        return opened

    def find(self, name: str, owner: str) -> Opened:
        """A caller's session, by its id, or by its case (then the newest of that case).

        Raises:
            NotFound: no such session of this caller, or it expired.
        """
        self._expire()
        with self._lock:
            mine = [o for o in self._open.values() if o.owner == owner]
            found = next((o for o in mine if o.session.id == name), None) or next(
                (o for o in reversed(mine) if o.session.case == name), None
            )
            if found is not None:
                found.used = self._clock()
                return found
            gone = self._expired.get(name)
        if gone is not None:
            raise NotFound(
                f"the session expired after {self._idle_s / 60:.0f} minutes without use",
                f"open a new one on {gone!r} with initial true; its prompts and last mask were kept",
            )
        raise NotFound(f"you have no open session {name[:80]!r}", "POST /sessions {image} opens one")

    def sessions(self, owner: str) -> list[Opened]:
        """The caller's open sessions, oldest first."""
        self._expire()
        with self._lock:
            return [o for o in self._open.values() if o.owner == owner]

    def prompt(self, opened: Opened, request: PromptRequest) -> Answer:
        """Answer prompts.

        Raises:
            Conflict: the image changed since the session was opened.
            NotFound: the image was removed.
            SiteError: the prompts do not fit; the session is as it was.
        """
        self._check_image(opened)
        session = opened.session
        start = time.perf_counter()
        with opened.engine.turns.urgent(), session.lock, self._slots:
            waited = time.perf_counter()
            recorded: list[Future[None]] = []
            answer = session.prompt(
                request, lambda version: recorded.append(self._records.prompts(opened, request, version))
            )
            answered = time.perf_counter()
        for future in recorded:
            future.result()
        answer.add("wait", (waited - start) * 1e3)
        answer.add("record", (time.perf_counter() - answered) * 1e3)
        self._changed(opened)
        if answer.slices is not None:
            opened.engine.prefetcher.look_at(session.id, session.view(answer.axis, answer.slices[1]))
        return answer

    def undo(self, opened: Opened, *, redo: bool = False) -> Answer:
        """Take a step back, or do it again.

        Raises:
            SiteError: there is nothing to undo or redo.
        """
        session = opened.session
        with session.lock:
            answer = session.undo(redo=redo)
        self._records.note(opened, "redo" if redo else "undo", answer.step)
        self._changed(opened)
        return answer

    def look(self, opened: Opened, axis: int, index: int) -> bool:
        """The annotator looks at a slice; whether its features are there."""
        session = opened.session
        if not 0 <= index < session.volume.shape[axis]:
            raise SiteError(
                f"slice {index} lies outside the image, which has {session.volume.shape[axis]} across {AXES[axis]}",
                "slices are counted from 0",
            )
        view = session.view(axis, index)
        warm = opened.engine.cache.is_warm(opened.engine.snapshot(), view)
        opened.engine.prefetcher.look_at(session.id, view)
        return warm

    def propagate(self, opened: Opened, label: str | None, axis: int, reach: int, slices: Sequence[int]) -> Propagation:
        """Carry a label's masks on to other slices, in the background.

        Raises:
            Conflict: one runs already, or there is nothing to start from.
            LabelError: no such label.
        """
        session = opened.session
        name, _ = session.value(label)

        def written(step: int) -> None:
            self._records.note(opened, "propagate", step)
            self._changed(opened)

        work = Propagation(session, opened.engine, name, axis, reach, written, slices)
        with self._lock:
            if opened.work is not None and opened.work.status.state == "running":
                raise Conflict("a propagation runs in this session", "wait for it, or DELETE it")
            opened.work = work
            work.start()
        return work

    def close(self, opened: Opened) -> None:
        """End a session; its mask is kept as the one last shown."""
        with self._lock:
            self._open.pop(opened.session.id, None)
        self._end(opened)

    def forget(self, case: str) -> None:
        """End the sessions on a case and delete its features: its image is about to be deleted."""
        with self._lock:
            left = [o for o in self._open.values() if o.session.case == case]
            for opened in left:
                del self._open[opened.session.id]
        for opened in left:
            self._end(opened)
        if not self.engines:
            return
        path = self._path_of(case)
        try:
            check_size(path, self._memory_limit)
            image = read_volume(path).identity
        except SiteError:  # no session was ever on it
            return
        for engine in self.engines.values():
            engine.forget(image)

    def flush(self, case: str, owner: str | None = None) -> None:
        """Record the masks shown of a case, the owner's last: a correction is about to follow."""
        with self._lock:
            chosen = [o for o in self._open.values() if o.session.case == case]
        for opened in sorted(chosen, key=lambda o: (o.owner == owner, o.used)):
            self._records.save(opened)

    def stop(self) -> None:
        """Close everything; nothing recorded is lost."""
        with self._lock:
            self._stopped = True
            left = list(self._open.values())
            self._open.clear()
        self._wake.set()
        for engine in self.engines.values():
            engine.close()
        for opened in left:
            self._end(opened)
        self._records.close()

    def _engine(self, model: str | None) -> Engine:
        if not self.engines:
            raise Unavailable("this site serves no model that takes prompts", "start it with --model sam")
        name = model or next(iter(self.engines))
        if name not in self.engines:
            raise NotFound(
                f"model {name[:60]!r} takes no prompts here", f"the models that do: {', '.join(self.engines)}"
            )
        return self.engines[name]

    def _volume(self, path: Path, stamp: tuple[int, int], axis: str | int | None) -> Volume:
        """The image, laid out for slices across ``axis``; sessions on one file share its voxels."""
        with self._lock:
            for opened in self._open.values():
                if (opened.path, opened.stamp) == (path, stamp):
                    return opened.session.volume
        volume = read_volume(path)
        stack = stack_of(volume) if axis is None else Plane.of(volume, axis_of(volume, axis), 1).stack
        return volume.arranged(stack.axes)

    def _check_image(self, opened: Opened) -> None:
        path = self._path_of(opened.session.case)
        if _stamp(path) != opened.stamp:
            raise Conflict(
                "the image was replaced since this session was opened", "close the session and open a new one"
            )

    def _changed(self, opened: Opened) -> None:
        opened.unsaved = True
        opened.used = self._clock()

    def _end(self, opened: Opened) -> None:
        opened.engine.prefetcher.leave(opened.session.id)
        if opened.work is not None:
            opened.work.cancel()
        self._records.save(opened)

    def _expire(self) -> None:
        now = self._clock()
        with self._lock:
            old = [o for o in self._open.values() if now - o.used > self._idle_s]
            for opened in old:
                del self._open[opened.session.id]
                self._expired[opened.session.id] = opened.session.case
            while len(self._expired) > 1000:
                self._expired.popitem(last=False)
        for opened in old:
            self._end(opened)

    def _keep_house(self) -> None:
        """Start the thread that saves and expires; the caller holds the lock."""
        if self._keeper is None and not self._stopped:
            self._keeper = threading.Thread(target=self._house, name="sessions", daemon=True)
            self._keeper.start()

    def _house(self) -> None:
        while not self._wake.wait(1.0):
            self._expire()
            now = self._clock()
            with self._lock:
                paused = [o for o in self._open.values() if o.unsaved and now - o.used >= PAUSE_S]
            for opened in paused:
                self._records.save(opened)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        raise NotFound(f"the image {path.name} was removed", "ask for another case") from None
    return status.st_mtime_ns, status.st_size
