"""The voxels that one step changes, remembered before it changes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monailabel_app.interactive.history import Box, Kept, box_slices, changed_box, union
from monailabel_app.interactive.wire import squeeze

__all__ = ["Draft"]

Labels = npt.NDArray[np.uint8]


class Draft:
    """Collects the voxels that one step changes, and can put them back."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._kept: list[tuple[Box, Labels]] = []
        self.box: Box | None = None

    def slab(self, axis: int, index: int) -> Box:
        """Remember a whole slice before it is changed."""
        low, high = [0, 0, 0], [n - 1 for n in self._labels.shape]
        low[axis] = high[axis] = index
        return self._keep((low[0], low[1], low[2], high[0], high[1], high[2]))

    def draw(self, box: Box, drawn: npt.NDArray[np.bool_], value: int) -> None:
        """Replace a label within a box."""
        kept = self._keep(box)
        target = self._labels[box_slices(box)]
        target[target == value] = 0
        target[drawn] = value
        self.done(kept)

    def done(self, box: Box) -> None:
        """Note what changed within the box remembered last."""
        before = next(old for kept, old in reversed(self._kept) if kept == box)
        changed = changed_box(before, self._labels[box_slices(box)], (box[0], box[1], box[2]))
        self.box = union(self.box, changed)

    def revert(self) -> None:
        """Put everything back."""
        for box, old in reversed(self._kept):
            self._labels[box_slices(box)] = old

    def voxels(self) -> tuple[Kept, Kept]:
        """The changed box before and after, as the history keeps them."""
        if self.box is None:
            return Kept(), Kept()
        after = self._labels[box_slices(self.box)].copy()
        # the reply needs the later ones compressed anyway
        return Kept.of(_overlaid(after, self.box, self._kept)), Kept(squeeze(after), True)

    def _keep(self, box: Box) -> Box:
        self._kept.append((box, self._labels[box_slices(box)].copy(order="K")))
        return box


def _overlaid(after: Labels, box: Box, kept: list[tuple[Box, Labels]]) -> Labels:
    """``after`` with every remembered part that lies in ``box`` put back, the oldest last."""
    before = after.copy()
    for part, old in reversed(kept):
        low = [max(a, b) for a, b in zip(part[:3], box[:3], strict=True)]
        high = [min(a, b) for a, b in zip(part[3:], box[3:], strict=True)]
        if any(a > b for a, b in zip(low, high, strict=True)):
            continue
        into = tuple(slice(a - c, b - c + 1) for a, b, c in zip(low, high, box[:3], strict=True))
        source = tuple(slice(a - c, b - c + 1) for a, b, c in zip(low, high, part[:3], strict=True))
        before[into] = old[source]
    return before
