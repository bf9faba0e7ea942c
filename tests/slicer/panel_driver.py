"""Drives the panel as a person does: real mouse clicks and keys on Qt widgets, waiting for what can be seen."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PySide6 import QtCore, QtGui, QtTest, QtWidgets

PATIENCE_SECONDS = 15.0
WIDTH = 420


class PanelDriver:
    """The module's widget in a window of Slicer's usual module-panel width."""

    def __init__(self, qapp: Any, shots: Path) -> None:
        import FedSeg

        self._qapp = qapp
        self._shots = shots
        self.widget = FedSeg.FedSegWidget()
        self.widget.setup()
        self.ui = SimpleNamespace()  # every section's widgets by name; test_packaging keeps names unique
        for section in self.widget.sections:
            self.ui.__dict__.update(vars(section.ui))
        self.frame = self.widget.parent
        self.frame.setFixedWidth(WIDTH)
        self.frame.show()
        self.process()

    def close(self) -> None:
        """Take the panel down."""
        self.widget.cleanup()
        self.frame.close()
        self.frame.deleteLater()
        self.process()
        gc.collect()

    @property
    def view(self) -> Any:
        """What the panel shows."""
        return self.widget.controller.view

    @property
    def says(self) -> str:
        """Text of the visible notice, with its hint; "" without one."""
        if not self.ui.noticeFrame.visible:
            return ""
        return f"{self.ui.noticeLabel.text} {self.ui.hintLabel.text}".strip()

    def temporary_files(self) -> list[str]:
        """Names of the files that the panel keeps in its temporary folder."""
        return sorted(path.name for path in self.widget.controller.folder.iterdir())

    def process(self) -> None:
        """Let Qt do what is due."""
        self._qapp.processEvents()

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Run the event loop until ``condition`` holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain {what}: phase '{self.view.phase.value}', says '{self.says}'")
            self._qapp.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
        return value

    def click(self, button: Any) -> None:
        """A left click in the middle of a visible, enabled button."""
        assert QtWidgets.QWidget.isVisible(button), f"{button.name} is not visible"
        assert button.enabled, f"{button.name} is disabled: {button.toolTip}"
        QtTest.QTest.mouseClick(button, QtCore.Qt.MouseButton.LeftButton)
        self.process()

    def type(self, edit: Any, text: str) -> None:
        """Replace the text of a field by typing."""
        field = QtWidgets.QComboBox.lineEdit(edit) if isinstance(edit, QtWidgets.QComboBox) else edit
        QtWidgets.QLineEdit.selectAll(field)
        QtTest.QTest.keyClick(field, QtCore.Qt.Key.Key_Delete)
        QtTest.QTest.keyClicks(field, text)
        self.process()

    def key(self, key: str) -> None:
        """A key pressed anywhere in the window."""
        self.frame.activateWindow()
        QtTest.QTest.keyClick(self.frame, getattr(QtCore.Qt.Key, f"Key_{key}"))
        self.process()

    def choose(self, box: Any, text: str) -> None:
        """Choose an item of a combo box."""
        position = box.findText(text)
        assert position >= 0, f"{box.name} does not offer {text}"
        box.setCurrentIndex(position)
        self.process()

    def connect(self, url: str) -> None:
        """Type the address and connect."""
        self.type(self.ui.serverBox, url)
        self.click(self.ui.connectButton)
        self.until(lambda: self.view.phase.name not in ("OFFLINE", "CONNECTING"), "for the connection")

    def open_case(self) -> None:
        """Press 'Next case' and wait for it."""
        self.click(self.ui.nextButton)
        self.until(lambda: self.view.phase.name == "OPEN", "for the case")

    def segment(self) -> None:
        """Press 'Segment' and wait for the mask."""
        self.click(self.ui.segmentButton)
        self.until(lambda: self.view.phase.name != "SEGMENTING", "for the mask")
        assert self.view.case.answered_by, self.says

    def shoot(self, name: str) -> None:
        """Photograph the panel and check that nothing is cut off."""
        self.process()
        layout = QtWidgets.QWidget.layout(self.frame)
        for attempt in range(20):  # labels wrap: the height depends on the width; and news may come in between
            self.frame.resize(WIDTH, QtWidgets.QVBoxLayout.heightForWidth(layout, WIDTH))
            self.process()
            problem = self.clipped()
            if attempt and not problem:
                break
        assert not problem
        self._shots.mkdir(parents=True, exist_ok=True)
        picture = self.frame.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
        assert picture.save(str(self._shots / f"{name}.png"), "PNG", 0)  # 0: smallest file

    def clipped(self) -> str:
        """The first visible label or button that lacks the room its text needs; empty where all have it."""
        for child in QtWidgets.QWidget.findChildren(self.frame, QtWidgets.QWidget):
            if not QtWidgets.QWidget.isVisible(child):
                continue
            width, height = QtWidgets.QWidget.width(child), QtWidgets.QWidget.height(child)
            if isinstance(child, QtWidgets.QPushButton | QtWidgets.QCheckBox):
                needed = QtWidgets.QWidget.minimumSizeHint(child)
                if width < needed.width():
                    return f"{child.objectName} is {width} wide, needs {needed.width()}"
            elif isinstance(child, QtWidgets.QLabel):
                needs = QtWidgets.QLabel.heightForWidth(child, width)
                if 0 <= height < needs:
                    return f"{child.objectName} is {height} high, needs {needs}"
        return ""


def shots_folder(default: Path) -> Path:
    """Where the pictures go: FEDSEG_SHOTS, or a temporary folder."""
    return Path(os.environ.get("FEDSEG_SHOTS", "") or default)
