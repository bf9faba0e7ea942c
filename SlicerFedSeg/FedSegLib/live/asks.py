"""One request to a session, and what it brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from ..cancel import CancelSwitch
from ..consent import Consent
from ..errors import ActionNotPossible, FedSegError
from ..grid import Array, changed_box, true_box
from ..grid import Box as Slices
from ..language import tr as _
from ..protocol import LabelSchema
from .calls import SessionCalls
from .drawing import Box, drawn
from .protocol import Answer, Prompt
from .trail import Mark, World

if TYPE_CHECKING:
    from ..protocol import Ijk


class LiveCanvas(Protocol):
    """What live prompting needs of the scene; :class:`~FedSegLib.scene.Canvas` is it."""

    def close(self) -> None: ...
    def points(self) -> list[tuple[bool, list[World]]]: ...
    def show_marks(self, marks: list[Mark]) -> None: ...
    def voxel(self, world: World) -> Ijk: ...
    def axis(self, world: World) -> str: ...
    def box(self) -> tuple[Box, str] | None: ...
    def outline(self) -> tuple[Array, str] | None: ...
    def strokes(self) -> tuple[list[tuple[Array, bool]], str]: ...
    def clear_shapes(self) -> None: ...
    def labels(self) -> Array: ...
    def stamp(self) -> tuple[int, ...]: ...
    def apply(self, box: Slices, voxels: Array, changed: Array) -> None: ...


class Kind(Enum):
    """What is asked of the session."""

    OPEN = "open"
    PROMPT = "prompt"
    UNDO = "undo"
    REDO = "redo"
    CHANGES = "changes"


@dataclass(frozen=True)
class Ask:
    """One request, and the points that belong to it; ``since`` is for CHANGES."""

    kind: Kind
    prompt: Prompt | None = None
    marks: tuple[Mark, ...] = ()
    since: int = 0
    again: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a request brought: answers to edits that were sent first, then its own answer or error."""

    edits: Sequence[Answer]
    answer: Answer | None
    error: FedSegError | None


def carry_out(
    calls: SessionCalls, name: str, edits: Sequence[Prompt], ask: Ask, consent: Consent, cancel: CancelSwitch
) -> Outcome:
    """Send the person's edits, then the request (worker thread); what the edits brought is kept if one fails."""
    answers: list[Answer] = []
    try:
        answers.extend(calls.prompt(name, edit, consent, cancel) for edit in edits)  # up to one that fails
        return Outcome(answers, _one(calls, name, ask, consent, cancel), None)
    except FedSegError as error:
        return Outcome(answers, None, error)


def _one(calls: SessionCalls, name: str, ask: Ask, consent: Consent, cancel: CancelSwitch) -> Answer:
    if ask.kind is Kind.UNDO:
        return calls.undo(name, cancel)
    if ask.kind is Kind.REDO:
        return calls.redo(name, cancel)
    if ask.kind is Kind.CHANGES or ask.prompt is None:
        return calls.changes(name, ask.since, cancel)
    return calls.prompt(name, ask.prompt, consent, cancel)


def edits_between(agreed: Array, wanted: Array, schema: LabelSchema) -> list[Prompt]:
    """What turns one labelmap into another: the new state of every label that differs, within a box.

    Raises:
        ActionNotPossible: they have different shapes.
    """
    if wanted.shape != agreed.shape:
        raise ActionNotPossible(_("The image at the site has another size."), _("Open the case again."))
    edits = []
    for label in schema.labels:
        ours = wanted == label.value
        box = changed_box(agreed == label.value, ours)
        if box is not None:
            edits.append(Prompt(label.name, "", mask=drawn(ours, box)))
    return edits


def shape_prompt(canvas: LiveCanvas, label: str) -> Prompt | None:
    """The scribbles, box or lasso that the canvas holds, as a prompt; None when there is none.

    A lasso is sent as what it encloses, and as a box, so that the model refines what lies inside.
    """
    strokes, axis = canvas.strokes()
    if strokes:
        return Prompt(label, axis, scribbles=tuple((drawn(mask, _around(mask)), inside) for mask, inside in strokes))
    if (found := canvas.box()) is not None:
        return Prompt(label, found[1], box=found[0])
    if (outline := canvas.outline()) is not None:
        mask, axis = outline
        inside = drawn(mask, _around(mask))
        return Prompt(label, axis, box=inside.box, mask=inside)
    return None


def _around(mask: Array) -> Slices:
    box = true_box(mask)
    if box is None:
        raise ActionNotPossible(_("Nothing was drawn."))
    return box
