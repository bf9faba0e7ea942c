"""Runs a propagation beside the annotator's clicks: progress, cancel, one step to undo.

One daemon thread per running propagation. It takes the session's lock only to look at the prompted
slices at the start and to write the result at the end, gives way to clicks before every slice, and
never overwrites a slice that holds prompts, not even one that was prompted meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from monailabel_app.errors import Conflict, GeometryError, SiteError
from monailabel_app.imaging.intensity import luminance
from monailabel_app.inference.planes import Plane
from monailabel_app.interactive.decoder import decode_prompt, full_mask, logits_of
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.propagate import Rules, propagate
from monailabel_app.interactive.session import Session
from monailabel_app.interactive.shapes import signed_distance
from monailabel_app.models.prompting import SlicePrompt

__all__ = ["Propagation", "PropagationStatus"]

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
SPREAD = 3.0
"""Standard deviations that a slice's mean intensity may lie from that of the prompted slices."""


@dataclass(frozen=True)
class PropagationStatus:
    """What a propagation did so far.

    Attributes:
        state: ``running``, ``done``, ``cancelled`` or ``failed``.
        label: the label.
        axis: 0 = i, 1 = j, 2 = k.
        done: slices found.
        at: the slice it works on.
        first: lowest slice found.
        last: highest slice found.
        step: the session's step that holds the result; ``None`` before it is written or without one.
        since: the session's step when it began.
        message: why it failed.
    """

    state: Literal["running", "done", "cancelled", "failed"]
    label: str
    axis: int
    done: int = 0
    at: int | None = None
    first: int | None = None
    last: int | None = None
    step: int | None = None
    since: int = 0
    message: str = ""


class Propagation:
    """One propagation.

    Args:
        session: whose prompted slices are carried on.
        engine: serves its model.
        label: what to propagate.
        axis: along which axis.
        reach: slices outwards at most.
        written: called after the result was written into the session.
        slices: start from these; the prompted ones by default.

    Raises:
        Conflict: no slice of this label along this axis has prompts or a mask.
    """

    def __init__(
        self,
        session: Session,
        engine: Engine,
        label: str,
        axis: int,
        reach: int,
        written: Callable[[int], None],
        slices: Sequence[int] = (),
    ) -> None:
        self._session, self._engine = session, engine
        self._label, self._axis, self._reach = label, axis, reach
        self._written = written
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._found: dict[int, Mask] = {}
        with session.lock:
            since = session.step
            self._value = session.value(label)[1]
            self._plane: Plane = session.plane(axis)
            self._prompted = self._seeds(slices or session.prompted(label, axis))
        if not any(mask.any() for mask in self._prompted.values()):
            raise Conflict(
                f"label {label!r} has no prompted slice with a mask across this axis",
                "prompt at least one slice across this axis first",
            )
        self._status = PropagationStatus("running", label, axis, since=since)
        self._thread = threading.Thread(target=self._run, name="propagate", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the slice it works on; what was found is kept."""
        self._stop.set()

    def wait(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    @property
    def status(self) -> PropagationStatus:
        """What was done so far."""
        with self._lock:
            return self._status

    def _seeds(self, slices: Sequence[int]) -> dict[int, Mask]:
        if outside := [index for index in slices if not 0 <= index < len(self._plane)]:
            raise GeometryError(f"slice {outside[0]} lies outside the image, which has {len(self._plane)} there")
        return {index: self._plane.upright(self._session.mask, index) == self._value for index in slices}

    def _run(self) -> None:
        try:
            self._walk()
            state: Literal["done", "cancelled"] = "cancelled" if self._stop.is_set() else "done"
            step = self._write()
            self._update(state=state, step=step, at=None)
        except SiteError as error:
            self._update(state="failed", message=str(error), at=None)
        except Exception:
            logger.exception("a propagation failed")
            self._update(state="failed", message="the site failed on this propagation; its log says why", at=None)

    def _walk(self) -> None:
        scores = self._session.scores(self._label, self._axis)
        found = propagate(
            self._prompted,
            scores,
            len(self._plane),
            self._predict,
            spacing=self._plane.stack.spacing[1:],
            plausible=self._looks_alike(),
            rules=Rules(reach=self._reach),
        )
        for index, mask in found:
            self._found[index] = mask
            self._update(done=len(self._found), first=min(self._found), last=max(self._found))
            if self._stop.is_set():
                return

    def _predict(self, index: int, expected: Mask) -> tuple[Mask, float]:
        """The network's mask of a slice, prompted with the expected one: as mask, box, and inner point."""
        self._update(at=index)
        self._engine.turns.step_aside()
        if self._stop.is_set() or not expected.any():
            return np.zeros_like(expected), 0.0
        snapshot = self._engine.snapshot()
        view = self._session.view(self._axis, index)
        features = self._engine.cache.features(snapshot, view, urgent=False).features
        fit = self._plane.fit
        before = logits_of(fit, expected, snapshot.grid)
        decoded = decode_prompt(snapshot, features, self._label, _prompt_of(expected, self._plane), before=before)
        return full_mask(fit, decoded.logits), decoded.score

    def _looks_alike(self) -> Callable[[int, Mask], bool]:
        """Whether a mask is about as bright as the prompted ones, which a weak network does not notice."""
        inside = [self._grey(index)[mask].astype(np.float64) for index, mask in self._prompted.items() if mask.any()]
        values = np.concatenate(inside)
        mean, std = float(values.mean()), max(float(values.std()), 1e-6)

        def alike(index: int, mask: Mask) -> bool:
            return abs(float(self._grey(index)[mask].mean()) - mean) <= SPREAD * std

        return alike

    def _grey(self, index: int) -> npt.NDArray[Any]:
        volume = self._session.volume
        shown = self._plane.upright(volume.array, index)
        return luminance(shown[None])[0] if volume.is_colour else shown

    def _write(self) -> int | None:
        with self._session.lock:
            now = {*self._prompted, *self._session.prompted(self._label, self._axis)}
            fresh = {index: mask for index, mask in self._found.items() if index not in now}
            if not fresh:
                return None
            answer = self._session.write(fresh, self._label, self._axis, "propagate")
        self._written(answer.step)
        return answer.step

    def _update(self, **changes: object) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)  # type: ignore[arg-type]


def _prompt_of(mask: Mask, plane: Plane) -> SlicePrompt:
    """The box of a mask, a little loose, and its innermost point."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    slack = 1 + (bottom - top + right - left) // 20
    box = (
        *plane.fit.point(max(0, top - slack), max(0, left - slack)),
        *plane.fit.point(min(mask.shape[0], bottom + 1 + slack), min(mask.shape[1], right + 1 + slack)),
    )
    inner = np.unravel_index(int(signed_distance(mask, plane.stack.spacing[1:]).argmax()), mask.shape)
    point = (*plane.fit.point(int(inner[0]) + 0.5, int(inner[1]) + 0.5), True)
    return SlicePrompt((point,), box)
