"""Stand-ins for the CTK and qMRML widgets that the panel uses, with the properties and signals of the originals."""

from __future__ import annotations

import sys
import types
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import CUSTOM, PythonQtMixin

_HEADER = 26


class ctkCollapsibleButton(PythonQtMixin, QtWidgets.QWidget):
    """A titled section that a click on its title folds; properties ``text`` and ``collapsed``."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._folded = False
        self._hidden: list[Any] = []  # by folding; CTK remembers them as well
        self.setContentsMargins(0, _HEADER, 0, 0)

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _set_folded(self, folded: bool) -> None:
        self._folded = bool(folded)
        self._fold()
        self.contentsCollapsed.emit(self._folded)

    def _fold(self) -> None:
        self.setMaximumHeight(_HEADER if self._folded else 16777215)
        if self._folded:
            for child in self._children():
                if not QtWidgets.QWidget.isHidden(child):
                    self._hide(child)
        else:
            hidden, self._hidden = self._hidden, []
            for child in hidden:
                QtWidgets.QWidget.setVisible(child, True)

    def showEvent(self, event: Any) -> None:
        """Children that came after ``collapsed`` was set are folded away, too."""
        if self._folded:
            self._fold()

    def _hide(self, child: Any) -> None:
        self._hidden.append(child)
        QtWidgets.QWidget.setVisible(child, False)

    def _children(self) -> list[Any]:
        options = QtCore.Qt.FindChildOption.FindDirectChildrenOnly
        return list(QtCore.QObject.findChildren(self, QtWidgets.QWidget, options=options))

    text = QtCore.Property(str, lambda self: self._text, _set_text)
    collapsed = QtCore.Property(bool, lambda self: self._folded, _set_folded)

    def paintEvent(self, event: Any) -> None:
        """The title bar, in the palette's colours."""
        painter = QtGui.QPainter(self)
        style = QtWidgets.QStyleOptionButton()
        style.initFrom(self)
        bar = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), _HEADER - 4)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(style.palette.color(QtGui.QPalette.ColorRole.Midlight))
        painter.drawRoundedRect(bar, 3, 3)
        painter.setPen(style.palette.color(QtGui.QPalette.ColorRole.WindowText))
        sign = "▸" if self._folded else "▾"
        painter.drawText(bar.adjusted(8, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, f"{sign}  {self._text}")
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        """Fold or unfold."""
        if event.position().y() <= _HEADER:
            self._set_folded(not self._folded)


class ctkPathLineEdit(PythonQtMixin, QtWidgets.QWidget):
    """A path and a button that would open a file dialogue; property ``currentPath``."""

    currentPathChanged = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edit = QtWidgets.QLineEdit()
        self._edit.textChanged.connect(self.currentPathChanged.emit)
        button = QtWidgets.QToolButton()
        button.setText("…")
        row.addWidget(self._edit)
        row.addWidget(button)

    currentPath = QtCore.Property(str, lambda self: self._edit.text(), lambda self, path: self._edit.setText(path))


class qMRMLWidget(PythonQtMixin, QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        """Give it the scene."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """The scene it was given."""
        return self._scene


class qMRMLNodeComboBox(PythonQtMixin, QtWidgets.QWidget):
    """Chooses a node of given classes; offers what the scene holds when it is asked."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._flags = {"addEnabled": True, "removeEnabled": True, "renameEnabled": False}
        self._scene: Any = None
        self._node: Any = None
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox()
        row.addWidget(self._box)

    def setMRMLScene(self, scene: Any) -> None:
        """Give it the scene."""
        self._scene = scene

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; one of another class is an error."""
        assert node is None or any(node.IsA(kind) for kind in self._types)
        self._node = node
        self._box.clear()
        if node is not None:
            self._box.addItem(node.GetName())
        self.currentNodeChanged.emit(node)

    def currentNode(self) -> Any:
        """The node chosen."""
        return self._node

    def _flag(name: str) -> Any:  # type: ignore[misc]
        return QtCore.Property(
            bool, lambda self: self._flags[name], lambda self, value: self._flags.__setitem__(name, value)
        )

    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    renameEnabled = _flag("renameEnabled")
    nodeTypes = QtCore.Property(
        "QStringList", lambda self: self._types, lambda self, types: setattr(self, "_types", list(types))
    )


class Effect:
    """An effect of the Segment Editor; takes the parameters that Paint knows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, str] = {}

    def setCommonParameter(self, key: str, value: str) -> None:
        """A parameter that all brushes share."""
        assert key in ("BrushSphere", "BrushRelativeDiameter"), key
        self.parameters[key] = value


class qMRMLSegmentEditorWidget(PythonQtMixin, QtWidgets.QFrame):
    """The Segment Editor, as far as scripts drive it; it paints nothing itself.

    As in Slicer 5.10 and later, its state is in its node, and it keeps that node when the scene is closed. A node in no
    scene is of no use then; using it is an error here.
    """

    EFFECTS = ("", "Paint", "Draw", "Erase")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
        self.setMinimumHeight(60)
        row = QtWidgets.QVBoxLayout(self)
        row.addWidget(QtWidgets.QLabel("Slicer's Segment Editor"))
        self._scene: Any = None
        self._node: Any = None
        self._effects = {name: Effect(name) for name in self.EFFECTS if name}

    def setMRMLScene(self, scene: Any) -> None:
        """Give it the scene."""
        self._scene = scene

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Its state."""
        assert node is None or node.IsA("vtkMRMLSegmentEditorNode")
        self._node = node

    def mrmlSegmentEditorNode(self) -> Any:
        """Its state."""
        return self._node

    def _usable(self) -> Any:
        assert self._node is not None
        assert self._node.GetScene() is self._scene, "the editor's node left the scene"
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """What it edits; needs the editor node first, as the original does, and lays the tool down."""
        assert node is None or node.IsA("vtkMRMLSegmentationNode")
        if node is not self._usable().GetSegmentationNode():
            self._node.SetAndObserveSegmentationNode(node)
            self.setActiveEffectByName("")

    def segmentationNode(self) -> Any:
        """What it edits."""
        return self._node.GetSegmentationNode() if self._node is not None else None

    def setSourceVolumeNode(self, node: Any) -> None:
        """What it shows below."""
        assert node is None or node.IsA("vtkMRMLVolumeNode")
        self._usable().SetAndObserveSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        """What it shows below."""
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def setCurrentSegmentID(self, key: str) -> None:
        """Which segment is edited."""
        assert self._usable().GetSegmentationNode().GetSegmentation().GetSegment(key) is not None
        self._node.SetSelectedSegmentID(key)

    def currentSegmentID(self) -> str:
        """Which segment is edited."""
        return str(self._usable().GetSelectedSegmentID())

    def setActiveEffectByName(self, name: str) -> None:
        """Take a tool, or none; the node tells of it."""
        assert name in self.EFFECTS, name
        if name:
            assert self._usable().GetSegmentationNode() is not None
        if self._node is not None:
            self._node.SetActiveEffectName(name)

    def activeEffect(self) -> Effect | None:
        """The tool in hand."""
        return self._effects.get(self._node.GetActiveEffectName()) if self._node is not None else None

    def setupViewObservations(self) -> None:
        """Listen to the views."""

    def removeViewObservations(self) -> None:
        """Listen no more."""


def install() -> None:
    """Make ``import ctk`` and ``slicer.qMRMLWidget`` work."""
    ctk = types.ModuleType("ctk")
    for cls in (ctkCollapsibleButton, ctkPathLineEdit):
        setattr(ctk, cls.__name__, cls)
        CUSTOM[cls.__name__] = cls
    sys.modules["ctk"] = ctk
    slicer.qMRMLWidget = qMRMLWidget
    CUSTOM["qMRMLWidget"] = qMRMLWidget
    slicer.qMRMLSegmentEditorWidget = qMRMLSegmentEditorWidget
    CUSTOM["qMRMLNodeComboBox"] = qMRMLNodeComboBox
    CUSTOM["qMRMLSegmentEditorWidget"] = qMRMLSegmentEditorWidget
