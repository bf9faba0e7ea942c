"""Segmenting the open case: automatically, by pointing at it, and by hand."""

from typing import ClassVar

import qt
import slicer
import slicer.util
import vtk
from FedSegLib.language import tr as _
from FedSegLib.scene import SCRIBBLES, Pointer
from FedSegLib.state import Action

from .icons import themed_icon
from .scribbles import ScribbleBrush, has_node
from .section import Section, fill

_ICONS = ("include", "exclude", "box", "lasso", "scribble", "erase", "undo", "redo", "propagate", "clear")


class Segment(Section, slicer.util.VTKObservationMixin):
    """The section 'Segment'."""

    FORM = "Segment"
    ACTIONS: ClassVar = {
        Action.SEGMENT: ["segmentButton"],
        Action.PROMPT: [
            "includeButton",
            "excludeButton",
            "boxButton",
            "lassoButton",
            "scribbleButton",
            "eraseButton",
            "clearButton",
            "segmentPromptsButton",
        ],
        Action.UNDO: ["undoButton"],
        Action.REDO: ["redoButton"],
        Action.PROPAGATE: ["propagateButton"],
    }

    def setup(self):
        """Connect the buttons and the editor."""
        slicer.util.VTKObservationMixin.__init__(self)
        ui, casework, prompting = self.ui, self.controller.casework, self.controller.prompting
        self._pointers = {
            Pointer.INCLUDE: ui.includeButton,
            Pointer.EXCLUDE: ui.excludeButton,
            Pointer.BOX: ui.boxButton,
            Pointer.LASSO: ui.lassoButton,
            Pointer.SCRIBBLE_IN: ui.scribbleButton,
            Pointer.SCRIBBLE_OUT: ui.eraseButton,
        }
        for name in _ICONS:
            button = getattr(ui, f"{name}Button")
            button.icon = themed_icon(self.shell.resource(f"Icons/{name}.svg"), button)
        self.on_click(ui.segmentButton, casework.segment)
        self.on_click(ui.segmentPromptsButton, lambda: casework.segment_prompts(ui.structureBox.currentText))
        self.on_click(ui.clearButton, prompting.clear)
        self.on_click(ui.undoButton, prompting.undo)
        self.on_click(ui.redoButton, prompting.redo)
        self.on_click(ui.propagateButton, prompting.propagate)
        self.on_click(ui.stopPropagatingButton, prompting.stop_propagating)
        for pointer, button in self._pointers.items():
            self.on_click(button, lambda pointer=pointer: self._take(pointer))
        ui.modelBox.connect("currentTextChanged(QString)", casework.choose_model)
        ui.structureBox.connect("currentTextChanged(QString)", prompting.choose_structure)
        ui.answerLabel.styleSheet = "color: #808080"  # quiet, and readable in light and dark themes
        self._brush = ScribbleBrush()
        self._edited = None
        self._colored = None
        ui.editor.setMRMLScene(slicer.mrmlScene)
        self._keys = [
            self._hotkey(key, ui.promptPanel, button)
            for key, button in {
                "A": ui.includeButton,
                "D": ui.excludeButton,
                "B": ui.boxButton,
                "L": ui.lassoButton,
                "S": ui.scribbleButton,
                "E": ui.eraseButton,
                "U": ui.undoButton,
                "Y": ui.redoButton,
                "P": ui.propagateButton,
            }.items()
        ]

    def _hotkey(self, key, panel, button):
        """A key of the whole window that presses a button; :meth:`enter` arms it."""
        shortcut = qt.QShortcut(qt.QKeySequence(key), self.shell.window())
        shortcut.enabled = False
        shortcut.connect("activated()", lambda: button.click() if panel.visible and button.enabled else None)
        return shortcut

    def enter(self):
        """The module is shown: its keys work now."""
        for shortcut in self._keys:
            shortcut.enabled = True
        self.ui.editor.setupViewObservations()

    def exit(self):
        """Another module is shown: give keys and mouse back."""
        for shortcut in self._keys:
            shortcut.enabled = False
        self.controller.prompting.stop()
        self.ui.editor.setActiveEffectByName("")
        self.ui.editor.removeViewObservations()

    def close(self):
        """The panel is taken down."""
        self.exit()
        self.removeObservers()
        self._brush.close()

    def mouse_mode_changed(self, placing):
        """Pointing may have been ended from elsewhere (a complete shape, Escape, another tool)."""
        if not placing:
            self.controller.prompting.mouse_released()

    def _take(self, pointer):
        self.controller.prompting.point(pointer)
        self._show_tool(self.controller.view)  # the click has checked the button, whatever came of it

    def _effect_taken(self, caller, event):
        if caller.GetActiveEffectName() and self.controller.prompting.tool:
            self.controller.prompting.stop()  # one thing holds the mouse

    def draw(self, view):
        """Draw the whole View."""
        ui, site = self.ui, view.site
        fill(ui.modelBox, [model.name for model in site.models] if site else ())
        fill(ui.structureBox, site.schema.names if site else ())
        self._color_structures(site)
        model = site.model(view.model) if site else None
        prompts = model is not None and model.prompts
        live = prompts and not site.stock
        ui.promptPanel.visible = prompts
        for button in (ui.lassoButton, ui.scribbleButton, ui.eraseButton, ui.undoButton, ui.redoButton):
            button.visible = live
        ui.propagateButton.visible = live
        ui.segmentPromptsButton.visible = prompts and site.stock
        ui.propagatingPanel.visible = bool(view.live.propagating)
        ui.propagatingLabel.text = view.live.propagating
        ui.answerLabel.visible = view.case is not None and bool(view.case.answered_by)
        if view.case is not None:
            ui.answerLabel.text = _("Shown: {answered_by}").format(answered_by=view.case.answered_by)
        self._show_tool(view)
        self._show_editor()

    def _color_structures(self, site):
        """Every structure with the colour that it has in the views."""
        schema = site.schema if site is not None else None
        if schema is self._colored:
            return
        self._colored = schema
        for position, label in enumerate(schema.labels if schema is not None else ()):
            patch = qt.QPixmap(24, 24)
            patch.fill(qt.QColor(*label.color))
            self.ui.structureBox.setItemIcon(position, qt.QIcon(patch))

    def _show_tool(self, view):
        for pointer, button in self._pointers.items():
            button.checked = pointer.value == view.live.tool
        if view.live.tool:
            self.ui.editor.setActiveEffectByName("")  # one thing holds the mouse
        case = self.controller.casework.case
        stroke = next((pointer for pointer in SCRIBBLES if pointer.value == view.live.tool), None)
        if stroke is None or case is None:
            self._brush.lay_down()
        else:
            self._brush.take(case, inside=stroke is Pointer.SCRIBBLE_IN)

    def _show_editor(self):
        """Let the embedded Segment Editor work on the open case."""
        case = self.controller.casework.case
        self.ui.editorSection.visible = case is not None
        if case is self._edited:
            return
        self._edited = case
        editor = self.ui.editor
        if not has_node(editor):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
            editor.setMRMLSegmentEditorNode(node)
            self.removeObservers()
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._effect_taken)
        find = slicer.mrmlScene.GetNodeByID
        editor.setSegmentationNode(find(case.segmentation) if case is not None else None)
        editor.setSourceVolumeNode(find(case.volume) if case is not None else None)
