"""A PythonQt-flavoured ``qt`` module over PySide6: Slicer's way of speaking to Qt.

In PythonQt, Qt properties are attributes (``w.text``, ``w.enabled = False``), signals are connected by signature
(``w.connect("clicked()", f)``), every class lives in one namespace, and ``name`` is ``objectName``. Strict: setting an
attribute that is no Qt property raises, as it does on a PythonQt wrapper, and so does an unknown signal.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_VIRTUALS = {"sizeHint", "minimumSizeHint", "font", "cursor", "rect", "size", "pos", "geometry"}
_property_names: dict[type, frozenset[str]] = {}

CUSTOM: dict[str, type] = {}
"""Widget classes that .ui files may promote to; filled by widgets.py."""


def _names(cls: type) -> frozenset[str]:
    if cls not in _property_names:
        meta = cls.staticMetaObject  # type: ignore[attr-defined]
        names = {meta.property(position).name() for position in range(meta.propertyCount())}
        _property_names[cls] = frozenset(names - _VIRTUALS)
    return _property_names[cls]


class PythonQtMixin:
    """Makes a PySide6 class speak as PythonQt wrappers do."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        name = "objectName" if name == "name" else name
        if name in _names(type(self)):
            return QtCore.QObject.property(self, name)
        if name in ("connect", "disconnect"):
            return super().__getattribute__(f"_pythonqt_{name}")
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        name = "objectName" if name == "name" else name
        if name in _names(type(self)):
            if not QtCore.QObject.setProperty(self, name, value):
                raise TypeError(f"cannot set Qt property {name!r} to {value!r}")
        elif name.startswith("_"):
            super().__setattr__(name, value)
        elif isinstance(value, QtCore.QObject) and QtCore.QObject.objectName(value) == name:
            pass  # PySide's loader offers children as attributes of the panel; PythonQt does not
        else:
            raise AttributeError(f"{type(self).__name__} has no property {name!r}")

    def _pythonqt_connect(self, signature: str, slot: Callable[..., Any]) -> bool:
        signal, count = self._signal(signature)

        def call(*arguments: Any) -> None:
            slot(*arguments[:count])

        self.__dict__.setdefault("_connections", {})[(signature, slot)] = (signal, call)
        signal.connect(call)
        return True

    def _pythonqt_disconnect(self, signature: str, slot: Callable[..., Any]) -> bool:
        signal, call = self.__dict__["_connections"].pop((signature, slot))
        signal.disconnect(call)
        return True

    def _signal(self, signature: str) -> tuple[Any, int]:
        found = re.fullmatch(r"(\w+)\(([^)]*)\)", signature)
        if not found:
            raise ValueError(f"not a signal signature: {signature}")
        signal = super().__getattribute__(found[1])
        if not isinstance(signal, QtCore.SignalInstance):
            raise ValueError(f"{type(self).__name__} has no signal {signature}")
        return signal, len([argument for argument in found[2].split(",") if argument.strip()])

    def className(self) -> str:
        """Name of the Qt class."""
        return str(super().__getattribute__("metaObject")().className())


class QUiLoader(QtUiTools.QUiLoader):
    """Builds every widget of a .ui file as a PythonQt-flavoured class, and promoted widgets as their stand-ins."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._built: list[Any] = []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """One widget; a class without stand-in raises."""
        cls = CUSTOM.get(class_name) or vars(sys.modules["qt"]).get(class_name)
        if cls is None:
            raise RuntimeError(f"no stand-in for the widget class {class_name}")
        widget = cls(parent) if parent is not None else cls()
        widget.setObjectName(name)
        if isinstance(widget, QtWidgets.QAbstractScrollArea):  # parts that Qt makes itself speak PythonQt, too
            widget.setVerticalScrollBar(vars(sys.modules["qt"])["QScrollBar"]())
        self._built.append(widget)
        return widget

    def load(self, file: Any) -> Any:
        """The whole panel. Every property of the .ui must exist in its widget."""
        path = file.fileName()
        file.close()
        known = {element.get("name"): element for element in ET.parse(path).iter("widget")}  # noqa: S314  our own file
        panel = super().load(path)
        panel._built = self._built  # PySide would let go of the Python halves
        for widget in self._built:
            for element in known[widget.name].findall("property"):
                name = str(element.get("name"))
                if widget.metaObject().indexOfProperty(name) < 0:
                    raise AttributeError(f"{widget.className()} has no property {name!r} (in the .ui)")
        return panel


def install() -> types.ModuleType:
    """Make ``import qt`` work; returns the module."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt")
    spoken = (QtWidgets.QWidget, QtWidgets.QLayout, QtCore.QTimer, QtGui.QAction, QtGui.QShortcut)
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, spoken):
                member = type(name, (PythonQtMixin, member), {"__module__": "qt"})
            if not name.startswith("_"):
                setattr(qt, name, member)
    qt.QUiLoader = QUiLoader  # type: ignore[attr-defined]
    sys.modules["qt"] = qt
    return qt
