"""FedSeg: segmentation with models that learn from corrections at each hospital and federate what they learned.

This file is the thin Slicer side: module, widget, logic glue and self-test. What actions do is in FedSegLib (no qt).
"""

import tempfile
from pathlib import Path

import numpy as np
import qt
import slicer
import slicer.util
import vtk
from FedSegLib import __version__, words
from FedSegLib.address import parse_address
from FedSegLib.controller import Controller
from FedSegLib.errors import FedSegError
from FedSegLib.protocol import Label, LabelSchema, Mask
from FedSegLib.scene import Pointer, SlicerScene
from FedSegLib.state import CONNECTED, Action, Phase, Tone, View, why_not
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

TICK_MILLISECONDS = 50
_DEFAULT_SERVER = "http://127.0.0.1:8000"
_STRIPES = {Tone.INFO: "#2f6fb0", Tone.GOOD: "#2e8b57", Tone.ERROR: "#c0392b"}
_PAST_ROUNDS_SHOWN = 5


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

    def __init__(self, changed):
        ScriptedLoadableModuleLogic.__init__(self)
        folder = Path(slicer.app.temporaryPath)
        self.controller = Controller(SlicerScene(), SettingsStore(), changed, folder=folder)


class FedSegWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    """The panel: clicks go to the controller, the View comes back and is drawn."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        slicer.util.VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self._case_shown = None

    def setup(self):
        """Build the panel (called by Slicer once)."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/FedSeg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = FedSegLogic(self.updateGUI)
        self.controller = self.logic.controller
        self._tips = {}
        self._buttons = {
            Action.CONNECT: [self.ui.connectButton],
            Action.DISCONNECT: [self.ui.disconnectButton],
            Action.SIGN_IN: [self.ui.signInButton],
            Action.NEXT: [self.ui.nextButton],
            Action.SEGMENT: [self.ui.segmentButton],
            Action.PROMPT: [
                self.ui.includeButton, self.ui.excludeButton, self.ui.boxButton, self.ui.clearButton,
                self.ui.segmentPromptsButton,
            ],
            Action.SUBMIT: [self.ui.submitButton],
            Action.LEARN: [self.ui.learnButton],
            Action.STOP_LEARNING: [self.ui.stopLearningButton],
            Action.START_ROUND: [self.ui.startRoundButton],
            Action.STOP_ROUND: [self.ui.stopRoundButton],
        }  # fmt: skip
        for button in (button for buttons in self._buttons.values() for button in buttons):
            self._tips[button] = button.toolTip
        self._pointers = {
            Pointer.INCLUDE: self.ui.includeButton,
            Pointer.EXCLUDE: self.ui.excludeButton,
            Pointer.BOX: self.ui.boxButton,
        }
        self.ui.sitesTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        self.ui.sitesTable.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
        self._fill_settings()
        self._connect_clicks()
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MILLISECONDS)
        self.timer.connect("timeout()", self.onTick)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneClose)
        self.addObserver(
            slicer.app.applicationLogic().GetInteractionNode(), vtk.vtkCommand.ModifiedEvent, self.onMouseModeChanged
        )
        self.updateGUI(self.controller.view)

    def cleanup(self):
        """Stop everything (called when the module is reloaded or Slicer ends)."""
        if self.logic is not None:
            self.timer.stop()
            self.controller.close()
        self.removeObservers()

    # ---- events

    def onTick(self):
        """Deliver what the background found; rest when there is nothing to wait for."""
        self.controller.tick()
        if not self.controller.active:
            self.timer.stop()

    def onSceneClose(self, caller, event):
        """The scene is about to be emptied."""
        self.controller.scene_closed()
        self._wake()

    def onMouseModeChanged(self, caller, event):
        """Pointing may have been ended from elsewhere (Escape, another tool)."""
        if caller.GetCurrentInteractionMode() != caller.Place:
            self._check_pointer(None)

    def _connect_clicks(self):
        ui, connection, casework = self.ui, self.controller.connection, self.controller.casework
        clicks = {
            ui.testButton: lambda: connection.test(ui.serverBox.currentText),
            ui.connectButton: lambda: connection.connect(ui.serverBox.currentText),
            ui.disconnectButton: self.controller.disconnect,
            ui.signInButton: self._sign_in,
            ui.agreeButton: connection.agree,
            ui.declineButton: connection.decline,
            ui.withdrawButton: connection.withdraw_consent,
            ui.cancelButton: self.controller.cancel,
            ui.nextButton: lambda: casework.next_case(ui.strategyBox.currentText),
            ui.segmentButton: casework.segment,
            ui.segmentPromptsButton: lambda: casework.segment_prompts(ui.structureBox.currentText),
            ui.includeButton: lambda: self._point(Pointer.INCLUDE),
            ui.excludeButton: lambda: self._point(Pointer.EXCLUDE),
            ui.boxButton: lambda: self._point(Pointer.BOX),
            ui.clearButton: casework.clear_prompts,
            ui.submitButton: lambda: casework.submit(nothing_to_mark=ui.nothingBox.checked),
            ui.learnButton: self.controller.learn,
            ui.stopLearningButton: self.controller.stop_learning,
            ui.startRoundButton: lambda: self.controller.start_round(ui.roundsBox.value),
            ui.stopRoundButton: self.controller.stop_round,
        }
        for button, action in clicks.items():
            button.connect("clicked()", lambda action=action: self._do(action))
        ui.passwordEdit.connect("returnPressed()", lambda: self._do(self._sign_in))
        ui.modelBox.connect("currentTextChanged(QString)", casework.choose_model)
        ui.authorEdit.connect("textChanged(QString)", lambda text: self.controller.settings.set_text("author", text))
        ui.caFileEdit.connect(
            "currentPathChanged(QString)", lambda path: self.controller.settings.set_text("ca_file", path)
        )

    def _do(self, action):
        action()
        self._wake()

    def _wake(self):
        if self.controller.active and not self.timer.active:
            self.timer.start()

    def _sign_in(self):
        self.controller.connection.sign_in(self.ui.userEdit.text, self.ui.passwordEdit.text)
        self.ui.passwordEdit.clear()

    def _point(self, pointer):
        wanted = self._pointers[pointer].checked
        if wanted:
            self.controller.casework.point(pointer)
        else:
            self.controller.casework.stop_pointing()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        placing = wanted and interaction.GetCurrentInteractionMode() == interaction.Place
        self._check_pointer(pointer if placing else None)

    def _check_pointer(self, chosen):
        for pointer, button in self._pointers.items():
            button.checked = pointer is chosen

    def _fill_settings(self):
        settings = self.controller.settings
        for server in settings.servers or [_DEFAULT_SERVER]:
            self.ui.serverBox.addItem(server)
        self.ui.authorEdit.text = settings.author
        self.ui.caFileEdit.currentPath = str(settings.ca_file or "")

    # ---- drawing

    def updateGUI(self, view: View):
        """Draw the whole View."""
        for action, buttons in self._buttons.items():
            reason = why_not(view, action)
            for button in buttons:
                button.enabled = reason is None
                button.toolTip = self._tips[button] if reason is None else reason
        self._show_notice(view)
        self._show_site(view)
        self._show_case(view)
        self._show_learning(view)
        self._show_federation(view)

    def _show_notice(self, view):
        ui, notice = self.ui, view.notice
        ui.noticeFrame.visible = notice is not None
        if notice is not None:
            stripe = _STRIPES[notice.tone]
            ui.noticeFrame.styleSheet = f"QFrame#noticeFrame {{ border: none; border-left: 4px solid {stripe}; }}"
            ui.noticeLabel.text = notice.text
            ui.hintLabel.text = notice.hint
            ui.hintLabel.visible = bool(notice.hint)
        ui.busyPanel.visible = view.busy is not None
        if view.busy is not None:
            ui.busyLabel.text = view.busy.text
            ui.busyBar.maximum = 0 if view.busy.fraction is None else 1000
            ui.busyBar.value = int(1000 * (view.busy.fraction or 0))
        ui.consentFrame.visible = view.consent_text is not None
        ui.consentFrame.styleSheet = f"QFrame#consentFrame {{ border: 1px solid {_STRIPES[Tone.INFO]}; }}"
        ui.consentLabel.text = view.consent_text or ""

    def _show_site(self, view):
        ui = self.ui
        offline = view.phase is Phase.OFFLINE
        ui.serverBox.enabled = offline
        ui.testButton.enabled = not view.testing
        ui.testButton.text = "Testing …" if view.testing else "Test connection"
        joining = offline or view.phase is Phase.CONNECTING
        ui.connectButton.visible = joining
        ui.disconnectButton.visible = not joining
        ui.signInPanel.visible = view.phase is Phase.SIGN_IN
        ui.caFileEdit.enabled = offline
        ui.siteLabel.text = _site_text(view)
        ui.consentStateLabel.text = "given for this server" if view.consented else "asked before anything is sent"
        ui.withdrawButton.enabled = view.consented

    def _show_case(self, view):
        ui, site = self.ui, view.site
        _fill(ui.strategyBox, site.strategies if site else ())
        _fill(ui.modelBox, [model.name for model in site.models] if site else ())
        _fill(ui.structureBox, site.schema.names if site else ())
        model = site.model(view.model) if site else None
        ui.promptPanel.visible = model is not None and model.prompts
        if view.case is None or view.case.id != self._case_shown:
            self._case_shown = view.case.id if view.case is not None else None
            ui.nothingBox.checked = False  # it was said of another case
        ui.nothingBox.enabled = why_not(view, Action.SUBMIT) is None
        ui.caseLabel.visible = view.case is not None
        ui.answerLabel.visible = view.case is not None and bool(view.case.answered_by)
        if view.case is not None:
            done = " · submitted" if view.case.submitted else ""
            reason = f"\nChosen because: {view.case.reason}" if view.case.reason else ""
            ui.caseLabel.text = f"{view.case.id}{done}{reason}"
            ui.answerLabel.text = f"Shown: {view.case.answered_by}"
        if why_not(view, Action.PROMPT) is not None:
            self._check_pointer(None)

    def _show_learning(self, view):
        ui, learning = self.ui, view.learning
        ui.learningSection.visible = view.site is not None and not view.site.stock
        ui.learningLabel.text = words.learning_words(learning)
        ui.learningBar.visible = learning is not None and learning.running
        if learning is not None:
            ui.learningBar.value = int(1000 * learning.progress)

    def _show_federation(self, view):
        ui, run = self.ui, view.round
        ui.federationSection.visible = view.site is not None and not view.site.stock
        ui.federationLabel.text = words.federation_words(view.federation, run)
        member = view.federation is None or view.federation.enabled
        for widget in (ui.roundsCaption, ui.roundsBox, ui.startRoundButton, ui.stopRoundButton):
            widget.visible = member
        ui.sitesTable.visible = run is not None and bool(run.sites)
        ui.historyLabel.visible = run is not None and bool(run.history)
        if run is None:
            return
        rows = [
            (s.name, words.site_state_words(s), words.dice_in_words(s.dice), words.verdict_words(s)) for s in run.sites
        ]
        _fill_table(ui.sitesTable, rows)
        ui.historyLabel.text = "\n".join(words.past_round_words(past) for past in run.history[-_PAST_ROUNDS_SHOWN:])


def _site_text(view):
    """One or two lines about the site."""
    if view.phase is Phase.SIGN_IN:
        return "The site asks who you are."
    if view.site is None or view.phase not in CONNECTED:
        return "Not connected."
    text = words.site_words(parse_address(view.address), view.site)
    return f"{text}\nThe site cannot be watched at the moment: {view.link_lost}" if view.link_lost else text


def _fill(box, items):
    """Offer these items, keeping the chosen one where it is still there."""
    items = list(items)
    if [box.itemText(position) for position in range(box.count)] != items:
        chosen = box.currentText
        box.clear()
        box.addItems(items)
        if chosen in items:
            box.currentText = chosen
    box.enabled = bool(items)


def _fill_table(table, rows):
    """Show these texts; the .ui makes the table as tall as its rows."""
    table.rowCount = len(rows)
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row, column, item)
    table.updateGeometry()


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
