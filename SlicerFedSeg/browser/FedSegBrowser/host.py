"""The names that FedSegLib expects of Slicer (``slicer.mrmlScene``, ``slicer.app``, ``slicer.modules``), from
trame-slicer's application."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer
from trame_slicer.core import SlicerApp


class _Application:
    """``slicer.app`` as far as the library uses it; anything else raises AttributeError."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self._logic


class _Module:
    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        """The module's logic."""
        return self._logic


def start() -> SlicerApp:
    """Make Slicer's scene and logics, and put them where the library looks for them; once per process."""
    app = SlicerApp()
    plots = app.register_module_logic(slicer.vtkSlicerPlotsLogic())
    slicer.mrmlScene = app.scene
    slicer.app = _Application(app.app_logic)
    logics = {"volumes": app.volumes_logic, "segmentations": app.segmentations_logic, "plots": plots}
    slicer.modules = SimpleNamespace(**{name: _Module(logic) for name, logic in logics.items()})
    return app
