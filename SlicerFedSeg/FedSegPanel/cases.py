"""Which case is open, and the way to the next."""

from typing import ClassVar

from FedSegLib.state import Action

from .section import Section, fill


class Cases(Section):
    """The section 'Case'."""

    FORM = "Cases"
    ACTIONS: ClassVar = {Action.NEXT: ["nextButton"]}

    def setup(self):
        """Connect the buttons."""
        casework = self.controller.casework
        self.on_click(self.ui.nextButton, lambda: casework.next_case(self.ui.strategyBox.currentText))

    def draw(self, view):
        """Draw the whole View."""
        ui = self.ui
        fill(ui.strategyBox, view.site.strategies if view.site else ())
        ui.caseLabel.visible = view.case is not None
        if view.case is not None:
            done = " · submitted" if view.case.submitted else ""
            reason = f"\nChosen because: {view.case.reason}" if view.case.reason else ""
            ui.caseLabel.text = f"{view.case.id}{done}{reason}"
