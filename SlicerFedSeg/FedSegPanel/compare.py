"""Two versions on the open case."""

from typing import ClassVar

from FedSegLib import words
from FedSegLib.comparing import MODES
from FedSegLib.language import tr as _
from FedSegLib.state import Action

from .section import Section, fill, fill_table, prepare_table


class Compare(Section):
    """The section 'Compare versions'."""

    FORM = "Compare"
    ACTIONS: ClassVar = {Action.COMPARE: ["compareButton"]}

    def setup(self):
        """Connect the buttons."""
        ui, comparing = self.ui, self.controller.comparing
        self._offered = ()
        fill(ui.modeBox, [_(mode) for mode in MODES])
        self.on_click(ui.compareButton, self._compare)
        self.on_click(ui.acceptOneButton, lambda: comparing.accept(second=False))
        self.on_click(ui.acceptTwoButton, lambda: comparing.accept(second=True))
        self.on_click(ui.endButton, comparing.close)
        ui.modeBox.connect("currentIndexChanged(int)", lambda position: comparing.show(MODES[position]))
        prepare_table(ui.structuresTable, stretched=0)

    def _compare(self):
        one, two = self.ui.oneBox.currentIndex, self.ui.twoBox.currentIndex
        if min(one, two) >= 0:
            self.controller.comparing.compare(self._offered[one].id, self._offered[two].id)

    def draw(self, view):
        """Draw the whole View."""
        ui = self.ui
        offered = tuple(version for version in view.versions if version.model == view.model)
        ui.compareSection.visible = len(offered) > 1 and view.case is not None
        if offered != self._offered:
            self._offered = offered
            for box in (ui.oneBox, ui.twoBox):
                fill(box, [words.version_choice(version) for version in offered])
            serving = next((at for at, version in enumerate(offered) if version.serves), 0)
            ui.oneBox.setCurrentIndex(serving)
            ui.twoBox.setCurrentIndex(next((at for at in range(len(offered)) if at != serving), 0))
        shown = view.comparison
        ui.comparisonPanel.visible = shown is not None
        if shown is not None:
            fill_table(ui.structuresTable, words.comparison_rows(shown))
            ui.modeBox.setCurrentIndex(MODES.index(shown.mode))
