"""Federated rounds: the plan, starting and stopping, every site's state, what came of them."""

from typing import ClassVar

from FedSegLib import words
from FedSegLib.language import tr as _
from FedSegLib.plan_words import plan_words
from FedSegLib.state import Action

from .section import Section, fill, fill_table, prepare_table

_PAST_ROUNDS_SHOWN = 5
_PAST_RUNS_SHOWN = 10


class Federation(Section):
    """The section 'Federation'."""

    FORM = "Federation"
    ACTIONS: ClassVar = {
        Action.START_ROUND: ["startRoundButton"],
        Action.STOP_ROUND: ["stopRoundButton"],
        Action.PAUSE: ["pauseButton"],
        Action.JOIN: ["approveButton"],
        Action.LEAVE: ["leaveButton"],
    }

    def setup(self):
        """Connect the buttons."""
        ui = self.ui
        self._plan_read = None
        prepare_table(ui.sitesTable, stretched=1)
        self.on_click(ui.startRoundButton, self._start)
        self.on_click(ui.pauseButton, self.controller.toggle_pause)
        self.on_click(ui.approveButton, self.controller.agree_to_plan)
        self.on_click(ui.leaveButton, self.controller.leave_plan)
        self.on_click(ui.roundCurveButton, self.controller.show_round_curve)
        self.on_click(ui.stopRoundButton, self.controller.stop_round)

    def _start(self):
        plan, chosen = self.controller.view.federation.plan, self.ui.methodBox.currentText
        method = None if plan is None or chosen in ("", plan.method) else chosen
        self.controller.start_round(self.ui.roundsBox.value, method)

    def _draw_plan(self, view):
        """What depends on the plan and this site's place in it."""
        ui, federation = self.ui, view.federation
        plan = federation.plan if federation is not None else None
        fill(ui.methodBox, plan.methods if plan is not None else ())
        ui.methodPanel.visible = plan is not None and len(plan.methods) > 1
        ui.pauseButton.visible = plan is not None
        ui.pauseButton.text = (
            _("Take part again") if federation is not None and federation.paused else _("Pause this site")
        )
        ui.planSection.visible = plan is not None
        self._unfold_plan(plan)
        ui.planLabel.text = plan_words(plan) if plan is not None else ""
        ui.approveButton.visible = plan is not None and plan.approved is False
        ui.leaveButton.visible = plan is not None and plan.approved is True
        runs = federation.runs[:_PAST_RUNS_SHOWN] if federation is not None else ()
        ui.pastSection.visible = bool(runs)
        ui.pastLabel.text = "\n".join(words.past_run_words(run) for run in runs)

    def _unfold_plan(self, plan):
        """A plan that waits for an answer is there to be read; the person may fold it again."""
        waits = plan.sha256 if plan is not None and plan.approved is False else None
        if waits is not None and waits != self._plan_read:
            self.ui.planSection.collapsed = False
        self._plan_read = waits

    def draw(self, view):
        """Draw the whole View."""
        ui, run = self.ui, view.round
        ui.federationSection.visible = view.site is not None and not view.site.stock
        self._draw_plan(view)
        ui.roundCurveButton.visible = run is not None and bool(run.history)
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
