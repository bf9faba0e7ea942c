"""What an annotator may send to a session, and the same slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.errors import GeometryError, SiteError
from monailabel_app.inference.planes import AXES, Plane
from monailabel_app.interactive.wire import decode_voxels, runs_of
from monailabel_app.models.base import Prompts

__all__ = ["DrawnMask", "PromptRequest", "RecordedPrompt", "Scribble", "SliceInput", "spread", "voxels_of"]

Voxel = tuple[int, int, int]
Box = tuple[int, int, int, int, int, int]
Places = npt.NDArray[np.int64]
"""[n, 2] rows and columns of a slice."""

MOST_POINTS = 1000
MOST_SCRIBBLES = 64
MOST_SLICES = 64
"""Slices that one request may prompt: more is work for propagation."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DrawnMask(_Strict):
    """Voxels within a box, as packed bits or runs (see :func:`.wire.decode_voxels`).

    Attributes:
        box: (i0, j0, k0, i1, j1, k1), inclusive, in voxels of the original image.
        bits: base64 of packed bits over the C order of the box.
        runs: start, length, start, length, ... over the same order.
    """

    box: Box
    bits: str | None = None
    runs: list[Annotated[int, Field(ge=0)]] | None = None


class Scribble(DrawnMask):
    """A drawn stroke; the mask will hold (or leave out) exactly its voxels."""

    positive: bool = True


class PromptRequest(_Strict):
    """The body of ``POST /sessions/{session}/prompts``.

    Attributes:
        label: a label of the schema; the session's when left out.
        axis: ``i``, ``j``, ``k``, ``axial``, ``coronal`` or ``sagittal``; the session's when left out.
        foreground: voxels inside the structure.
        background: voxels outside it.
        box: a box on one slice, inclusive corners.
        scribbles: strokes.
        mask: an initial mask for the label; replaces what the label has within its box.
        replace: forget the earlier prompts of the touched slices first.
        multimask: take the best of three masks; by default on a first single click.
    """

    label: str | None = None
    axis: str | int | None = None
    foreground: list[Voxel] = Field(default=[], max_length=MOST_POINTS)
    background: list[Voxel] = Field(default=[], max_length=MOST_POINTS)
    box: Box | None = None
    scribbles: list[Scribble] = Field(default=[], max_length=MOST_SCRIBBLES)
    mask: DrawnMask | None = None
    replace: bool = False
    multimask: bool | None = None

    @property
    def prompts_slices(self) -> bool:
        """Whether there is anything for the model."""
        return bool(self.foreground or self.background or self.box or self.scribbles)


@dataclass(frozen=True)
class RecordedPrompt(Prompts):
    """A prompt as it is stored with the case, to be trained on.

    Attributes:
        axis: ``i``, ``j`` or ``k``: slices were taken across it.
        scribbles: ``{"box", "runs", "positive"}`` each.
        session: random id of the session.
        step: number of the step within it.
        action: ``prompt``, ``undo``, ``redo``, ``mask`` or ``propagate``.
        replace: whether earlier prompts of the touched slices were forgotten.
        seconds: since the session was opened.
    """

    axis: str = "k"
    scribbles: tuple[dict[str, object], ...] = ()
    session: str = ""
    step: int = 0
    action: str = "prompt"
    replace: bool = False
    seconds: float = 0.0


@dataclass
class SliceInput:
    """New prompts of one slice, in rows and columns of the upright slice.

    Attributes:
        points: (row, column, inside).
        box: (row, column, row, column), inclusive.
        strokes: places of each stroke, and whether it is positive.
    """

    points: list[tuple[int, int, bool]] = field(default_factory=list)
    box: tuple[int, int, int, int] | None = None
    strokes: list[tuple[Places, bool]] = field(default_factory=list)


def voxels_of(drawn: DrawnMask, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """The mask within its box.

    Raises:
        GeometryError: the box leaves the volume.
        SiteError: box and voxels contradict each other.
    """
    box = drawn.box
    if any(not 0 <= a <= b < n for a, b, n in zip(box[:3], box[3:], shape, strict=True)):
        raise GeometryError(
            f"the box {tuple(box)} lies outside the image of {shape[0]} x {shape[1]} x {shape[2]} voxels",
            "corners are voxel indices (i0, j0, k0, i1, j1, k1), inclusive, the lower ones first",
        )
    return decode_voxels(box, drawn.bits, drawn.runs, int(np.prod(shape)))


def spread(request: PromptRequest, plane: Plane, shape: tuple[int, int, int]) -> dict[int, SliceInput]:
    """The prompts of a request slice by slice, along the plane's axis.

    Raises:
        GeometryError: a voxel outside the volume, or a box across slices.
        SiteError: a scribble without voxels, or prompts on too many slices.
    """
    found: dict[int, SliceInput] = {}
    for inside, voxels in ((True, request.foreground), (False, request.background)):
        for voxel in voxels:
            index, row, column = plane.slice_of(voxel)
            found.setdefault(index, SliceInput()).points.append((row, column, inside))
    if request.box is not None:
        index, corners = _box(request.box, plane)
        found.setdefault(index, SliceInput()).box = corners
    for scribble in request.scribbles:
        at = np.argwhere(voxels_of(scribble, shape)) + np.asarray(scribble.box[:3])
        if not len(at):
            raise SiteError("a scribble holds no voxel", "leave it out, or draw again")
        places = plane.places(at)
        for index in np.unique(places[:, 0]):
            stroke = places[places[:, 0] == index, 1:]
            found.setdefault(int(index), SliceInput()).strokes.append((stroke, scribble.positive))
    if len(found) > MOST_SLICES:
        raise SiteError(
            f"the request prompts {len(found)} slices across {AXES[plane.axis]}",
            f"prompt at most {MOST_SLICES} at once, and propagate between them",
        )
    return found


def _box(box: Box, plane: Plane) -> tuple[int, tuple[int, int, int, int]]:
    first, last = plane.slice_of((box[0], box[1], box[2])), plane.slice_of((box[3], box[4], box[5]))
    if first[0] != last[0]:
        raise GeometryError(
            f"the box {tuple(box)} runs across {abs(first[0] - last[0]) + 1} slices of axis {AXES[plane.axis]}",
            "draw the box on one slice, and name the axis that this slice is across",
        )
    rows, columns = sorted((first[1], last[1])), sorted((first[2], last[2]))
    return first[0], (rows[0], columns[0], rows[1], columns[1])


def recorded_scribbles(request: PromptRequest, shape: tuple[int, int, int]) -> tuple[dict[str, object], ...]:
    """Scribbles as they are stored: runs, whatever they were sent as."""
    return tuple(
        {"box": list(one.box), "runs": runs_of(voxels_of(one, shape)), "positive": one.positive}
        for one in request.scribbles
    )
