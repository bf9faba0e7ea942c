"""The site's learner: what it does, and starting and stopping it."""

from typing import ClassVar

from FedSegLib import words
from FedSegLib.state import Action

from .section import Section


class Learning(Section):
    """The section 'Learning'."""

    FORM = "Learning"
    ACTIONS: ClassVar = {Action.LEARN: ["learnButton"], Action.STOP_LEARNING: ["stopLearningButton"]}

    def setup(self):
        """Connect the buttons."""
        self.on_click(self.ui.learnButton, self.controller.learn)
        self.on_click(self.ui.stopLearningButton, self.controller.stop_learning)

    def draw(self, view):
        """Draw the whole View."""
        ui, learning = self.ui, view.learning
        ui.learningSection.visible = view.site is not None and not view.site.stock
        ui.learningLabel.text = words.learning_words(learning)
        ui.learningBar.visible = learning is not None and learning.running
        if learning is not None:
            ui.learningBar.value = int(1000 * learning.progress)
