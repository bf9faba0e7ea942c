"""Three orthogonal slice views in the page."""

from __future__ import annotations

from typing import Any

import vtk
from trame.widgets import html
from trame_slicer.app.logic.slice_view_logic import connect_slice_view_slider_to_state
from trame_slicer.app.ui.slider import Slider
from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition

_LAYOUT = "three slices"
_CORNER = "position: absolute; top: 6px; left: 10px; pointer-events: none; font-size: 12px; opacity: 0.85;"
_BOTTOM = "position: absolute; bottom: 2px; left: 10px; right: 10px;"


class SliceViews:
    """Axial large, coronal and sagittal beside it; each with a slider.

    Args:
        server: trame's. app: Slicer's core.
    """

    def __init__(self, server: Any, app: SlicerApp) -> None:
        self._app = app
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_ERROR)
        vtk.vtkObject.GlobalWarningDisplayOff()  # the views listen to an event by a name that VTK 9.6 calls outdated
        register_rca_factories(app.view_manager, server, slice_view_ui_f=_decorate)
        self.manager = LayoutManager(app.scene, app.view_manager, server)
        self.manager.register_layout(_LAYOUT, _layout())
        self.manager.set_layout(_LAYOUT)
        vtk.vtkObject.GlobalWarningDisplayOn()
        self._lay_images_below()

    def place(self, page: Any) -> None:
        """Put the views where the page is being built."""
        self.manager.initialize_layout_grid(page)

    def render(self) -> None:
        """Draw all of them again, soon."""
        for view in self._app.view_manager.get_slice_views():
            view.schedule_render()

    def _lay_images_below(self) -> None:
        """Let every view add its image to the picture now: what is added later is drawn (and blended) over it."""
        scene = self._app.scene
        voxel = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "voxel")
        data = vtk.vtkImageData()
        data.SetDimensions(1, 1, 1)
        data.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        voxel.SetAndObserveImageData(data)
        voxel.CreateDefaultDisplayNodes()
        for view in self._app.view_manager.get_slice_views():
            view.set_background_volume_id(voxel.GetID())
            view.set_background_volume_id(None)
        scene.RemoveNode(voxel)

    def fit(self) -> None:
        """Turn to the image's own axes and show all of it."""
        for view in self._app.view_manager.get_slice_views():
            view.reset_view()


def _layout() -> Layout:
    definition = ViewLayoutDefinition
    beside = Layout(LayoutDirection.Vertical, [definition.coronal_view(), definition.sagittal_view()])
    return Layout(LayoutDirection.Horizontal, [definition.axial_view(), beside], flex_sizes=["1.6", "1"])


def _decorate(server: Any, view_id: str, view: Any) -> None:
    """The view's name and its slider."""
    color = {"Axial": "#F34A33", "Coronal": "#6DAD4A", "Sagittal": "#EFD64D"}[view.get_orientation()]
    html.Div(view.get_orientation(), style=f"{_CORNER} color: {color};")
    with html.Div(style=_BOTTOM):
        slider = connect_slice_view_slider_to_state(server, view)
        Slider(typed_state=slider, theme="dark", density="compact", color=color, track_size=2, thumb_size=12)
