"""What is asked of a session and what it answers, as typed values (the site's docs/reference/interactive.md)."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..errors import ProtocolError
from ..fields import Fields, parse_object
from ..grid import Array
from ..language import mark
from ..language import tr as _
from ..protocol import Ijk
from .drawing import Box, Drawn

MAGIC = b"FSM1"
MEDIA_TYPE = "application/x-fedseg-mask"
_HEAD = struct.Struct("<4sI")
_HINT = mark("The site may be of another version. Connect again.")


@dataclass(frozen=True)
class Session:
    """An open session: its id, the version that answers, the image's shape (i, j, k) and label values."""

    id: str
    image: str
    version: str
    shape: Ijk
    labels: Mapping[str, int]
    step: int
    undo: int
    redo: int


@dataclass(frozen=True)
class Answer:
    """What a step changed.

    Attributes:
        step: number of the step; the session counts on, undo and redo too.
        box: the changed voxels; None where none changed.
        voxels: label values within the box, [k, j, i]; None without one.
        milliseconds: time at the site.
        undo, redo: how many steps can be taken back or done again.
    """

    step: int
    version: str
    box: Box | None
    voxels: Array | None
    milliseconds: float
    undo: int
    redo: int


@dataclass(frozen=True)
class Propagation:
    """How far a propagation is; ``done`` counts slices, ``since`` is the step before it."""

    state: Literal["running", "done", "cancelled", "failed"]
    done: int
    at: int | None
    since: int
    message: str


@dataclass(frozen=True)
class Prompt:
    """What was pointed at, of one structure, on slices across one axis ("i", "j" or "k")."""

    label: str
    axis: str
    foreground: tuple[Ijk, ...] = ()
    background: tuple[Ijk, ...] = ()
    box: Box | None = None
    scribbles: tuple[tuple[Drawn, bool], ...] = field(default_factory=tuple)
    mask: Drawn | None = None

    def as_json(self) -> dict[str, object]:
        """The body of the request."""
        body: dict[str, object] = {"label": self.label}
        if self.axis:
            body["axis"] = self.axis
        if self.foreground:
            body["foreground"] = [list(voxel) for voxel in self.foreground]
        if self.background:
            body["background"] = [list(voxel) for voxel in self.background]
        if self.box is not None:
            body["box"] = list(self.box)
        if self.scribbles:
            body["scribbles"] = [{**one.as_json(), "positive": positive} for one, positive in self.scribbles]
        if self.mask is not None:
            body["mask"] = self.mask.as_json()
        return body


def session(body: bytes) -> Session:
    """Parse the description of a session."""
    fields = Fields(parse_object(body, _("the session")), _("the session"))
    named = fields.child("labels")
    return Session(
        id=fields.text("session"),
        image=fields.text("image", ""),
        version=fields.text("version", ""),
        shape=_three(fields.items("shape"), _("the session's shape")),
        labels={name: named.whole(name) for name in named.keys()},  # noqa: SIM118  not a dict
        step=fields.whole("step", 0),
        undo=fields.whole("undo", 0),
        redo=fields.whole("redo", 0),
    )


def answer(body: bytes) -> Answer:
    """Parse a changed box.

    Raises:
        ProtocolError: not such a reply, or one that contradicts itself.
    """
    if len(body) < _HEAD.size or body[:4] != MAGIC:
        raise ProtocolError(_("The site's answer to a prompt is not a changed box."), _(_HINT))
    length = _HEAD.unpack_from(body)[1]
    try:
        head = json.loads(body[_HEAD.size : _HEAD.size + length])
    except ValueError:
        raise ProtocolError(_("The header of the changed box is not JSON."), _(_HINT)) from None
    fields = Fields(head, _("the changed box"))
    box = _box(fields) if fields.has("box") else None
    times = fields.child("milliseconds")
    return Answer(
        step=fields.whole("step"),
        version=fields.text("version", ""),
        box=box,
        voxels=None if box is None else _voxels(box, body[_HEAD.size + length :]),
        milliseconds=times.number("total", 0.0),
        undo=fields.whole("undo", 0),
        redo=fields.whole("redo", 0),
    )


def propagation(body: bytes) -> Propagation:
    """Parse the progress of a propagation."""
    fields = Fields(parse_object(body, _("the propagation")), _("the propagation"))
    state = fields.text("state")
    if state not in ("running", "done", "cancelled", "failed"):
        raise ProtocolError(_("The propagation is in an unknown state, '{state}'.").format(state=state[:20]), _(_HINT))
    return Propagation(
        state=state,  # type: ignore[arg-type]  # checked above
        done=fields.whole("done", 0),
        at=fields.whole("at") if fields.has("at") else None,
        since=fields.whole("since", 0),
        message=fields.text("message", ""),
    )


def _three(values: object, what: str) -> Ijk:
    numbers = list(values) if isinstance(values, list) else []
    if len(numbers) != 3 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ProtocolError(
            _("{what} should be three whole numbers, not {values!r:.40}.").format(what=what, values=values), _(_HINT)
        )
    return numbers[0], numbers[1], numbers[2]


def _box(fields: Fields) -> Box:
    numbers = [n for n in fields.items("box") if isinstance(n, int)]
    if len(numbers) != 6 or any(not 0 <= a <= b for a, b in zip(numbers[:3], numbers[3:], strict=True)):
        raise ProtocolError(_("The changed box {numbers} is none.").format(numbers=numbers), _(_HINT))
    return numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]


def _voxels(box: Box, packed: bytes) -> Array:
    """Voxels of a box as [k, j, i]; never inflates more than the box holds."""
    shape = [b - a + 1 for a, b in zip(box[:3], box[3:], strict=True)]
    size = shape[0] * shape[1] * shape[2]
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(packed, size + 1)
    except zlib.error:
        raise ProtocolError(_("The voxels of the changed box cannot be unpacked."), _("Try again.")) from None
    if len(raw) != size:
        raise ProtocolError(
            _("The changed box holds {raw} voxels instead of {size}.").format(raw=len(raw), size=size), _("Try again.")
        )
    return np.frombuffer(raw, np.uint8).reshape(shape).transpose(2, 1, 0)
