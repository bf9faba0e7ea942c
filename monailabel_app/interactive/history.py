"""Undo and redo of mask edits: each keeps the changed box before and after, compressed."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from monailabel_app.interactive.wire import squeeze

__all__ = ["Box", "Edit", "History", "Kept", "box_slices", "changed_box", "union"]

Labels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int, int, int]
"""(i0, j0, k0, i1, j1, k1), inclusive."""


def box_slices(box: Box) -> tuple[slice, slice, slice]:
    """A box as an index into [i, j, k]."""
    return slice(box[0], box[3] + 1), slice(box[1], box[4] + 1), slice(box[2], box[5] + 1)


def union(a: Box | None, b: Box | None) -> Box | None:
    """The smallest box around both; ``None`` is empty."""
    if a is None or b is None:
        return a or b
    low, high = [min(p) for p in zip(a[:3], b[:3], strict=True)], [max(p) for p in zip(a[3:], b[3:], strict=True)]
    return low[0], low[1], low[2], high[0], high[1], high[2]


def changed_box(before: Labels, after: Labels, corner: tuple[int, int, int] = (0, 0, 0)) -> Box | None:
    """The smallest box around the voxels that differ, ``corner`` being the arrays' first voxel."""
    differs = before != after
    low, high = [], []
    for axis in range(3):
        where = np.flatnonzero(differs.any(axis=tuple(a for a in range(3) if a != axis)))
        if not where.size:
            return None
        low.append(int(where[0]) + corner[axis])
        high.append(int(where[-1]) + corner[axis])
    return low[0], low[1], low[2], high[0], high[1], high[2]


RAW_BYTES = 2**20
"""Up to this size voxels are kept as they are: compressing them would cost a click more than it saves."""


@dataclass(frozen=True)
class Kept:
    """Voxels of a box, C order.

    Attributes:
        data: the voxels, or zlib of them.
        packed: whether it is zlib.
    """

    data: bytes = b""
    packed: bool = False

    @classmethod
    def of(cls, voxels: Labels) -> Kept:
        """Keep voxels, compressed when they are many."""
        return cls(voxels.tobytes()) if voxels.size <= RAW_BYTES else cls(squeeze(voxels), True)

    @property
    def raw(self) -> bytes:
        """The voxels."""
        return zlib.decompress(self.data) if self.packed else self.data

    @property
    def zlib(self) -> bytes:
        """The voxels as a reply holds them."""
        return self.data if self.packed else squeeze(np.frombuffer(self.data, dtype=np.uint8))


@dataclass(frozen=True)
class Edit:
    """One step of an annotator.

    Attributes:
        step: counts up over all steps of a session, undone ones too.
        what: ``prompt``, ``mask``, ``propagate``.
        box: the voxels that changed; ``None`` where none did.
        before: those voxels before.
        after: and after.
        states_before: prompts of the touched slices before; ``None`` for none.
        states_after: and after.
    """

    step: int
    what: str
    box: Box | None
    before: Kept
    after: Kept
    states_before: Mapping[Any, Any] = field(default_factory=dict)
    states_after: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return len(self.before.data) + len(self.after.data)


def apply(labels: Labels, box: Box, kept: Kept) -> None:
    """Put kept voxels back into [i, j, k]."""
    target = labels[box_slices(box)]
    target[...] = np.frombuffer(kept.raw, dtype=np.uint8).reshape(target.shape)


class History:
    """What can be undone and redone; the oldest steps are forgotten beyond the limits.

    Args:
        limit: steps kept.
        limit_bytes: bytes kept.
    """

    def __init__(self, limit: int = 500, limit_bytes: int = 64 * 2**20) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._done: deque[Edit] = deque()
        self._undone: list[Edit] = []

    @property
    def can_undo(self) -> int:
        """Steps that can be undone."""
        return len(self._done)

    @property
    def can_redo(self) -> int:
        """Steps that can be redone."""
        return len(self._undone)

    def push(self, edit: Edit) -> None:
        """A new step; what was undone before it can no longer be redone."""
        self._undone.clear()
        self._done.append(edit)
        while len(self._done) > self._limit or (
            len(self._done) > 1 and sum(e.nbytes for e in self._done) > self._limit_bytes
        ):
            self._done.popleft()

    def undo(self, labels: Labels) -> Edit | None:
        """Take the last step back in ``labels``; ``None`` where there is none."""
        if not self._done:
            return None
        edit = self._done.pop()
        if edit.box is not None:
            apply(labels, edit.box, edit.before)
        self._undone.append(edit)
        return edit

    def redo(self, labels: Labels) -> Edit | None:
        """Do the last undone step again; ``None`` where there is none."""
        if not self._undone:
            return None
        edit = self._undone.pop()
        if edit.box is not None:
            apply(labels, edit.box, edit.after)
        self._done.append(edit)
        return edit
