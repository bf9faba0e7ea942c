"""Sending the corrected mask."""

from typing import ClassVar

from FedSegLib import words
from FedSegLib.state import Action, why_not

from .section import Section


class Submit(Section):
    """The section 'Submit'."""

    FORM = "Submit"
    ACTIONS: ClassVar = {Action.SUBMIT: ["submitButton"]}

    def setup(self):
        """Connect the buttons."""
        ui = self.ui
        self._case_shown = None
        self.on_click(ui.submitButton, lambda: self.controller.casework.submit(nothing_to_mark=ui.nothingBox.checked))

        self.on_click(ui.sendButton, self.controller.posting.send)
        self.on_click(ui.discardButton, self.controller.posting.discard_refused)

    def draw(self, view):
        """Draw the whole View."""
        case = view.case.id if view.case is not None else None
        if case is None or case != self._case_shown:
            self._case_shown = case
            self.ui.nothingBox.checked = False  # it was said of another case
        self.ui.nothingBox.enabled = why_not(view, Action.SUBMIT) is None
        ui = self.ui
        ui.waitingPanel.visible = bool(view.waiting or view.refused)
        ui.waitingLabel.text = words.waiting_words(view.waiting, view.refused)
        ui.sendButton.visible = bool(view.waiting)
        ui.discardButton.visible = bool(view.refused)
