"""What every section of the panel is made of."""

from typing import ClassVar

import qt
import slicer.util
from FedSegLib.state import why_not

from .speech import translate_form


class Shell:
    """What sections need of the widget that holds them.

    Args:
        controller: the library's controller.
        resource: gives the path of a file in the module's Resources.
        window: gives the widget whose window keys belong to.
    """

    def __init__(self, controller, resource, window):
        self.controller = controller
        self.resource = resource
        self.window = window


class Section:
    """One section: loads its form, enables its buttons by what is possible, and draws Views.

    FORM names the .ui file; ACTIONS tells which buttons start which Action.
    """

    FORM = ""
    ACTIONS: ClassVar = {}

    def __init__(self, shell):
        self.shell = shell
        self.controller = shell.controller
        self.root = slicer.util.loadUI(shell.resource(f"UI/{self.FORM}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.root)
        translate_form(shell.resource(f"UI/{self.FORM}.ui"), self.ui)
        self._buttons = {
            action: [(getattr(self.ui, name), getattr(self.ui, name).toolTip) for name in names]
            for action, names in self.ACTIONS.items()
        }
        self.setup()

    def setup(self):
        """Fill and connect the widgets, once."""

    def draw(self, view):
        """Draw the whole View."""

    def draw_actions(self, view):
        """Enable what is possible; what is not says why in its tooltip."""
        for action, buttons in self._buttons.items():
            reason = why_not(view, action)
            for button, tip in buttons:
                button.enabled = reason is None
                button.toolTip = tip if reason is None else reason

    def on_click(self, button, action):
        """Do ``action`` when the button is clicked."""
        button.connect("clicked()", action)

    def enter(self):
        """The module is shown."""

    def exit(self):
        """Another module is shown."""

    def mouse_mode_changed(self, placing):
        """The mouse now places something in the views (or no longer does)."""

    def close(self):
        """The panel is taken down."""


def fill(box, items):
    """Offer these items, keeping the chosen one where it is still there."""
    items = list(items)
    if [box.itemText(position) for position in range(box.count)] != items:
        chosen = box.currentText
        box.clear()
        box.addItems(items)
        if chosen in items:
            box.currentText = chosen
    box.enabled = bool(items)


def prepare_table(table, stretched, row_height=24):
    """Columns as wide as their texts, one that takes what is left, rows without numbers."""
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    table.verticalHeader().setMinimumSectionSize(row_height)
    table.verticalHeader().setDefaultSectionSize(row_height)
    table.verticalHeader().hide()


def fill_table(table, rows, tips=None):
    """Show these texts, with a tooltip for each row or else for each cell."""
    table.rowCount = len(rows)
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text if tips is None else tips[row])
            table.setItem(row, column, item)
    table.updateGeometry()
