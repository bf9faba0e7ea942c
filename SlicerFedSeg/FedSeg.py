"""FedSeg: segmentation with models that learn from corrections at each hospital and federate what they learned.

This file is the thin Slicer side: module, logic glue, the widget that stacks the sections of FedSegPanel, and the
self-test. What actions do is in FedSegLib (no qt).
"""

import tempfile
from pathlib import Path

import numpy as np
import qt
import slicer
import slicer.util
import vtk
from FedSegLib import __version__
from FedSegLib.controller import Controller
from FedSegLib.errors import FedSegError
from FedSegLib.protocol import Label, LabelSchema, Mask
from FedSegLib.samples import CATEGORY, SAMPLES
from FedSegLib.scene import SlicerScene
from FedSegPanel.cases import Cases
from FedSegPanel.compare import Compare
from FedSegPanel.federation import Federation
from FedSegPanel.learning import Learning
from FedSegPanel.notices import Notices
from FedSegPanel.section import Shell
from FedSegPanel.segment import Segment
from FedSegPanel.settings import Settings
from FedSegPanel.site import Site
from FedSegPanel.speech import speak
from FedSegPanel.submit import Submit
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

TICK_MILLISECONDS = 50
HURRIED_MILLISECONDS = 2
SECTIONS = (Notices, Site, Cases, Segment, Compare, Submit, Learning, Federation, Settings)


class FedSeg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "FedSeg"
        self.parent.categories = ["Active Learning"]
        self.parent.dependencies = ["Segmentations", "Volumes", "Markups"]
        self.parent.contributors = ["SlicerFedSeg developers"]
        self.parent.helpText = (
            f"Version {__version__}. Connect to your hospital's site, open the next case, let the site's model segment "
            "it, correct the mask and submit it. The site learns from the masks, and exchanges what it learned - never "
            "images, masks or points - with other hospitals."
        )
        self.parent.acknowledgementText = "Built on 3D Slicer, MONAI Label and NVIDIA FLARE."
        slicer.app.connect("startupCompleted()", register_samples)


def register_samples():
    """Offer our sample volumes in Slicer's Sample Data module; nothing is downloaded before somebody asks."""
    import SampleData

    for sample in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            uris=sample.url,
            fileNames=sample.file,
            nodeNames=sample.name,
            checksums=sample.checksum,
            thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "FedSeg.png"),
        )


class SettingsStore:
    """The library's Store in Slicer's application settings."""

    def get(self, key):
        """The text kept under ``key``, or None."""
        value = qt.QSettings().value(f"FedSeg/{key}")
        return None if value is None else str(value)

    def set(self, key, value):
        """Keep a text."""
        qt.QSettings().setValue(f"FedSeg/{key}", value)

    def remove(self, key):
        """Forget a text."""
        qt.QSettings().remove(f"FedSeg/{key}")


class FedSegLogic(ScriptedLoadableModuleLogic):
    """Ties the library to Slicer: its scene, its settings, its temporary folder."""

    def __init__(self, changed, wake):
        ScriptedLoadableModuleLogic.__init__(self)
        folder = Path(slicer.app.temporaryPath)
        keep = Path(slicer.app.slicerUserSettingsFilePath).parent / "FedSeg"
        self.controller = Controller(
            SlicerScene(),
            SettingsStore(),
            changed,
            wake=wake,
            folder=folder,
            keep=keep,
            environment=slicer.util.startupEnvironment(),
        )


class FedSegWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    """The panel: clicks go to the controller, the View comes back and is drawn."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        slicer.util.VTKObservationMixin.__init__(self)
        self.logic = None
        self.sections = []

    def setup(self):
        """Build the panel (called by Slicer once)."""
        ScriptedLoadableModuleWidget.setup(self)
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MILLISECONDS)
        self.timer.connect("timeout()", self.onTick)
        self.logic = FedSegLogic(self.updateGUI, self._wake)
        self.controller = self.logic.controller
        speak(self.resourcePath)
        shell = Shell(self.controller, self.resourcePath, lambda: slicer.util.mainWindow() or self.parent)
        self.sections = [section(shell) for section in SECTIONS]
        for section in self.sections:
            self.layout.addWidget(section.root)
        self.layout.addStretch(1)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneClose)
        self.addObserver(
            slicer.app.applicationLogic().GetInteractionNode(), vtk.vtkCommand.ModifiedEvent, self.onMouseModeChanged
        )
        self.updateGUI(self.controller.view)

    def enter(self):
        """The module is shown."""
        for section in self.sections:
            section.enter()

    def exit(self):
        """Another module is shown."""
        for section in self.sections:
            section.exit()

    def cleanup(self):
        """Stop everything (called when the module is reloaded or Slicer ends)."""
        if self.logic is not None:
            for section in self.sections:
                section.close()
            self.controller.close()
            self.timer.stop()  # last: saying good-bye to the site has woken it
        self.removeObservers()

    def onTick(self):
        """Deliver what the background found; rest when there is nothing to wait for."""
        self.controller.tick()
        if self.controller.active:
            self.timer.setInterval(HURRIED_MILLISECONDS if self.controller.hurried else TICK_MILLISECONDS)
        else:
            self.timer.stop()

    def onSceneClose(self, caller, event):
        """The scene is about to be emptied."""
        self.controller.scene_closed()

    def onMouseModeChanged(self, caller, event):
        """Pointing may have been ended from elsewhere (Escape, another tool)."""
        placing = caller.GetCurrentInteractionMode() == caller.Place
        for section in self.sections:
            section.mouse_mode_changed(placing)

    def updateGUI(self, view):
        """Draw the whole View."""
        for section in self.sections:
            section.draw_actions(view)
            section.draw(view)

    def _wake(self):
        """Something was asked for: look for its result soon."""
        self.timer.setInterval(HURRIED_MILLISECONDS)
        if not self.timer.active:
            self.timer.start()


class FedSegTest(ScriptedLoadableModuleTest):
    """Self-test for Slicer's "Reload and Test"; needs no server."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test."""
        self.setUp()
        self.test_MaskSurvivesTheScene()

    def test_MaskSurvivesTheScene(self):
        """A mask that goes into the scene and out again is the same, voxel by voxel, by structure name."""
        schema = LabelSchema((Label("edema", 2, (230, 200, 60)), Label("tumour", 5, (220, 60, 50))))
        voxels = np.zeros((6, 8, 10), np.int16)
        voxels[1:4, 2:6, 3:9] = 2
        voxels[2:3, 3:5, 4:7] = 5
        scene = SlicerScene()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _write_volume(folder / "image.nrrd", voxels)
            case = scene.open_image(folder / "image.nrrd", "self-test", schema)
            content = (folder / "image.nrrd").read_bytes()
            scene.show_mask(case, Mask(content, ".nrrd", schema.values(), "", None, {}), folder)
            scene.export_mask(case, folder / "out.nrrd")
            back = slicer.modules.volumes.logic().AddArchetypeVolume(str(folder / "out.nrrd"), "back", 0)
            assert np.array_equal(slicer.util.arrayFromVolume(back), voxels)
            scene.close_case(case)
            try:
                scene.export_mask(case, folder / "gone.nrrd")
            except FedSegError:
                return
            raise AssertionError("a case that was closed could still be exported")


def _write_volume(path, voxels):
    node = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(node, voxels)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.WriteData(node)
