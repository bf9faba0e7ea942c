"""Federated rounds: the plan, starting and stopping, every site's state, what came of them."""

from typing import ClassVar

import qt
from FedSegLib import words
from FedSegLib.state import Action

from .section import Section, fill_table

_PAST_ROUNDS_SHOWN = 5


class Federation(Section):
    """The section 'Federation'."""

    FORM = "Federation"
    ACTIONS: ClassVar = {Action.START_ROUND: ["startRoundButton"], Action.STOP_ROUND: ["stopRoundButton"]}

    def setup(self):
        """Connect the buttons."""
        ui = self.ui
        ui.sitesTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.sitesTable.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
        self.on_click(ui.startRoundButton, lambda: self.controller.start_round(ui.roundsBox.value))
        self.on_click(ui.stopRoundButton, self.controller.stop_round)

    def draw(self, view):
        """Draw the whole View."""
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
        fill_table(ui.sitesTable, rows)
        ui.historyLabel.text = "\n".join(words.past_round_words(past) for past in run.history[-_PAST_ROUNDS_SHOWN:])
