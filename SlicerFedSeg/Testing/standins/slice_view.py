"""A slice view without a window: Slicer's own slice logic and displayable managers, drawn by OSMesa into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLMarkupsDisplayableManager")


class SliceView:
    """One view, as Slicer's red, green and yellow ones are.

    Args:
        name: of its slice node; an existing one is used.
        orientation: "Axial", "Sagittal" or "Coronal".
        size: pixels, width and height.
    """

    def __init__(self, name: str, orientation: str = "Axial", size: int = 240) -> None:
        scene, application = slicer.mrmlScene, slicer.app.applicationLogic()
        self.node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if self.node is None:
            self.node = scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
            self.node.SetLayoutName(name)
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(size, size, 1)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLScene(scene)
        self._logic.SetMRMLApplicationLogic(application)
        self._logic.SetSliceNode(self.node)
        application.GetSliceLogics().AddItem(self._logic)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetSize(size, size)
        renderer = vtk.vtkRenderer()
        self._window.AddRenderer(renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        renderer.AddViewProp(self._image())
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application)
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = factory.InstantiateDisplayableManagers(renderer)
        self._group.SetMRMLDisplayableNode(self.node)

    def _image(self) -> Any:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self._logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        return actor

    def show(self, volume: Any) -> None:
        """Lay a volume below, and fit it into the view."""
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self._logic.FitSliceToAll()

    def pixel(self, world: Any) -> tuple[int, int]:
        """Row and column of the picture at a world position (RAS mm)."""
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), matrix)
        x, y = matrix.MultiplyPoint([*(float(value) for value in world), 1.0])[:2]
        return round(self.node.GetDimensions()[1] - 1 - y), round(x)

    def picture(self) -> np.ndarray[Any, Any]:
        """What is to be seen now: [row, column, rgb], rows from above."""
        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        columns, rows, _ = image.GetDimensions()
        return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1].copy()

    def close(self) -> None:
        """Take the view down; its slice node goes with the scene."""
        self._group.SetMRMLDisplayableNode(None)
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)
        self._window.Finalize()
