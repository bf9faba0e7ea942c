"""One annotator on one case: prompts, masks, undo; nothing in it is shared with another session.

A session's lock is held for a whole request, so its steps have one order. It is the outermost lock:
the feature cache and the records are called under it, never the other way round.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from monailabel_app.errors import LabelError, SiteError
from monailabel_app.imaging.intensity import Window
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.cache import Found, SliceView
from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.inference.planes import Plane, axis_of
from monailabel_app.interactive.decoder import Decoded, decode_prompt, full_mask, logits_of
from monailabel_app.interactive.draft import Draft
from monailabel_app.interactive.history import Box, Edit, History, box_slices, union
from monailabel_app.interactive.prompts import PromptRequest, SliceInput, spread, voxels_of
from monailabel_app.interactive.slice_state import SliceState, compose, slice_prompt

__all__ = ["Answer", "Model", "Session"]

Labels = npt.NDArray[np.uint8]
StateKey = tuple[str, int, int]
"""Label, axis, slice."""


class Model(Protocol):
    """What a session needs of the engine that serves its model."""

    name: str
    image_size: int

    def snapshot(self) -> Snapshot:
        """The network of the version that serves now."""
        ...

    def features(self, snapshot: Snapshot, view: SliceView) -> Found:
        """Encoder features of a slice; somebody waits for them."""
        ...


@dataclass
class Answer:
    """What changed.

    Attributes:
        step: number of the step; 0 before the first.
        box: changed voxels; ``None`` where none did.
        version: the version that answered.
        slices: first and last prompted or changed slice along ``axis``.
        axis: 0 = i, 1 = j, 2 = k.
        score: lowest predicted IoU of the masks made.
        sources: where the features of each slice came from.
        milliseconds: time by stage.
        packed: voxels of the box in C order, zlib, where they were packed already.
    """

    step: int
    box: Box | None
    version: str = ""
    slices: tuple[int, int] | None = None
    axis: int = 2
    score: float | None = None
    sources: list[str] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    packed: bytes | None = None

    def add(self, stage: str, spent: float) -> None:
        """Add milliseconds to a stage."""
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + spent


class Session:
    """See the module.

    Args:
        identifier: random id, known to its owner only.
        case: image id.
        volume: the image.
        window: intensities as the network sees them.
        model: answers the prompts.
        labels: label name -> voxel value.
        label: what prompts are for when they name none.
        axis: slices are across it when prompts name none.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        identifier: str,
        case: str,
        volume: Volume,
        window: Window,
        model: Model,
        labels: Mapping[str, int],
        label: str,
        axis: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = identifier
        self.case = case
        self.volume = volume
        self.window = window
        self.model = model
        self.labels = dict(labels)
        self.label = label
        self.axis = axis
        self.lock = threading.RLock()
        self.history = History()
        self.opened = clock()
        self.step = 0
        self.version = ""
        self.mask: Labels = _laid_out(volume.shape, axis)
        self._planes: dict[int, Plane] = {}
        self._states: dict[StateKey, SliceState] = {}
        self._series: tuple[str, int] = ("", -1)
        self._bases: dict[int, Labels] = {}
        self._changes: deque[tuple[int, Box | None]] = deque(maxlen=1000)

    def plane(self, axis: int) -> Plane:
        """Slices across ``axis``."""
        if axis not in self._planes:
            self._planes[axis] = Plane.of(self.volume, axis, self.model.image_size)
        return self._planes[axis]

    def view(self, axis: int, index: int) -> SliceView:
        """One slice as the network sees it."""
        return SliceView(self.volume, self.plane(axis), self.window, index)

    def value(self, label: str | None) -> tuple[str, int]:
        """A label's name and voxel value.

        Raises:
            LabelError: the schema has no such label.
        """
        name = label or self.label
        if name not in self.labels:
            raise LabelError(
                f"there is no label {name[:80]!r}", f"the labels of this site are {', '.join(self.labels)}"
            )
        return name, self.labels[name]

    def prompt(self, request: PromptRequest, accepted: Callable[[str], object] = lambda version: None) -> Answer:
        """Take prompts, change the mask; the caller holds :attr:`lock`.

        Args:
            request: the prompts.
            accepted: called with the version once the prompts are known to fit, before it computes.

        Raises:
            SiteError: no prompt, or one that does not fit; mask and history are as before.
        """
        start = time.perf_counter()
        name, value = self.value(request.label)
        axis = self.axis if request.axis is None else axis_of(self.volume, request.axis)
        plane = self.plane(axis)
        inputs = spread(request, plane, self.volume.shape)
        drawn = None if request.mask is None else voxels_of(request.mask, self.volume.shape)
        if not inputs and drawn is None:
            raise SiteError("the request holds no prompt", "send foreground, background, box, scribbles or mask")
        snapshot = self.model.snapshot()
        answer = Answer(self.step + 1, None, snapshot.version, axis=axis)
        accepted(snapshot.version)
        answer.add("prepare", (time.perf_counter() - start) * 1e3)
        found = {index: self._features(snapshot, axis, index, answer) for index in sorted(inputs)}
        edit = Draft(self.mask)
        if request.mask is not None and drawn is not None:
            edit.draw(request.mask.box, drawn, value)
            self._break_series()
        try:
            states = self._decode(snapshot, (name, value), plane, inputs, found, request, edit, answer)
        except BaseException:
            edit.revert()
            raise
        self._finish(edit, states, answer, "prompt" if inputs else "mask", request)
        return answer

    def undo(self, *, redo: bool = False) -> Answer:
        """Take the last step back, or do it again; the caller holds :attr:`lock`.

        Raises:
            SiteError: there is nothing to undo or redo.
        """
        edit = self.history.redo(self.mask) if redo else self.history.undo(self.mask)
        if edit is None:
            raise SiteError(f"there is nothing to {'redo' if redo else 'undo'}", "the session is as it was")
        for key, state in (edit.states_after if redo else edit.states_before).items():
            if state is None:
                self._states.pop(key, None)
            else:
                self._states[key] = state
        self._break_series()
        self.step += 1
        self._changes.append((self.step, edit.box))
        kept = (edit.after if redo else edit.before).zlib
        return Answer(self.step, edit.box, self.version, axis=self.axis, packed=kept)

    def write(self, slices: Mapping[int, npt.NDArray[np.bool_]], label: str, axis: int, what: str) -> Answer:
        """Put upright masks of one label into slices as one step; the caller holds :attr:`lock`."""
        _, value = self.value(label)
        edit = Draft(self.mask)
        for index, mask in slices.items():
            slab = edit.slab(axis, index)
            upright = self.plane(axis).upright(self.mask, index)
            upright[upright == value] = 0
            upright[mask & (upright == 0)] = value  # other labels stay
            edit.done(slab)
        answer = Answer(self.step + 1, None, self.version, axis=axis)
        self._break_series()
        self._finish(edit, {}, answer, what, None)
        return answer

    def voxels(self, box: Box) -> Labels:
        """Label values within a box, a view."""
        return self.mask[box_slices(box)]

    def prompted(self, label: str, axis: int) -> list[int]:
        """Slices that hold prompts of a label."""
        return sorted(index for name, a, index in self._states if (name, a) == (label, axis))

    def scores(self, label: str, axis: int) -> dict[int, float]:
        """Predicted IoU of the prompted slices of a label."""
        return {
            index: state.score
            for (name, a, index), state in self._states.items()
            if (name, a) == (label, axis) and state.score is not None
        }

    def changed_since(self, step: int) -> Box | None:
        """The box around everything that changed after ``step``; the whole volume when that is too long ago."""
        if self._changes and step < self._changes[0][0] - 1:
            i, j, k = self.volume.shape
            return 0, 0, 0, i - 1, j - 1, k - 1
        box: Box | None = None
        for at, changed in self._changes:
            if at > step:
                box = union(box, changed)
        return box

    def _features(self, snapshot: Snapshot, axis: int, index: int, answer: Answer) -> Tensor:
        start = time.perf_counter()
        found = self.model.features(snapshot, self.view(axis, index))
        answer.add("features", (time.perf_counter() - start) * 1e3)
        for stage, spent in found.milliseconds.items():
            answer.add(f"features_{stage}", spent)
        answer.sources.append(found.source)
        return found.features

    def _decode(
        self,
        snapshot: Snapshot,
        label: tuple[str, int],
        plane: Plane,
        inputs: Mapping[int, SliceInput],
        found: Mapping[int, Tensor],
        request: PromptRequest,
        edit: Draft,
        answer: Answer,
    ) -> dict[StateKey, SliceState]:
        name, value = label
        if self._series != (name, plane.axis):
            self._break_series()
        states: dict[StateKey, SliceState] = {}
        for index, given in inputs.items():
            start = time.perf_counter()
            key = (name, plane.axis, index)
            state = SliceState() if request.replace else self._states.get(key, SliceState())
            state = state.joined(given)
            decoded = self._mask(snapshot, found[index], label, plane, index, state, request)
            middle = time.perf_counter()
            answer.add("decode", (middle - start) * 1e3)
            base = self._bases.get(index)
            slab = edit.slab(plane.axis, index)
            upright = plane.upright(self.mask, index)
            if base is None:
                base = self._bases[index] = upright.copy()
            upright[...] = compose(base, full_mask(plane.fit, decoded.logits), state, value)
            edit.done(slab)
            states[key] = state.seen(decoded.logits, decoded.score)
            answer.score = min(decoded.score, answer.score if answer.score is not None else decoded.score)
            answer.add("mask", (time.perf_counter() - middle) * 1e3)
        if inputs:
            self._series = (name, plane.axis)
            answer.slices = (min(inputs), max(inputs))
        return states

    def _mask(
        self,
        snapshot: Snapshot,
        features: Tensor,
        label: tuple[str, int],
        plane: Plane,
        index: int,
        state: SliceState,
        request: PromptRequest,
    ) -> Decoded:
        """Ask the network; the mask before is the last logits, or what the slice holds of the label."""
        before = state.logits if index in self._bases and not request.replace else None
        if before is None:
            present = plane.upright(self.mask, index) == label[1]
            before = logits_of(plane.fit, present, snapshot.grid) if present.any() else None
        prompt, single = slice_prompt(state, plane.fit)
        ambiguous = single and before is None if request.multimask is None else request.multimask
        return decode_prompt(snapshot, features, label[0], prompt, before=before, ambiguous=ambiguous)

    def _finish(
        self,
        edit: Draft,
        states: dict[StateKey, SliceState],
        answer: Answer,
        what: str,
        request: PromptRequest | None,
    ) -> None:
        earlier = {key: self._states.get(key) for key in states}
        self._states.update(states)
        self.step = answer.step
        self.version = answer.version
        answer.box = edit.box
        self._changes.append((self.step, edit.box))
        before, after = edit.voxels()
        answer.packed = after.zlib
        self.history.push(Edit(self.step, what, edit.box, before, after, earlier, dict(states)))

    def _break_series(self) -> None:
        self._series = ("", -1)
        self._bases.clear()


def _laid_out(shape: tuple[int, int, int], axis: int) -> Labels:
    """An empty mask [i, j, k] in which a slice across ``axis`` is one piece of memory.

    With another axis the slowest, reading one slice of a large volume touches a cache line for
    every voxel: 20 times slower.
    """
    rest = [n for a, n in enumerate(shape) if a != axis]
    return np.moveaxis(np.zeros((shape[axis], *rest), dtype=np.uint8), 0, axis)
