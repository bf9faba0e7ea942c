"""The work list: which cases there are, which one is open, and the way to the next."""

from typing import ClassVar

import qt
import slicer
from FedSegLib import words
from FedSegLib.language import tr as _
from FedSegLib.state import Action, why_not

from .section import Section, fill, prepare_table


class Cases(Section):
    """The section 'Cases'."""

    FORM = "Cases"
    ACTIONS: ClassVar = {Action.NEXT: ["nextButton", "openButton", "sendVolumeButton"], Action.SKIP: ["skipButton"]}

    def setup(self):
        """Connect the buttons."""
        ui, casework, worklist = self.ui, self.controller.casework, self.controller.worklist
        self._rows = ()
        self.on_click(ui.nextButton, lambda: casework.next_case(ui.strategyBox.currentText))
        self.on_click(ui.skipButton, lambda: casework.skip(ui.strategyBox.currentText))
        self.on_click(ui.openButton, self._open)
        self.on_click(ui.refreshButton, worklist.refresh)
        ui.casesTable.connect("cellActivated(int,int)", lambda row, column: self._open())
        ui.casesTable.connect("itemSelectionChanged()", lambda: self._allow_open(self.controller.view))
        ui.casesTable.verticalScrollBar().connect("valueChanged(int)", lambda value: self._want_pictures())
        prepare_table(ui.casesTable, stretched=0, row_height=44)
        worklist.pictured = self._show_picture
        ui.volumeBox.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        ui.volumeBox.addEnabled = ui.volumeBox.removeEnabled = ui.volumeBox.renameEnabled = False
        ui.volumeBox.setMRMLScene(slicer.mrmlScene)
        self.on_click(ui.sendVolumeButton, self._send_volume)

    def _chosen(self):
        row = self.ui.casesTable.currentRow()
        return self._rows[row].id if 0 <= row < len(self._rows) else None

    def _open(self):
        chosen = self._chosen()
        if chosen is not None:
            self.controller.casework.open_case(chosen)

    def _send_volume(self):
        node = self.ui.volumeBox.currentNode()
        self.controller.adopting.send(node.GetID() if node is not None else "", self.ui.nameEdit.text.strip())

    def _allow_open(self, view):
        self.ui.openButton.enabled = self._chosen() is not None and why_not(view, Action.NEXT) is None

    def draw(self, view):
        """Draw the whole View."""
        ui = self.ui
        fill(ui.strategyBox, view.site.strategies if view.site else ())
        ui.caseLabel.visible = view.case is not None
        if view.case is not None:
            ui.caseLabel.text = words.case_words(view.case)
        rows = words.with_waiting(view.cases, view.waiting, view.case)
        ui.casesTable.visible = bool(rows)
        ui.openButton.visible = bool(rows)
        ui.refreshButton.visible = view.site is not None
        ui.volumeSection.visible = view.site is not None
        if rows != self._rows:
            self._show_rows(rows)
        self._allow_open(view)

    def _show_rows(self, rows):
        table, chosen = self.ui.casesTable, self._chosen()
        self._rows = rows
        table.rowCount = len(rows)
        for position, row in enumerate(rows):
            texts = (row.id, _(row.state.value), words.dice_in_words(row.dice))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(words.row_words(row))
                table.setItem(position, column, item)
            self._show_picture(row.id)
            if row.id == chosen:
                table.selectRow(position)
        self._want_pictures()

    def _want_pictures(self):
        table = self.ui.casesTable
        first, last = table.rowAt(0), table.rowAt(table.height - 1)
        last = len(self._rows) - 1 if last < 0 else last
        self.controller.worklist.want_pictures([row.id for row in self._rows[max(0, first) : last + 1]])

    def _show_picture(self, case):
        picture = self.controller.worklist.pictures.get(case)
        position = next((at for at, row in enumerate(self._rows) if row.id == case), None)
        if not picture or position is None:
            return
        pixels = qt.QPixmap()
        pixels.loadFromData(qt.QByteArray(picture), "PNG")
        self.ui.casesTable.item(position, 0).setIcon(qt.QIcon(pixels))
