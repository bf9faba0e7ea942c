"""The globals that ``slicer.util`` and scripted modules expect, on top of PyPI's slicer-core, without Qt.

``boot()`` makes one scene with the application logic, the module logics and the singletons that Slicer creates at its
start: ``slicer.mrmlScene``, ``slicer.modules.<name>.logic()`` and ``slicer.app`` then work as in Slicer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import slicer
import slicer.util
import vtk

LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
}


class StartupEnvironment:
    """The part of QProcessEnvironment that ``slicer.util.startupEnvironment`` reads."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def keys(self) -> list[str]:
        """Names of the variables."""
        return list(self._values)

    def value(self, name: str) -> str:
        """One variable."""
        return self._values[name]


class App:
    """``slicer.app`` as far as the module uses it; anything else raises AttributeError."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic
        self.temporaryPath = tempfile.gettempdir()
        self.slicerUserSettingsFilePath = f"{tempfile.gettempdir()}/Slicer.ini"
        self.started: list[Callable[[], None]] = []  # what asked to be called when Slicer has started

    def connect(self, signature: str, slot: Callable[[], None]) -> bool:
        """Only the signal that modules use."""
        assert signature == "startupCompleted()", signature
        self.started.append(slot)
        return True

    def startupEnvironment(self) -> StartupEnvironment:
        """Variables as they were before Slicer's launcher added its own."""
        return StartupEnvironment(dict(os.environ))

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self._logic


class _Module:
    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


def boot() -> Any:
    """Make the scene and the globals once per process; returns the scene."""
    if getattr(slicer, "mrmlScene", None) is not None:
        return slicer.mrmlScene
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    vtk.vtkObject.GlobalWarningDisplayOff()
    scene = slicer.vtkMRMLScene()
    app = slicer.vtkSlicerApplicationLogic()
    app.SetMRMLScene(scene)
    app.SetTemporaryPath(tempfile.gettempdir())
    app.GetColorLogic().SetMRMLScene(scene)
    app.GetColorLogic().AddDefaultColorNodes()
    app.SetSliceLogics(vtk.vtkCollection())
    app.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    logics = {}
    for name, class_name in LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(app)
        app.SetModuleLogic(name, logic)
        logics[name] = logic
    for logic in logics.values():
        logic.SetMRMLScene(scene)
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**{name.lower(): _Module(logic) for name, logic in logics.items()})
    slicer.app = App(app)
    slicer.util.mainWindow = lambda: None  # there is none
    return scene
