"""The site's learner and its versions: what it does, what came of it, and the way back."""

from typing import ClassVar

from FedSegLib import words
from FedSegLib.state import Action, why_not

from .section import Section, fill_table, prepare_table


class Learning(Section):
    """The section 'Learning'."""

    FORM = "Learning"
    ACTIONS: ClassVar = {
        Action.LEARN: ["learnButton"],
        Action.STOP_LEARNING: ["stopLearningButton"],
        Action.PROMOTE: ["promoteButton", "rollbackButton"],
    }

    def setup(self):
        """Connect the buttons."""
        ui, ledger = self.ui, self.controller.ledger
        self._shown = None
        self.on_click(ui.learnButton, self.controller.learn)
        self.on_click(ui.stopLearningButton, self.controller.stop_learning)
        self.on_click(ui.curveButton, ledger.show_curve)
        self.on_click(ui.promoteButton, lambda: self._serve(ledger.promote))
        self.on_click(ui.rollbackButton, lambda: self._serve(ledger.roll_back))
        ui.versionsTable.connect("itemSelectionChanged()", lambda: self._allow(self.controller.view))
        prepare_table(ui.versionsTable, stretched=0)

    def _chosen(self):
        row, versions = self.ui.versionsTable.currentRow(), self.controller.view.versions
        return versions[row] if 0 <= row < len(versions) else None

    def _serve(self, change):
        chosen = self._chosen()
        if chosen is not None:
            change(chosen.id, self.ui.reasonEdit.text.strip())
            self.ui.reasonEdit.clear()

    def _allow(self, view):
        chosen, possible = self._chosen(), why_not(view, Action.PROMOTE) is None
        self.ui.promoteButton.enabled = possible and chosen is not None and not chosen.serves
        back = chosen is not None and chosen.serves and chosen.parent is not None
        self.ui.rollbackButton.enabled = possible and back

    def draw(self, view):
        """Draw the whole View."""
        ui, learning = self.ui, view.learning
        ui.learningSection.visible = view.site is not None and not view.site.stock
        ui.learningLabel.text = words.learning_words(learning)
        ui.learningBar.visible = learning is not None and learning.running
        if learning is not None:
            ui.learningBar.value = int(1000 * learning.progress)
        ui.summaryLabel.text = view.statistics.summary
        ui.summaryLabel.visible = bool(view.statistics.summary)
        ui.curveButton.enabled = bool(view.statistics.curve)
        ui.versionsTable.visible = bool(view.versions)
        ui.servePanel.visible = bool(view.versions)
        shown = words.version_rows(view.versions, view.statistics)
        if shown != self._shown:
            self._shown = shown
            fill_table(ui.versionsTable, shown, [words.version_words(version) for version in view.versions])
        self._allow(view)
