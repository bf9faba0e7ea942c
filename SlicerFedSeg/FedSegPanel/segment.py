"""Segmenting the open case: automatically, or from what is pointed at."""

from typing import ClassVar

import slicer
from FedSegLib.scene import Pointer
from FedSegLib.state import Action, why_not

from .section import Section, fill


class Segment(Section):
    """The section 'Segment'."""

    FORM = "Segment"
    ACTIONS: ClassVar = {
        Action.SEGMENT: ["segmentButton"],
        Action.PROMPT: ["includeButton", "excludeButton", "boxButton", "clearButton", "segmentPromptsButton"],
    }

    def setup(self):
        """Connect the buttons."""
        ui, casework = self.ui, self.controller.casework
        self._pointers = {
            Pointer.INCLUDE: ui.includeButton,
            Pointer.EXCLUDE: ui.excludeButton,
            Pointer.BOX: ui.boxButton,
        }
        self.on_click(ui.segmentButton, casework.segment)
        self.on_click(ui.segmentPromptsButton, lambda: casework.segment_prompts(ui.structureBox.currentText))
        self.on_click(ui.clearButton, casework.clear_prompts)
        for pointer, button in self._pointers.items():
            self.on_click(button, lambda pointer=pointer: self._point(pointer))
        ui.modelBox.connect("currentTextChanged(QString)", casework.choose_model)

    def mouse_mode_changed(self, placing):
        """Pointing may have been ended from elsewhere (Escape, another tool)."""
        if not placing:
            self._check(None)

    def _point(self, pointer):
        wanted = self._pointers[pointer].checked
        if wanted:
            self.controller.casework.point(pointer)
        else:
            self.controller.casework.stop_pointing()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        placing = wanted and interaction.GetCurrentInteractionMode() == interaction.Place
        self._check(pointer if placing else None)

    def _check(self, chosen):
        for pointer, button in self._pointers.items():
            button.checked = pointer is chosen

    def draw(self, view):
        """Draw the whole View."""
        ui, site = self.ui, view.site
        fill(ui.modelBox, [model.name for model in site.models] if site else ())
        fill(ui.structureBox, site.schema.names if site else ())
        model = site.model(view.model) if site else None
        ui.promptPanel.visible = model is not None and model.prompts
        ui.answerLabel.visible = view.case is not None and bool(view.case.answered_by)
        if view.case is not None:
            ui.answerLabel.text = f"Shown: {view.case.answered_by}"
        if why_not(view, Action.PROMPT) is not None:
            self._check(None)
