"""Two versions of a model on the open case: their masks, where they differ, how large each structure is; take one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .cancel import CancelSwitch
from .client import SegmentRequest
from .connection import Connection
from .grid import Array, dice
from .language import mark
from .language import tr as _
from .panel import Panel
from .protocol import LabelSchema, Mask
from .state import Action, Comparison, Notice, Phase, Tone
from .worker import Report

if TYPE_CHECKING:
    from .casework import CaseWork
    from .scene import SceneCase

DIFFERENCE, SIDE_BY_SIDE, BLENDED = MODES = (mark("difference"), mark("side by side"), mark("blended"))


@dataclass(frozen=True)
class Structure:
    """One structure in two masks: volumes in millilitres and Dice (1 where both are empty)."""

    name: str
    one: float
    two: float
    dice: float


@dataclass(frozen=True)
class Differences:
    """How two masks differ.

    Attributes:
        labels: [k, j, i]: 1 only in the first, 2 only in the second, 3 another structure; 0 where they agree.
    """

    labels: Array
    rows: tuple[Structure, ...]


def differences(one: Array, two: Array, schema: LabelSchema, millilitres: float) -> Differences:
    """Compare two masks of one shape, holding the schema's values.

    Args:
        millilitres: volume of a voxel.
    """
    labels = np.zeros(one.shape, np.uint8)
    labels[(one != 0) & (two == 0)] = 1
    labels[(one == 0) & (two != 0)] = 2
    labels[(one != two) & (one != 0) & (two != 0)] = 3
    rows = []
    for label in schema.labels:
        first, second = one == label.value, two == label.value
        sizes = [int(np.count_nonzero(mask)) * millilitres for mask in (first, second)]
        rows.append(Structure(label.name, sizes[0], sizes[1], dice(first, second)))
    return Differences(labels, tuple(rows))


def _compared(one: Mask, two: Mask, schema: LabelSchema) -> Differences | None:
    """Where both could be read on this thread and lie alike; None leaves it to the scene."""
    first, second = one.voxels, two.voxels
    if first is None or second is None or first.grid.shape != second.grid.shape:
        return None
    return differences(first.array, second.array, schema, first.grid.millilitres)


class CompareScene(Protocol):
    """What comparing needs of the scene; :class:`~FedSegLib.scene.SlicerScene` is it."""

    def show_comparison(
        self, case: SceneCase, masks: tuple[Mask, Mask], names: tuple[str, str], folder: Path, found: Differences | None
    ) -> Differences: ...
    def set_comparison_mode(self, mode: str) -> None: ...
    def end_comparison(self) -> None: ...
    def show_mask(self, case: SceneCase, mask: Mask, folder: Path) -> None: ...


class Comparing:
    """Comparison of two versions.

    Args:
        panel: the view. connection: the site. scene: where masks are shown. casework: has the open case.
        folder: private folder for temporary files.
    """

    def __init__(
        self, panel: Panel, connection: Connection, scene: CompareScene, casework: CaseWork, folder: Path
    ) -> None:
        self._panel = panel
        self._connection = connection
        self._scene = scene
        self._casework = casework
        self._folder = folder
        self._masks: tuple[Mask, Mask] | None = None

    def compare(self, one: str, two: str) -> None:
        """Ask for the masks of two versions and show where they differ."""
        case, view = self._casework.case, self._panel.view
        if case is None or view.case is None or not self._panel.can(Action.COMPARE):
            return
        if one == two:
            self._panel.change(
                notice=Notice(_("That is the same version twice."), _("Choose another one on one side."))
            )
            return
        client, site, model, name = self._connection.client(), self._connection.site(), view.model, view.case.id

        def work(cancel: CancelSwitch, report: Report) -> tuple[tuple[Mask, Mask], Differences | None]:
            def mask(version: str) -> Mask:
                report(_("{version} is segmenting …").format(version=version), None)
                return client.segment(SegmentRequest(name, model, version=version), site.schema, None, cancel)

            masks = mask(one), mask(two)
            return masks, _compared(*masks, site.schema)

        def done(answer: tuple[tuple[Mask, Mask], Differences | None]) -> None:
            self._masks, found = answer
            rows = self._scene.show_comparison(case, self._masks, (one, two), self._folder, found).rows
            self._scene.set_comparison_mode(MODES[0])
            shown = tuple((row.name, row.one, row.two, row.dice) for row in rows)
            self._panel.to(Phase.OPEN, comparison=Comparison(one, two, MODES[0], shown))

        self._panel.run(
            Phase.SEGMENTING, _("Comparing {one} and {two} …").format(one=one, two=two), work, done, Phase.OPEN
        )

    def show(self, mode: str) -> None:
        """Show the difference, both side by side, or both blended."""
        shown = self._panel.view.comparison
        if shown is not None and mode in MODES and mode != shown.mode:
            self._panel.guarded(lambda: self._scene.set_comparison_mode(mode))
            self._panel.change(comparison=replace(shown, mode=mode))

    def accept(self, second: bool) -> None:
        """Take one of the two masks as the case's; it can be corrected and submitted as any other."""
        case, masks, view = self._casework.case, self._masks, self._panel.view
        if case is None or masks is None or view.comparison is None or view.case is None:
            return
        version = view.comparison.two if second else view.comparison.one
        if self._panel.guarded(lambda: self._show(case, masks[second])) is None:
            return
        self.close()
        taken = replace(view.case, answered_by=version, submitted=False)
        self._panel.change(
            case=taken,
            notice=Notice(_("The mask of {version} is the case's now.").format(version=version), tone=Tone.GOOD),
        )

    def _show(self, case: SceneCase, mask: Mask) -> bool:
        self._scene.show_mask(case, mask, self._folder)
        return True

    def close(self) -> None:
        """Take the comparison out of the scene; the case's own mask is shown again."""
        if self._masks is not None:
            self._masks = None
            self._scene.end_comparison()
            self._panel.change(comparison=None)
