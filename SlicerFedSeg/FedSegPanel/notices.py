"""What is said to the person: the notice, what runs, and the question for consent."""

from FedSegLib.state import Tone

from .section import Section

STRIPES = {Tone.INFO: "#2f6fb0", Tone.GOOD: "#2e8b57", Tone.ERROR: "#c0392b"}


class Notices(Section):
    """At the head of the panel."""

    FORM = "Notices"

    def setup(self):
        """Connect the buttons."""
        connection = self.controller.connection
        self.on_click(self.ui.agreeButton, connection.agree)
        self.on_click(self.ui.declineButton, connection.decline)
        self.on_click(self.ui.cancelButton, self.controller.cancel)

    def draw(self, view):
        """Draw the whole View."""
        ui, notice = self.ui, view.notice
        ui.noticeFrame.visible = notice is not None
        if notice is not None:
            stripe = STRIPES[notice.tone]
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
        ui.consentFrame.styleSheet = f"QFrame#consentFrame {{ border: 1px solid {STRIPES[Tone.INFO]}; }}"
        ui.consentLabel.text = view.consent_text or ""
